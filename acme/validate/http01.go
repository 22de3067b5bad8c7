package validate

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"chancery/acme"
	"chancery/ca"
)

// Limits of an http-01 answer.
const (
	maxRedirects = 10       // SAFETY row 184
	maxHeader    = 16 << 10 // bytes on the wire, informational answers included
	maxInformal  = 5        // 1xx answers before the final one
	maxBody      = 512      // a key authorization has 87 bytes
	maxFraming   = 4 << 10  // bytes on the wire for that body, chunk sizes included
)

// redirectStatus are the answers that are followed (BR 3.2.2.4.19).
var redirectStatus = map[int]bool{
	http.StatusMovedPermanently: true, http.StatusFound: true,
	http.StatusTemporaryRedirect: true, http.StatusPermanentRedirect: true,
}

// http01 validates as RFC 8555 section 8.3 says, and RFC 8738 for addresses.
func (v *Validator) http01(ctx context.Context, t *trace, a acme.Attempt) error {
	h := v.firstHop(a)
	seen := make(map[string]bool)
	for redirects := 0; ; redirects++ {
		seen[h.String()] = true
		got, err := v.get(ctx, t, h)
		if err != nil {
			return err
		}
		if !redirectStatus[got.status] {
			return got.judge(h, a.KeyAuthorization)
		}
		next, err := v.nextHop(h, got.location)
		switch {
		case err != nil:
		case seen[next.String()]:
			err = errors.New("which was asked already; take the loop out")
		case redirects == maxRedirects:
			err = fmt.Errorf("but %d redirects were followed already; answer after fewer", maxRedirects)
		}
		if err != nil {
			return acme.Problemf(acme.Connection, "%s: %s answered %s to %s, %v", h, got.from, statusText(got.status), excerpt(strings.Join(got.location, ", ")), err)
		}
		h = next
	}
}

// hop is one URL to ask. Only firstHop and nextHop make one.
type hop struct {
	url  *url.URL
	host ca.Identifier
	port uint16
}

// String is the URL as it is shown and compared.
func (h hop) String() string { return h.url.String() }

func (v *Validator) firstHop(a acme.Attempt) hop {
	return hop{
		url: &url.URL{
			Scheme: "http",
			Host:   authority(a.Identifier, v.httpPort, 80),
			Path:   "/.well-known/acme-challenge/" + a.Token,
		},
		host: a.Identifier,
		port: v.httpPort,
	}
}

// authority is host and port as they stand in a URL and in the Host header:
// IPv6 in brackets, the scheme's usual port left out.
func authority(id ca.Identifier, port, usual uint16) string {
	host := id.Value()
	if id.Type() == ca.IP && id.Addr().Is6() {
		host = "[" + host + "]"
	}
	if port == usual {
		return host
	}
	return fmt.Sprintf("%s:%d", host, port)
}

// httpReply is what is kept of an answer.
type httpReply struct {
	from     netip.AddrPort
	status   int
	location []string
	encoding string
	body     string // of a 200, at most maxBody+1 bytes
}

// get asks one hop: looks its host up, dials, and reads one bounded answer.
// HTTP/1.1 is spoken here by hand on our own connection: no proxy, no pool,
// no second protocol, no decompression, nothing that reads ahead unbounded.
func (v *Validator) get(ctx context.Context, t *trace, h hop) (*httpReply, error) {
	targets, err := v.targets(ctx, t, h.host)
	if err != nil {
		return nil, err
	}
	conn, at, err := v.connect(ctx, t, h.String(), targets, h.port)
	if err != nil {
		return nil, err
	}
	defer hangUp(conn)
	defer follow(ctx, conn)()
	if h.url.Scheme == "https" {
		if conn, err = secure(ctx, conn, h.host); err != nil {
			t.step("tls", h.String(), at.String(), explain(err))
			return nil, acme.Problemf(acme.TLS, "%s: %s %s; make it speak TLS 1.2 or newer there, or redirect elsewhere", h, at, explain(err))
		}
	}
	got, err := v.talk(conn, h)
	if err != nil {
		t.step("http", "GET "+h.String(), at.String(), err.Error())
		return nil, acme.Problemf(acme.Connection, "%s: %s %v; make the client's answer reachable there and try again", h, at, err)
	}
	got.from = at
	t.step("http", "GET "+h.String(), at.String(), got.words())
	return got, nil
}

// secure makes the connection one of TLS. The certificate is not verified:
// whoever asks for a certificate may not have a good one yet, and the proof is
// the token, not the channel (RFC 8555 section 8.3 starts in clear anyway).
func secure(ctx context.Context, conn net.Conn, host ca.Identifier) (net.Conn, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: true, // #nosec G402 -- see above
	}
	if host.Type() == ca.DNS {
		config.ServerName = host.Value() // an address has no place there (RFC 6066 section 3)
	}
	c := tls.Client(conn, config)
	return c, c.HandshakeContext(ctx)
}

// talk sends the request and reads the answer. Its errors continue
// "192.0.2.7:80 ...".
func (v *Validator) talk(conn net.Conn, h hop) (*httpReply, error) {
	req := &http.Request{
		Method: http.MethodGet, URL: h.url, Host: h.url.Host, Close: true,
		Header: http.Header{
			"User-Agent":      {v.userAgent},
			"Accept":          {"*/*"},
			"Accept-Encoding": {"identity"},
		},
	}
	if err := req.Write(conn); err != nil {
		return nil, errors.New(explain(err))
	}
	wire := &io.LimitedReader{R: conn, N: maxHeader}
	resp, err := readAnswer(bufio.NewReaderSize(wire, 1024), wire, req)
	if err != nil {
		return nil, err
	}
	defer hangUp(resp.Body)
	got := &httpReply{status: resp.StatusCode, location: resp.Header.Values("Location"), encoding: resp.Header.Get("Content-Encoding")}
	if got.status != http.StatusOK {
		return got, nil // its body is nobody's business
	}
	wire.N = maxFraming
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("answered 200 OK but %s", explainBody(err, wire))
	}
	got.body = string(body)
	return got, nil
}

// readAnswer reads past informational answers (RFC 9110 section 15.2) to the
// final one. All of their headers come out of one allowance.
func readAnswer(buf *bufio.Reader, wire *io.LimitedReader, req *http.Request) (*http.Response, error) {
	for range maxInformal + 1 {
		resp, err := http.ReadResponse(buf, req)
		switch {
		case err != nil && wire.N <= 0:
			return nil, fmt.Errorf("sent a header of more than %d bytes", maxHeader)
		case err != nil && !isConnFault(err):
			return nil, errors.New("did not answer in HTTP/1.1")
		case err != nil:
			return nil, errors.New(explain(err))
		case resp.ProtoMajor != 1:
			hangUp(resp.Body)
			return nil, errors.New("did not answer in HTTP/1.1")
		case resp.StatusCode < 100 || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, nil
		}
		hangUp(resp.Body)
	}
	return nil, fmt.Errorf("sent more than %d informational answers and no final one", maxInformal)
}

// isConnFault tells a broken connection from a broken message.
func isConnFault(err error) bool {
	var op net.Error
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errFlood)
}

func explainBody(err error, wire *io.LimitedReader) string {
	switch {
	case wire.N <= 0:
		return fmt.Sprintf("needed more than %d bytes for a body of at most %d", maxFraming, maxBody)
	case isConnFault(err):
		return explain(err)
	}
	return "its body can't be read"
}

// judge decides about a final answer.
func (r *httpReply) judge(h hop, want string) error {
	switch {
	case r.status != http.StatusOK: // SAFETY I6: an error page may echo the right content
		return acme.Problemf(acme.Unauthorized, "%s: %s answered %s (want 200); make the client's answer reachable there and try again", h, r.from, statusText(r.status))
	case r.encoding != "" && !strings.EqualFold(r.encoding, "identity"):
		return acme.Problemf(acme.IncorrectResponse, "%s: %s answered with Content-Encoding %s, which was not asked for; serve the answer as it is", h, r.from, excerpt(r.encoding))
	case len(r.body) > maxBody:
		return acme.Problemf(acme.IncorrectResponse, "%s: %s answered with more than %d bytes, beginning %s (want %d bytes); serve the key authorization and nothing else", h, r.from, maxBody, excerpt(r.body), len(want))
	case strings.TrimRight(r.body, " \t\r\n\v\f") != want: // section 8.3: whitespace at the end is ignored
		return acme.Problemf(acme.IncorrectResponse, "%s: %s answered %s (want %s); make sure that the client which ordered answers there", h, r.from, excerpt(r.body), excerpt(want))
	}
	return nil
}

// words says what came back, for the evidence.
func (r *httpReply) words() string {
	switch {
	case redirectStatus[r.status]:
		return statusText(r.status) + " to " + excerpt(strings.Join(r.location, ", "))
	case r.status == http.StatusOK:
		return statusText(r.status) + " " + excerpt(r.body)
	}
	return statusText(r.status)
}

// statusText is the status in our words, not the peer's.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("%d %s", status, text)
	}
	return fmt.Sprintf("%d", status)
}
