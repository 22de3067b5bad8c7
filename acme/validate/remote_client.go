package validate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"chancery/ca"
)

// Bounds of the way to a remote perspective (invariant 8).
const (
	remoteDial        = 5 * time.Second // and for the handshake as much
	remoteIdle        = 90 * time.Second
	remoteConnections = 128 // to one perspective; questions beyond wait, within their own deadline
	remoteHeader      = 4 << 10
	// remoteShare of the time that is left is the remote's, in hundredths;
	// the rest is for the way, so that a timeout there still is an answer here.
	remoteShare = 90

	maxRemoteName = 32
)

// RemoteConfig names a remote perspective.
type RemoteConfig struct {
	Name string // in evidence and logs, never shown to clients
	URL  string // https://HOST:PORT
	Pin  Pin    // of the remote's key
}

// Check says what is wrong with it.
func (c RemoteConfig) Check() error {
	u, err := url.Parse(c.URL)
	switch {
	case !isRemoteName(c.Name):
		return fmt.Errorf("the name %s of a perspective must be 1 to %d of a-z, 0-9 and -", excerpt(c.Name), maxRemoteName)
	case c.Name == ca.PrimaryPerspective:
		return fmt.Errorf("the name %s means this CA itself; take another", c.Name)
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("the url %s of perspective %s must be https://HOST:PORT", excerpt(c.URL), c.Name)
	case c.Pin == Pin{}:
		return fmt.Errorf("perspective %s has no pin", c.Name)
	}
	return nil
}

func isRemoteName(s string) bool {
	return s != "" && len(s) <= maxRemoteName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// remote is a remote perspective as the CA sees it. Nothing is remembered of
// its earlier answers: one that was slow or silent is asked again, each time
// (SAFETY I20), and nothing that it said is used twice.
type remote struct {
	name   string
	url    string
	client *http.Client
}

func newRemote(c RemoteConfig, me Identity) *remote {
	transport := &http.Transport{
		Proxy:               nil, // never by the environment's: it would be one place from which all perspectives look (SAFETY A8)
		DialContext:         (&net.Dialer{Timeout: remoteDial}).DialContext,
		TLSClientConfig:     me.clientTLS(c.Pin),
		TLSHandshakeTimeout: remoteDial,
		MaxConnsPerHost:     remoteConnections, MaxIdleConnsPerHost: remoteConnections / 4, IdleConnTimeout: remoteIdle,
		MaxResponseHeaderBytes: remoteHeader,
		DisableCompression:     true, // a bound on the body is one on what it becomes
	}
	return &remote{name: c.Name, url: c.URL + PerspectivePath, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask puts the question to the remote and returns its answer. The error says
// in words, for operators, why there is none that counts.
func (r *remote) ask(ctx context.Context, q remoteQuestion) (*remoteAnswer, error) {
	q.ID = randomID()
	if deadline, ok := ctx.Deadline(); ok {
		q.Timeout = time.Until(deadline) * remoteShare / 100
	}
	text, err := q.encode()
	if err != nil {
		return nil, errors.New("was not asked: the question can't be written")
	}
	got, err := r.post(ctx, q.ID, text)
	if err != nil {
		return nil, err
	}
	// The deadline is part of the question: what comes later does not count,
	// however it came (F50).
	if ctx.Err() != nil {
		return nil, errors.New("answered too late")
	}
	return parseRemoteAnswer(string(got), q.ID, textDigest(text))
}

// post sends the text and reads at most maxRemoteAnswer bytes of a good answer.
func (r *remote) post(ctx context.Context, id string, text []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("was not asked: its url is none")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "chancery")
	// Lets the transport send it once more on a fresh connection when an idle
	// one turns out to be closed. The same question has the same answer.
	request.Header.Set("Idempotency-Key", id)
	response, err := r.client.Do(request)
	if err != nil {
		return nil, unreachable(err)
	}
	defer hangUp(response.Body)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
		return nil, fmt.Errorf("answered with HTTP status %d and type %s", response.StatusCode, excerpt(response.Header.Get("Content-Type")))
	}
	got, err := io.ReadAll(io.LimitReader(response.Body, maxRemoteAnswer+1))
	if err != nil {
		return nil, unreachable(err)
	}
	return got, nil
}

// unreachable says why the remote could not be talked to.
func unreachable(err error) error {
	if errors.Is(err, errOtherPin) {
		return errOtherPin
	}
	return errors.New(explain(err))
}

func (r *remote) close() { r.client.CloseIdleConnections() }
