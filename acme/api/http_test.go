package api_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// SAFETY group H-H, as far as it is this room's.

// hostile is a POST with whatever headers.
func (w *world) hostile(path, body string, header http.Header) *answer {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header = header
	return w.send(r)
}

func TestContentType(t *testing.T) { // SAFETY 1 to 4, 22
	w := newWorld(t)
	c := w.registered()
	path := strings.TrimPrefix(c.kid, base)
	for what, h := range map[string]http.Header{
		"none":             {},
		"json":             {"Content-Type": {"application/json"}},
		"empty":            {"Content-Type": {""}},
		"charset":          {"Content-Type": {"application/jose+json; charset=utf-8"}},
		"upper-case":       {"Content-Type": {"Application/JOSE+JSON"}},
		"space":            {"Content-Type": {"application/jose+json "}},
		"twice":            {"Content-Type": {"application/jose+json", "application/json"}},
		"twice, the same":  {"Content-Type": {"application/jose+json", "application/jose+json"}},
		"jose":             {"Content-Type": {"application/jose"}},
		"gzip":             {"Content-Type": {"application/jose+json"}, "Content-Encoding": {"gzip"}},
		"identity, spelt":  {"Content-Type": {"application/jose+json"}, "Content-Encoding": {"identity"}},
		"form":             {"Content-Type": {"application/x-www-form-urlencoded"}},
		"multipart":        {"Content-Type": {"multipart/form-data; boundary=x"}},
		"problem for real": {"Content-Type": {"application/problem+json"}},
	} {
		w.hostile(path, c.jws(c.header(path), ""), h).want(t, what, 415, "malformed")
	}
}

func TestMethods(t *testing.T) { // SAFETY 5, 6
	w := newWorld(t)
	c := w.registered()
	o := c.order("a.example")
	for _, url := range []string{
		c.kid, c.kid + "/orders", c.kid + "/orders/x", o.url, o.Finalize, o.Authorizations[0],
		base + "/acme/challenge/x/http-01", base + "/acme/certificate/x", base + "/acme/certificate/x/1",
		base + "/acme/new-account", base + "/acme/new-order", base + "/acme/new-authz", base + "/acme/revoke-cert", base + "/acme/key-change",
	} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "FOO"} {
			r := httptest.NewRequest(http.MethodGet, strings.TrimPrefix(url, base), nil)
			r.Method = method
			a := w.send(r)
			if a.status != 405 || a.header.Get("Allow") != "POST, OPTIONS" {
				t.Errorf("%s %s: %d, Allow %q", method, url, a.status, a.header.Get("Allow"))
			}
			if method != "HEAD" && a.problem.Type != "malformed" {
				t.Errorf("%s %s: %s", method, url, a.body)
			}
		}
	}
	for _, path := range []string{"/acme/directory", "/acme/new-nonce", "/acme/renewal-info/x"} {
		a := w.hostile(path, "", http.Header{})
		a.want(t, "POST "+path, 405, "malformed")
		if a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: Allow %q", path, a.header.Get("Allow"))
		}
	}
}

func TestPreflight(t *testing.T) { // SAFETY 27, RFC 8555 section 6.1
	w := newWorld(t)
	r := httptest.NewRequest(http.MethodOptions, "/acme/new-order", nil)
	r.Header.Set("Origin", "https://evil.example")
	a := w.send(r)
	if a.status != 204 || a.header.Get("Access-Control-Allow-Methods") != "POST, OPTIONS" || a.header.Get("Access-Control-Allow-Headers") != "Content-Type" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if got := w.get("GET", "/acme/directory").header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "Replay-Nonce") || !strings.Contains(got, "Location") {
		t.Errorf("exposed: %q", got)
	}
}

func TestBodySize(t *testing.T) { // SAFETY 9, 10
	w := newWorld(t)
	c := w.registered()
	body := c.jws(c.header("/acme/new-order"), `{`+identifiers("a.example")+`}`)
	pad := func(n int) string { return body + strings.Repeat(" ", n-len(body)) }
	w.post("/acme/new-order", pad(64<<10)).want(t, "64 KiB", 201, "")
	body = c.jws(c.header("/acme/new-order"), `{`+identifiers("a.example")+`}`)
	a := w.post("/acme/new-order", pad(64<<10+1))
	a.want(t, "64 KiB and one octet", 413, "malformed")
	if a.header.Get("Connection") != "close" {
		t.Error("413 leaves the connection open")
	}
	r := httptest.NewRequest(http.MethodPost, "/acme/new-order", strings.NewReader(pad(200<<10)))
	r.Header.Set("Content-Type", "application/jose+json")
	r.ContentLength = -1 // chunked: nobody says how much comes
	w.send(r).want(t, "chunked", 413, "malformed")
}

// SAFETY 18: one spelling of each path, and no redirect for others.
func TestPaths(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	for _, path := range []string{
		"//acme/new-order", "/acme//new-order", "/acme/new-order/", "/acme/../acme/new-order", "/acme/./new-order", "/acme/%2e%2e/acme/new-order",
		"/acme%2Fnew-order", "/acme/new%2Dorder", "/ACME/new-order", "/acme/New-Order", "/acme/new-order;x", "/", "/acme", "/acme/", "/acme/order", "/acme/order/",
		"/acme/account/", "/acme/order/x/finalize/", "/acme/order/x/y", "/acme/challenge/x", "/acme/challenge/x/y/z", "/.well-known/acme-challenge/x",
	} {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(c.jws(c.header(path), "{}")))
		r.Header.Set("Content-Type", "application/jose+json")
		a := w.send(r)
		a.want(t, path, 404, "malformed")
		if a.header.Get("Location") != "" {
			t.Errorf("%s is redirected to %s", path, a.header.Get("Location"))
		}
	}
	// A path that matches a row and names nothing: the url is compared as it
	// was sent, and the odd ID is none.
	for _, path := range []string{"/acme/order/a%2Fb", "/acme/order/%2e%2e", "/acme/order/a%00b", "/acme/order/'%20or%201=1", "/acme/order/" + strings.Repeat("x", 3000), "/acme/order/AZAAAAAA%0AcAAAAAAAAAAAA"} {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		sent := r.URL.EscapedPath()
		r = httptest.NewRequest(http.MethodPost, path, strings.NewReader(c.jws(c.header(sent), "")))
		r.Header.Set("Content-Type", "application/jose+json")
		w.send(r).want(t, path, 404, "malformed")
	}
}

func TestQuery(t *testing.T) { // SAFETY 19
	w := newWorld(t)
	c := w.registered()
	for _, query := range []string{"?", "?x", "?x=1", "?cursor=2"} {
		c.post("/acme/new-order"+query, `{`+identifiers("a.example")+`}`).want(t, query, 400, "malformed")
		w.post("/acme/new-order"+query, c.jws(c.header("/acme/new-order"), "{}")).want(t, query+" not in url", 400, "malformed")
	}
	w.get(http.MethodGet, "/acme/directory?x=1").want(t, "directory with a query", 200, "")
}

// SAFETY 17, 18, 20, 24: the Host header is never used.
func TestHost(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	for _, host := range []string{"", "evil.example", "ca.example:443", "127.0.0.1", "a b"} {
		r := httptest.NewRequest(http.MethodPost, "/acme/new-order", strings.NewReader(c.jws(c.header("/acme/new-order"), `{`+identifiers("a.example")+`}`)))
		r.Header.Set("Content-Type", "application/jose+json")
		r.Header.Set("X-Forwarded-Host", "evil.example")
		r.Header.Set("X-Forwarded-Proto", "http")
		r.Header.Set("Replay-Nonce", "AAAA")
		r.Host = host
		a := w.send(r)
		a.want(t, "Host "+host, 201, "")
		if !strings.HasPrefix(a.header.Get("Location"), base+"/acme/order/") || strings.Contains(string(a.body), "evil") {
			t.Errorf("Host %q: Location %s, %s", host, a.header.Get("Location"), a.body)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "https://ca.example/acme/new-order", strings.NewReader(c.jws(c.header("/acme/new-order"), "{}")))
	r.Header.Set("Content-Type", "application/jose+json")
	w.send(r).want(t, "absolute form", 400, "malformed")
}

// server is the world behind a real TLS server.
func (w *world) server() *httptest.Server {
	s := httptest.NewUnstartedServer(w)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s
}

// What net/http sees before the API does, on the wire (SAFETY 10, 11, 15, 16).
func TestOnTheWire(t *testing.T) {
	w := newWorld(t)
	s := w.server()
	head := "POST /acme/new-order HTTP/1.1\r\nHost: ca.example\r\nContent-Type: application/jose+json\r\n"
	for what, c := range map[string]struct {
		text   string
		status int
	}{
		"10 GiB announced":         {head + "Content-Length: 10737418240\r\n\r\nx", 413},
		"length and chunked":       {head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"obscure coding":           {head + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
		"NUL in a header":          {head + "X: a\x00b\r\n\r\n", 400},
		"empty chunked body":       {head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"bad chunk":                {head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400},
		"absolute form":            {"POST https://evil.example/acme/new-order HTTP/1.1\r\nHost: ca.example\r\nContent-Type: application/jose+json\r\nContent-Length: 2\r\n\r\n{}", 400},
		"no Host":                  {"GET /acme/directory HTTP/1.1\r\n\r\n", 400},
		"HTTP/1.0 without Host":    {"GET /acme/directory HTTP/1.0\r\n\r\n", 200},
		"5,000 accepted languages": {"GET /acme/directory HTTP/1.1\r\nHost: ca.example\r\nAccept-Language: " + strings.Repeat("de,", 5000) + "\r\n\r\n", 200},
		"double slash":             {"POST //acme/new-order HTTP/1.1\r\nHost: ca.example\r\nContent-Length: 0\r\n\r\n", 404},
		"dots":                     {"GET /acme/../acme/directory HTTP/1.1\r\nHost: ca.example\r\n\r\n", 404},
	} {
		conn, err := tls.Dial("tcp", s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(conn, c.text)
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", what, res.StatusCode, c.status)
		}
		must(t, conn.Close())
	}
}

// SAFETY 11: a body that never ends is given up after bodyTime, and the
// connection is closed. On a clock that is not ours, so it takes that long.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.server()
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig)
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	began := time.Now()
	_, err = fmt.Fprintf(conn, "POST /acme/new-order HTTP/1.1\r\nHost: ca.example\r\nContent-Type: application/jose+json\r\nContent-Length: 100\r\n\r\n{")
	must(t, err)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	must(t, err)
	body, err := io.ReadAll(res.Body)
	must(t, err)
	took := time.Since(began)
	if res.StatusCode != 408 || !res.Close || took < 5*time.Second || took > 15*time.Second {
		t.Errorf("%d after %v, closing %v: %s", res.StatusCode, took, res.Close, body)
	}
	if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}
