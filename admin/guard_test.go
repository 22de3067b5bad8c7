package admin

// What no request may get past, whatever it asks for. These tests stand inside
// the package to walk its own table of routes.

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
	"chancery/crl"
)

// errReached is what everything behind the guard answers here: a request that
// should have been refused and was not shows itself by it.
var errReached = errors.New("the guard was passed")

type behind struct{}

func (behind) Events(context.Context, ca.EventSearch) ([]ca.Event, error) { return nil, errReached }
func (behind) Backlog(context.Context) (acme.Backlog, error)              { return acme.Backlog{}, errReached }

func (behind) Certificates(context.Context, ca.CertificateSearch) ([]*ca.Certificate, error) {
	return nil, errReached
}

func (behind) Certificate(context.Context, ca.Serial) (*ca.Certificate, error) {
	return nil, errReached
}

func (behind) Accounts(context.Context, acme.AccountSearch) ([]*acme.Account, error) {
	return nil, errReached
}
func (behind) Account(context.Context, string) (*acme.Account, error) { return nil, errReached }
func (behind) Orders(context.Context, acme.OrderSearch) ([]*acme.Order, error) {
	return nil, errReached
}

func (behind) Order(context.Context, string) (*acme.Order, error)          { return nil, errReached }
func (behind) Revoke(context.Context, ca.Revocation) error                 { return errReached }
func (behind) ExternalKeys(context.Context) ([]*acme.ExternalKey, error)   { return nil, errReached }
func (behind) RevokeExternalKey(context.Context, ca.Actor, string) error   { return errReached }
func (behind) Latest(context.Context, crl.Shard, int64) (*crl.List, error) { return nil, errReached }

func (behind) BlockedKeys(context.Context, ca.BlockedKeySearch) ([]*ca.BlockedKey, error) {
	return nil, errReached
}

func (behind) BlockedKey(context.Context, [32]byte) (*ca.BlockedKey, error) { return nil, errReached }
func (behind) UnblockKey(context.Context, ca.Actor, [32]byte) error         { return errReached }

func (behind) BlockKey(context.Context, ca.Actor, [32]byte, string) (int, error) {
	return 0, errReached
}

func (behind) AccountLimits(context.Context, string) (*acme.AccountLimits, error) {
	return nil, errReached
}

func (behind) Unpause(context.Context, ca.Actor, string, ca.Identifier) ([]ca.Identifier, error) {
	return nil, errReached
}

func (behind) RevokeAccount(context.Context, ca.Actor, string) (*acme.Account, error) {
	return nil, errReached
}

func (behind) CreateExternalKey(context.Context, ca.Actor, acme.NewExternalKey) (*acme.ExternalKey, []byte, error) {
	return nil, nil, errReached
}

const guardToken = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

func guarded(t *testing.T) (*Admin, Config) {
	t.Helper()
	c := Config{
		Store: behind{}, Engine: behind{}, Lists: behind{}, Metrics: NewMetrics("test"), Token: guardToken,
		Chains: func(*ca.Certificate) ([][]byte, error) { return nil, errReached },
		Hosts:  []string{"Admin.Example."}, Log: slog.New(slog.DiscardHandler),
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

func do(a *Admin, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

// sample fills a path of the table.
func sample(path string) string {
	path = strings.Replace(path, serialPattern, "0199aa00bb11cc22dd33ee44ff556677", 1)
	path = strings.Replace(path, spkiPattern, strings.Repeat("5a", 32), 1)
	return strings.Replace(path, idPattern, "AZmqAAAAAAAAAAAAAAAAAA", 1)
}

// TestNoDoorWithoutToken walks the table of routes with everything that is
// not the token (I86): nothing under /api/ answers, and nothing that changes
// anything stands elsewhere.
func TestNoDoorWithoutToken(t *testing.T) {
	a, _ := guarded(t)
	wrong := map[string][]string{
		"nothing":       nil,
		"empty":         {"Authorization", ""},
		"scheme alone":  {"Authorization", "Bearer"},
		"empty token":   {"Authorization", "Bearer "},
		"other token":   {"Authorization", "Bearer " + strings.Repeat("x", 43)},
		"prefix":        {"Authorization", "Bearer " + guardToken[:42]},
		"longer":        {"Authorization", "Bearer " + guardToken + "x"},
		"other case":    {"Authorization", "Bearer " + strings.ToUpper(guardToken)},
		"space behind":  {"Authorization", "Bearer " + guardToken + " "},
		"two spaces":    {"Authorization", "Bearer  " + guardToken},
		"other scheme":  {"Authorization", "Basic " + guardToken},
		"token alone":   {"Authorization", guardToken},
		"twice":         {"Authorization", "Bearer " + guardToken, "Authorization", "Bearer " + guardToken},
		"cookie":        {"Cookie", "token=" + guardToken},
		"another field": {"X-Api-Key", guardToken},
	}
	mutating := 0
	for _, r := range a.table() {
		path := sample(r.path)
		if r.method != "GET" {
			mutating++
			if !isAPI(path) {
				t.Errorf("%s %s changes something and needs no token", r.method, path)
			}
		}
		if !isAPI(path) {
			continue
		}
		for name, header := range wrong {
			if w := do(a, r.method, path, header...); w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s with %s: status %d", r.method, path, name, w.Code)
			}
		}
		if w := do(a, r.method, path+"?token="+guardToken); w.Code != 401 {
			t.Errorf("%s with the token in the query: status %d", path, w.Code)
		}
		if w := do(a, r.method, path, "Authorization", "bearer "+guardToken); w.Code == 401 || w.Code == 404 || w.Code == 405 {
			t.Errorf("%s %s with the token: status %d", r.method, path, w.Code)
		}
	}
	if mutating < 4 {
		t.Errorf("%d changing routes in the table", mutating)
	}
}

// TestOnlyExactPaths (I85): a path is matched as it was sent, and what is not
// in the table doesn't show whether something similar is.
func TestOnlyExactPaths(t *testing.T) {
	a, _ := guarded(t)
	for _, path := range []string{
		"/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/certificates/", "/api/v1//certificates", "//api/v1/certificates",
		"/api/v1/./certificates", "/api/v1/../v1/certificates", "/api/v1/certificates/..", "/api/v1/%63ertificates", "/api%2fv1/certificates",
		"/api/v1/certificates%00", "/api/v1/certificates;x", "/api/v1/CERTIFICATES", "/metrics/../api/v1/certificates", "/metrics/%2e%2e/api/v1/certificates",
		"/healthz/", "/healthz%2f", "/metrics/", "/api/v2/certificates", "/api/v1/certificates/0199AA00BB11CC22DD33EE44FF556677",
		"/api/v1/accounts/short", "/api/v1/accounts/AZmqAAAAAAAAAAAAAAAAA%41", "/", "/debug/pprof/", "/api/v1/certificates/x/../../accounts",
	} {
		if w := do(a, "GET", path, "Authorization", "Bearer "+guardToken); w.Code != 404 {
			t.Errorf("%s with the token: status %d, want 404", path, w.Code)
		}
		if w := do(a, "GET", path); w.Code != 404 && w.Code != 401 {
			t.Errorf("%s without: status %d", path, w.Code)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "POST", "get"} {
		if w := do(a, method, "/api/v1/certificates", "Authorization", "Bearer "+guardToken); w.Code != 405 {
			t.Errorf("%s: status %d, want 405", method, w.Code)
		}
	}
}

// TestHost: a page that rebinds its own name to loopback has that name in Host.
func TestHost(t *testing.T) {
	a, _ := guarded(t)
	for host, good := range map[string]bool{
		"localhost": true, "LOCALHOST:14090": true, "localhost.": true, "ca.localhost:1": true, "127.0.0.1:14090": true, "127.0.0.1": true,
		"[::1]:14090": true, "[::1]": true, "10.1.2.3:80": true, "admin.example": true, "ADMIN.example.:14090": true,
		"evil.example": false, "evil.example:14090": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "": false, ":14090": false,
		"notlocalhost": false, "admin.example.evil": false, "2130706433": false, "0x7f.1": false, "localhost\x00": false, "[]": false, "127.0.0.1@evil.example": false,
	} {
		for _, path := range []string{"/healthz", "/metrics", "/api/v1/certificates", "/nothing"} {
			w := do(a, "GET", path, "Host", host, "Authorization", "Bearer "+guardToken)
			if (w.Code != 403) != good {
				t.Errorf("Host %q, %s: status %d", host, path, w.Code)
			}
		}
	}
}

func TestOriginIsRefused(t *testing.T) {
	a, _ := guarded(t)
	for _, origin := range []string{"https://evil.example", "null", "http://localhost", ""} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			w := do(a, method, "/api/v1/external-keys", "Origin", origin, "Authorization", "Bearer "+guardToken)
			if w.Code != 403 {
				t.Errorf("%s with Origin %q: status %d", method, origin, w.Code)
			}
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("header %s", name)
				}
			}
		}
	}
}

func TestAnswersAreNotKept(t *testing.T) {
	a, _ := guarded(t)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/certificates", "/nothing"} {
		w := do(a, "GET", path)
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, w.Header())
		}
	}
}

// TestInternalErrorsStayInside (invariant 9).
func TestInternalErrorsStayInside(t *testing.T) {
	a, _ := guarded(t)
	for _, r := range a.table() {
		if !isAPI(r.path) {
			continue
		}
		w := do(a, r.method, sample(r.path), "Authorization", "Bearer "+guardToken)
		if r.name == "key block" { // the one that does nothing without a body
			req := httptest.NewRequest(r.method, r.path, strings.NewReader(`{"spki_sha256":"`+strings.Repeat("5a", 32)+`"}`))
			req.Host = "localhost"
			req.Header.Set("Authorization", "Bearer "+guardToken)
			req.Header.Set("Content-Type", "application/json")
			w = httptest.NewRecorder()
			a.ServeHTTP(w, req)
		}
		if w.Code != 500 || strings.Contains(w.Body.String(), errReached.Error()) {
			t.Errorf("%s %s: %d %s", r.method, r.path, w.Code, w.Body)
		}
	}
	w := do(a, "GET", "/readyz")
	if w.Code != 503 || strings.Contains(w.Body.String(), errReached.Error()) {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
	if w := do(a, "GET", "/healthz"); w.Code != 200 {
		t.Errorf("/healthz with a broken store: %d (I93)", w.Code)
	}
	if w := do(a, "GET", "/metrics"); w.Code != 200 || !strings.Contains(w.Body.String(), "chancery_state_failures_total 1") {
		t.Errorf("/metrics with a broken store: %d", w.Code)
	}
}

// TestProof: the door shows that it knows the token, and never the token.
func TestProof(t *testing.T) {
	a, _ := guarded(t)
	nonce := strings.Repeat("A", 43)
	w := do(a, "GET", "/proof?nonce="+nonce)
	if w.Code != 200 || !strings.Contains(w.Body.String(), Proof(guardToken, nonce)) || strings.Contains(w.Body.String(), guardToken) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if Proof(guardToken, nonce) == Proof(guardToken+"x", nonce) || Proof(guardToken, nonce) == Proof(guardToken, strings.Repeat("B", 43)) {
		t.Error("the proof doesn't depend on token and nonce")
	}
	for _, q := range []string{"", "?nonce=", "?nonce=AAAA", "?nonce=" + nonce + "&nonce=" + nonce, "?nonce=" + nonce + "&x=1", "?nonce=" + strings.Repeat("A", 44), "?nonce=" + strings.Repeat("*", 43), "?nonce=" + strings.Repeat("B", 43) + "%00"} {
		if w := do(a, "GET", "/proof"+q); w.Code != 400 {
			t.Errorf("%s: %d", q, w.Code)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, c := guarded(t)
	for name, change := range map[string]func(*Config){
		"no store":        func(c *Config) { c.Store = nil },
		"no engine":       func(c *Config) { c.Engine = nil },
		"no chains":       func(c *Config) { c.Chains = nil },
		"no lists":        func(c *Config) { c.Lists = nil },
		"no metrics":      func(c *Config) { c.Metrics = nil },
		"no token":        func(c *Config) { c.Token = "" },
		"a short token":   func(c *Config) { c.Token = "secret" },
		"too many hosts":  func(c *Config) { c.Hosts = make([]string, maxHosts+1) },
		"metrics in use":  func(*Config) {},
		"a blank in both": func(c *Config) { c.Token = strings.Repeat(" ", 43) },
	} {
		changed := c
		if name != "metrics in use" {
			changed.Metrics = NewMetrics("test")
		}
		change(&changed)
		if _, err := New(changed); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestActor: the audit trail says what was proven and what was only said.
func TestActor(t *testing.T) {
	for name, want := range map[string]string{
		"": "token", "alice": "token:alice", "a b": "token:a b", "evil\nname": "token", "\x1b[2J": "token", strings.Repeat("x", 65): "token", "é": "token",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header[OperatorHeader] = []string{name}
		r.RemoteAddr = "[::ffff:192.0.2.1]:1234"
		if by := actor(r); by.ID != want || by.Kind != ca.ActorOperator || by.Addr != "192.0.2.1" {
			t.Errorf("%q is %+v, want %s", name, by, want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = ""
	if by := actor(r); by.Addr != "" {
		t.Errorf("an address from nowhere: %+v", by)
	}
}

// TestBusy: the number of requests under way is bounded, and what is open to
// probes answers all the same.
func TestBusy(t *testing.T) {
	a, _ := guarded(t)
	for range maxWorking {
		a.working <- struct{}{}
	}
	w := do(a, "GET", "/api/v1/certificates", "Authorization", "Bearer "+guardToken)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, headers %v", w.Code, w.Header())
	}
	if w := do(a, "GET", "/healthz"); w.Code != 200 {
		t.Errorf("/healthz: %d", w.Code)
	}
	<-a.working
	if w := do(a, "GET", "/api/v1/certificates", "Authorization", "Bearer "+guardToken); w.Code != 500 || len(a.working) != maxWorking-1 {
		t.Errorf("status %d, %d slots taken", w.Code, len(a.working))
	}
}

// TestRawConnection sends what net/http's client would not.
func TestRawConnection(t *testing.T) {
	a, _ := guarded(t)
	server := httptest.NewServer(a)
	defer server.Close()
	for request, want := range map[string]int{
		"GET /api/v1/certificates HTTP/1.0\r\n\r\n":                                                                       403, // no Host
		"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":                                             403, // the request line wins (RFC 9112 section 3.2.2)
		"GET //evil.example/api/v1/audit HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + guardToken + "\r\n\r\n": 404,
	} {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := fmt.Fprint(c, request); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		_ = c.Close()
		if res.StatusCode != want {
			t.Errorf("%q: status %d, want %d", request, res.StatusCode, want)
		}
	}
}

// FuzzGuard sends anything as path, query, host and body. Without the token
// nothing under /api/ answers, with it nothing panics, and no answer is
// anything but JSON or metrics.
func FuzzGuard(f *testing.F) {
	f.Add("GET", "/api/v1/certificates?name=a.example&limit=5&status=valid", "localhost", "")
	f.Add("GET", "/api/v1/certificates?expiring_before=2026-11-22T10:00:00Z&cursor=0199aa00bb11cc22dd33ee44ff556677", "127.0.0.1:1", "")
	f.Add("POST", "/api/v1/certificates/0199aa00bb11cc22dd33ee44ff556677/revoke", "[::1]", `{"reason":"superseded"}`)
	f.Add("POST", "/api/v1/accounts/AZmqAAAAAAAAAAAAAAAAAA/unpause", "localhost", `{"name":"a.example"}`)
	f.Add("POST", "/api/v1/blocked-keys", "localhost", `{"spki_sha256":"5a","comment":"a"}`)
	f.Add("POST", "/api/v1/external-keys", "localhost", `{"label":"a","reusable":true,"expires_at":"2026-11-22T10:00:00Z"}`)
	f.Add("GET", "/api/v1/audit?since=2026-11-22T10:00:00Z&cursor=5&action=a.b", "localhost", "")
	f.Add("GET", "/api/v1/accounts/AZmqAAAAAAAAAAAAAAAAAA", "evil.example", "")
	f.Add("GET", "//api/v1/%2e%2e/metrics", "localhost", "")
	a, err := New(Config{
		Store: behind{}, Engine: behind{}, Lists: behind{}, Metrics: NewMetrics("test"), Token: guardToken,
		Chains: func(*ca.Certificate) ([][]byte, error) { return nil, errReached }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, host, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		for _, authorization := range []string{"", "Bearer " + guardToken} {
			r := &http.Request{
				Method: method, URL: u, RequestURI: target, Host: host, RemoteAddr: "192.0.2.1:1",
				Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
			}
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if authorization == "" && isAPI(u.Path) && w.Code != 401 && w.Code != 403 && w.Code != 414 {
				t.Errorf("%s %q without the token: status %d", method, target, w.Code)
			}
			if strings.Contains(w.Body.String(), errReached.Error()) {
				t.Errorf("%s %q shows internals: %s", method, target, w.Body)
			}
			if kind := w.Header().Get("Content-Type"); w.Code >= 400 && kind == "application/problem+json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %q is no JSON: %s", method, target, w.Body)
			}
		}
	})
}
