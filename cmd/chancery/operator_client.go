package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"chancery/admin"
	"chancery/ca"
	"chancery/cmd/chancery/app"
)

// door is a client of the operator's API.
type door struct {
	http  *http.Client
	base  string // "http://127.0.0.1:14090"
	token string
	close func() error
}

// Bounds of the client.
const (
	dialTime    = 3 * time.Second
	requestTime = time.Minute
	maxAPIReply = 256 << 20 // a page of a thousand orders with a hundred names each
)

// openDoor finds the running Chancery of a directory. When nothing listens at
// its admin address, it opens the directory in this process instead.
func openDoor(ctx context.Context, dir string, set []string) (*door, error) {
	c, err := app.ReadConfig(dir, set, os.Environ())
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "tcp", c.Admin.Reach())
	if errors.Is(err, syscall.ECONNREFUSED) {
		return openInProcess(dir, set)
	}
	if err != nil {
		return nil, fmt.Errorf("reaching Chancery at admin.listen: %w", err)
	}
	_ = conn.Close() // it only had to be there
	token, err := admin.ReadToken(c.Admin.Token)
	if err != nil {
		return nil, err
	}
	d := remoteDoor("http://"+c.Admin.Reach(), token)
	if err := d.identify(ctx); err != nil {
		return nil, fmt.Errorf("what listens at admin.listen %s is not the Chancery of %s: %w", c.Admin.Reach(), c.Dir, err)
	}
	return d, nil
}

func openInProcess(dir string, set []string) (*door, error) {
	handler, token, closeStore, err := app.OpenOperator(dir, set)
	if err != nil {
		return nil, err
	}
	return &door{http: &http.Client{Transport: inProcess{handler}}, base: "http://localhost", token: token, close: closeStore}, nil
}

func remoteDoor(base, token string) *door {
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: dialTime}).DialContext} // no Proxy: the token stays here
	return &door{
		base: base, token: token,
		http: &http.Client{Transport: transport, Timeout: requestTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		close: func() error {
			transport.CloseIdleConnections()
			return nil
		},
	}
}

// identify makes the other side show that it knows the token before it gets
// it: while Chancery is down, any user of the machine could take its port.
func (d *door) identify(ctx context.Context) error {
	raw := make([]byte, 32) // as /proof wants it
	_, _ = rand.Read(raw)   // never fails: crypto/rand aborts the process instead
	nonce := base64.RawURLEncoding.EncodeToString(raw)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+"/proof?nonce="+nonce, nil)
	if err != nil {
		return err
	}
	r.Host = "localhost"
	text, err := d.do(r)
	if err != nil {
		return err
	}
	var answer struct {
		Proof string `json:"proof"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || !hmac.Equal([]byte(answer.Proof), []byte(admin.Proof(d.token, nonce))) {
		return errors.New("it does not know the token of this directory")
	}
	return nil
}

func (d *door) get(ctx context.Context, path string, q url.Values, into any) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return d.call(ctx, http.MethodGet, path, nil, into)
}

func (d *door) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return d.call(ctx, http.MethodPost, path, text, into)
}

// call makes one API request. into is a pointer for the JSON answer, or a
// *[]byte for the answer as it is.
func (d *door) call(ctx context.Context, method, path string, body []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, d.base+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Host = "localhost" // whatever admin.listen says: the door always answers to this one
	r.Header.Set("Authorization", "Bearer "+d.token)
	r.Header.Set(admin.OperatorHeader, operatorName())
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	text, err := d.do(r)
	if err != nil {
		return err
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = text
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading Chancery's answer to %s: %w", path, err)
	}
	return nil
}

func (d *door) do(r *http.Request) ([]byte, error) {
	res, err := d.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // only read from
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAPIReply+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxAPIReply:
		return nil, fmt.Errorf("the answer has more than %d octets; ask for less with --limit", maxAPIReply)
	case res.StatusCode/100 == 2:
		return text, nil
	}
	p := admin.Problem{}
	if err := json.Unmarshal(text, &p); err != nil || p.Detail == "" {
		return nil, fmt.Errorf("it answered with status %d", res.StatusCode)
	}
	return nil, &p
}

// each walks a listing page by page, at most limit items (0: all), and says
// whether more may be there.
func (d *door) each(ctx context.Context, path string, q url.Values, limit int, do func(item json.RawMessage) error) (more bool, err error) {
	if q == nil {
		q = url.Values{}
	}
	for n := 0; ; {
		size := ca.MaxSearch
		if limit > 0 {
			size = min(size, limit-n)
		}
		q.Set("limit", strconv.Itoa(size))
		var page admin.Page[json.RawMessage]
		if err := d.get(ctx, path, q, &page); err != nil {
			return false, err
		}
		for _, item := range page.Items {
			if err := do(item); err != nil {
				return false, err
			}
		}
		n += len(page.Items)
		if page.Next == "" || limit > 0 && n >= limit {
			return page.Next != "", nil
		}
		q.Set("cursor", page.Next)
	}
}

// inProcess is a http.RoundTripper over a handler in this process.
type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	defer func() { _ = r.Body.Close() }() // a RoundTripper must
	w := &answer{header: http.Header{}}
	t.handler.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK) // unless it wrote another one
	return &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header,
		Body: io.NopCloser(bytes.NewReader(w.body.Bytes())), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// answer is the http.ResponseWriter of an in-process request.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// normalSerial takes a serial number as openssl, certbot or a browser shows it.
func normalSerial(s string) (string, error) {
	text := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimSpace(s)))
	text = strings.TrimPrefix(text, "0x")
	if missing := 2*len(ca.Serial{}) - len(text); missing > 0 && text != "" {
		text = strings.Repeat("0", missing) + text
	}
	serial, err := ca.ParseSerial(text)
	if err != nil {
		return "", err
	}
	return serial.String(), nil
}
