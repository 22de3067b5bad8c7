package catest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"chancery/cmd/chancery/app"
	"chancery/cmd/chancery/catest"
)

// Incidents of other CAs (docs/safety.md) whose defence is the whole CA's.

var (
	tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`) // 256 bits
	urlForm   = regexp.MustCompile(`^https://localhost:[0-9]+/acme/[A-Za-z0-9_/-]+$`)
	wordForm  = regexp.MustCompile(`^[A-Za-z0-9.:_-]+$`)
)

// strings walks all texts of a JSON value, with the names of their members.
func eachText(name string, v any, f func(name, text string)) {
	switch v := v.(type) {
	case string:
		f(name, v)
	case []any:
		for _, item := range v {
			eachText(name, item, f)
		}
	case map[string]any:
		for member, item := range v {
			eachText(member, item, f)
		}
	}
}

// TestIncident_I31: everything that a client gets is of letters that no shell,
// path or header gives a meaning, and is the same for every client.
func TestIncident_I31(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	check := func(a *answer) {
		t.Helper()
		eachText("", a.object, func(name, text string) {
			form := wordForm
			switch name {
			case "token":
				form = tokenForm
			case "url", "finalize", "certificate", "orders", "authorizations", "newNonce", "newAccount", "newOrder", "newAuthz", "revokeCert", "keyChange", "renewalInfo":
				form = urlForm
			case "detail", "server": // for people; improper checks them
				return
			case "value":
				text = strings.TrimPrefix(text, "*.")
			}
			if !form.MatchString(text) {
				t.Errorf("member %s is %q", name, text)
			}
		})
		for _, name := range []string{"Location", "Replay-Nonce", "Retry-After"} {
			for _, v := range a.header[name] {
				if !urlForm.MatchString(v) && !wordForm.MatchString(v) {
					t.Errorf("%s: %q", name, v)
				}
			}
		}
		for _, v := range a.header["Link"] {
			u, _, _ := strings.Cut(strings.TrimPrefix(v, "<"), ">")
			if !urlForm.MatchString(u) {
				t.Errorf("Link: %q", v)
			}
		}
	}
	directory := h.plain("GET", "/acme/directory", nil)
	delete(directory.object, "meta")
	check(directory)
	for _, u := range []string{h.urls.order, h.urls.ready, h.urls.authorization, h.urls.challenge, h.urls.certificate, h.account.kid, h.account.kid + "/orders"} {
		check(h.post(request{by: h.account, url: u}))
	}
	o := h.order(h.account, "i31.example", "*.i31.example", "127.0.0.1")
	check(o)
	for _, u := range o.list("authorizations") {
		check(h.post(request{by: h.account, url: u}))
	}
	for _, agent := range userAgents {
		if strings.ContainsFunc(agent, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			continue // net/http refuses it for everybody
		}
		a := h.plain("GET", "/acme/directory", http.Header{"User-Agent": {agent}})
		if a.status != 200 || !bytes.Equal(a.body, directory.body) {
			t.Errorf("User-Agent %q gets %d %s", agent, a.status, a.body)
		}
		b := h.post(request{by: h.account, url: h.urls.authorization, http: http.Header{"User-Agent": {agent}}})
		if b.status != 200 || !strings.Contains(string(b.body), `"http-01"`) {
			t.Errorf("User-Agent %q gets %d %s", agent, b.status, b.body)
		}
	}
}

// TestIncident_I33: no URL that is not https, and none can be configured.
func TestIncident_I33(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for _, a := range []*answer{h.plain("GET", "/acme/directory", nil), h.post(request{by: h.account, url: h.urls.order}), h.post(request{by: h.account, url: h.urls.authorization}), h.post(request{by: h.account, url: h.urls.certificate})} {
		text := string(a.body) + fmt.Sprint(a.header["Link"], a.header["Location"])
		if strings.Contains(text, "http:") {
			t.Errorf("an http URL: %s", text)
		}
	}
	for _, u := range []string{"http://localhost:14000", "HTTP://localhost:14000", "ftp://localhost", "localhost:14000"} {
		if _, err := app.ReadConfig(h.c.Dir, []string{"acme.url=" + u}, nil); err == nil || !strings.Contains(err.Error(), "acme.url") {
			t.Errorf("acme.url %s: %v", u, err)
		}
	}
	plain := strings.Replace(h.base, "https", "http", 1)
	resp, err := http.Get(plain + "/acme/directory") // no redirect to https either: who asks in clear is told so
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("the ACME door in clear answers %d", resp.StatusCode)
		}
	}
}

// TestIncident_I34: the path of http-01 answers is no special path here.
func TestIncident_I34(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	token := h.post(request{by: h.account, url: h.urls.authorization}).challenge("http-01").Token
	for _, door := range []string{h.base, h.c.PublishURL, h.c.AdminURL} {
		for _, path := range []string{token, "x", "", "../../acme/directory", "../../api/v1/certificates", "..%2f..%2fmetrics", "%2e%2e/%2e%2e/root.pem"} {
			a := h.raw(door, "GET /.well-known/acme-challenge/"+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			if a == nil || a.status != 404 {
				t.Errorf("%s /.well-known/acme-challenge/%s: %+v, want 404", door, path, a)
			}
		}
	}
}

// TestIncident_I60: each optional pointer may be absent.
func TestIncident_I60(t *testing.T) {
	t.Parallel()
	for name, without := range map[string][]string{
		"no OCSP": {"profiles.server.ocsp=false"}, "no CRL": {"profiles.server.crl=false"}, "no caIssuers": {"profiles.server.ca_issuers=false"},
		"no OCSP and no caIssuers": {"profiles.server.ocsp=false", "profiles.server.ca_issuers=false"},
	} {
		t.Run(name, func(t *testing.T) {
			c := catest.Start(t, catest.Set(without...))
			leaf := c.Client(catest.HTTP).Obtain("optional.example").Leaf
			all := strings.Join(without, " ")
			if got := len(leaf.OCSPServer) == 0; got != strings.Contains(all, "ocsp") {
				t.Errorf("OCSP: %v", leaf.OCSPServer)
			}
			if got := len(leaf.CRLDistributionPoints) == 0; got != strings.Contains(all, "crl") {
				t.Errorf("CRL: %v", leaf.CRLDistributionPoints)
			}
			if got := len(leaf.IssuingCertificateURL) == 0; got != strings.Contains(all, "ca_issuers") {
				t.Errorf("caIssuers: %v", leaf.IssuingCertificateURL)
			}
			c.Restart()
			c.Client(catest.HTTP).Obtain("again.optional.example")
		})
	}
}

// quick is far above what an answer to a hostile body takes, also on a busy
// machine with the race detector, and far below what a parser without bounds
// takes for it.
const quick = 3 * time.Second

func (h *hostile) quickly(what string, f func()) {
	h.t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took > quick {
		h.t.Errorf("%s took %v", what, took)
	}
}

// TestIncident_I71: deep and complex JSON costs next to nothing.
func TestIncident_I71(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	const most = 64 << 10
	fill := func(unit string) string { return strings.Repeat(unit, most/len(unit)) }
	for _, body := range []string{fill("["), fill(`{"a":`), fill("[{"), `[` + fill("0,") + `0]`, `{"a":[` + fill("[],")[:most-10] + `]}`, `{` + fill(`"a":1,`)[:most-10] + `}`, `"` + fill(`\u0041`)[:most-10] + `"`, fill("-"), "1" + fill("0")[:most-10], fill(" ")} {
		h.quickly(body[:10], func() {
			for range 20 {
				h.postBody(h.base+"/acme/new-order", body[:min(len(body), most)], nil).want(t, 400, "malformed")
			}
		})
	}
	h.wantAlive()
}

// TestIncident_I72: one form of JWS, no JWE, and no work for what is neither.
func TestIncident_I72(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	h.quickly("a million dots", func() {
		h.postBody(h.base+"/acme/new-order", strings.Repeat(".", 1e6), nil).want(t, 413, "malformed")
	})
	h.quickly("64 KiB of dots", func() {
		h.postBody(h.base+"/acme/new-order", strings.Repeat(".", 64<<10), nil).want(t, 400, "malformed")
		h.post(request{by: h.account, url: h.urls.order, protected: strings.Repeat(".", 40<<10)}).want(t, 400, "malformed")
	})
	// What serves strangers has no other reader of JWS in it; lego, for
	// `chancery demo`, brings one into the program, which calls it as a client.
	for _, pkg := range []string{"chancery/acme/api", "chancery/acme/validate", "chancery/admin", "chancery/ocsp", "chancery/crl", "chancery/storage"} {
		out, err := exec.Command("go", "list", "-deps", pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, out)
		}
		for _, bad := range []string{"jose", "jwe", "jwt", "jwx"} {
			if bytes.Contains(out, []byte(bad)) {
				t.Errorf("%s has a package with %q in it", pkg, bad)
			}
		}
	}
}

// TestIncident_I77: a redirect's URL is bounded before it is read, and its
// host is parsed by one parser.
func TestIncident_I77(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for _, to := range []string{
		"http://HOST" + strings.Repeat("/..", 1e5), strings.Repeat("../", 1e5), "http://HOST/" + strings.Repeat("a/../", 400), "http://[::1%25lo]:PORT/", "http://[::1%lo]:PORT/", "http://[::1]x:PORT/", "http://[::1:PORT/", "http://[[::1]]:PORT/", "http://[::ffff:169.254.169.254]:PORT/", "http://[v1.x]:PORT/", "http://[127.0.0.1%00]:PORT/",
	} {
		host := h.host("i77-")
		h.total++
		c, _ := h.proof("http-01", host)
		location := strings.NewReplacer("HOST", fmt.Sprintf("%s:%d", host, h.site.port), "PORT", fmt.Sprint(h.site.port)).Replace(to)
		h.site.on(host, func(conn net.Conn, _ string) {
			_, _ = io.WriteString(conn, plainAnswer("302 Found", "Location: "+location+"\r\n", ""))
		})
		h.quickly(to[:min(len(to), 40)], func() {
			if got := h.verdict(c); got != "connection" {
				t.Errorf("%.60s: %q, want connection", to, got)
			}
		})
	}
}

// TestIncident_I78: HTTP/2 is offered nowhere, and its floods are no request.
func TestIncident_I78(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	conn, err := tls.Dial("tcp", address(h.base), &tls.Config{RootCAs: h.c.Root, ServerName: "localhost", NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("ALPN chose %q", p)
	}
	_ = conn.Close()
	if conn, err := tls.Dial("tcp", address(h.base), &tls.Config{RootCAs: h.c.Root, ServerName: "localhost", NextProtos: []string{"h2"}}); err == nil {
		_ = conn.Close()
		t.Error("a client that speaks only HTTP/2 is let in")
	}
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00\x00\x00\x04\x00\x00\x00\x00\x00", 10000)
	for _, door := range []string{h.base, h.c.PublishURL, h.c.AdminURL} {
		if a := h.raw(door, preface); a != nil && a.status < 400 {
			t.Errorf("%s answers HTTP/2 with %d", door, a.status)
		}
		a := h.raw(door, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
		if a == nil || a.status == http.StatusSwitchingProtocols {
			t.Errorf("%s lets h2c in: %+v", door, a)
		}
	}
	h.wantAlive()
}

// TestIncident_I84: a security input that is missing, empty, something else or
// open to others stops the start; nothing has a default behind it.
func TestIncident_I84(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	c.Stop()
	set := []string{"acme.listen=127.0.0.1:0", "publish.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0"}
	spoils := map[string]func(path string) error{
		"missing": os.Remove,
		"empty":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"garbage": func(path string) error { return os.WriteFile(path, []byte("garbage\x00\n"), 0o600) },
		"cut": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, b[:len(b)/3], 0o600)
		},
		"a directory": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		},
		"a link to nowhere": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("nowhere", path)
		},
		"a loop of links": func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink(filepath.Base(path), path)
		},
		"another's file": func(path string) error {
			return os.WriteFile(path, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600)
		},
	}
	secret := map[string]bool{"passphrase": true, "admin.token": true, "keys/issuer.pem": true, "keys/tls.pem": true}
	for _, file := range []string{"passphrase", "admin.token", "keys/issuer.pem", "keys/tls.pem", "issuer.pem", "root.pem", "chancery.yaml", "chancery.db"} {
		kinds := sorted(spoils)
		if secret[file] {
			kinds = append(kinds, "open to others")
		}
		for _, kind := range kinds {
			if kind == "missing" && (file == "admin.token" || file == "keys/tls.pem") {
				continue // deleting them is how they are made anew (docs/operations.md)
			}
			if file == "chancery.db" && kind == "empty" {
				continue // an empty file is how an operator says that the store begins anew
			}
			if file == "chancery.yaml" && kind == "cut" {
				continue // what is left of it is a configuration: what is not said is the default
			}
			t.Run(file+" "+kind, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "ca")
				if err := os.CopyFS(dir, os.DirFS(c.Dir)); err != nil {
					t.Fatal(err)
				}
				for name := range secret { // CopyFS widens modes
					if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				path := filepath.Join(dir, file)
				var err error
				if kind == "open to others" {
					err = os.Chmod(path, 0o644)
				} else {
					err = spoils[kind](path)
				}
				if err != nil {
					t.Fatal(err)
				}
				a, err := app.Open(context.Background(), app.Options{Dir: dir, Set: set})
				if err == nil {
					_ = a.Close()
					t.Error("it starts")
				}
			})
		}
	}
	c.Restart()
}

// TestIncident_I85: the operator's door matches whole paths, and answers no
// page of another origin.
func TestIncident_I85(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for _, path := range []string{"/api/v1/audit", "/api/v1/certificates", "/metrics", "/healthz", "/readyz"} {
		for _, header := range []http.Header{{"Origin": {"https://evil.example"}}, {"Origin": {"null"}}, {"Host": {"evil.example"}}, {"Host": {"localhost.evil.example"}}} {
			if a := h.operated("GET", path, "", header); a.status != 403 {
				t.Errorf("%s with %v: %d", path, header, a.status)
			}
		}
		for _, other := range []string{"/" + path, path + "/", path + "%2f", path + "/../..", strings.Replace(path, "a", "%61", 1) + "/.", path + ";", strings.ToUpper(path), path + "x"} {
			a := h.raw(h.c.AdminURL, "GET "+other+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "+h.token()+"\r\n\r\n")
			if a == nil || a.status != 404 {
				t.Errorf("%s: %+v, want 404", other, a)
			}
		}
	}
}

// TestIncident_I86: nothing changes anything, and nothing is shown, without a
// signature or the operator's token. The tables of routes are walked in
// admin.TestNoDoorWithoutToken and acme/api's tests; here all doors are tried
// from outside.
func TestIncident_I86(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	open := map[string]bool{
		"GET /acme/directory": true, "HEAD /acme/directory": true, "GET /acme/new-nonce": true, "HEAD /acme/new-nonce": true, "GET /healthz": true, "HEAD /healthz": true, "GET /readyz": true, "HEAD /readyz": true, "GET /metrics": true, "GET /root.pem": true, "HEAD /root.pem": true,
	}
	serial := fmt.Sprintf("%032x", h.cert.Leaf.SerialNumber)
	account := strings.TrimPrefix(h.account.kid, h.base+"/acme/account/")
	paths := append([]string{}, opens...)
	for _, p := range h.posts() {
		paths = append(paths, p)
	}
	spki := strings.Repeat("0", 64)
	paths = append(paths, "/healthz", "/readyz", "/metrics", "/root.pem", "/ocsp", "/proof", "/api/v1/certificates", "/api/v1/certificates/"+serial, "/api/v1/certificates/"+serial+"/chain", "/api/v1/certificates/"+serial+"/revoke", "/api/v1/accounts", "/api/v1/accounts/"+account, "/api/v1/accounts/"+account+"/deactivate", "/api/v1/accounts/"+account+"/limits", "/api/v1/accounts/"+account+"/unpause", "/api/v1/orders", "/api/v1/external-keys", "/api/v1/external-keys/"+account+"/revoke", "/api/v1/blocked-keys", "/api/v1/blocked-keys/"+spki+"/unblock", "/api/v1/audit", "/sys/rekey/init", "/v1/sys/seal", "/admin", "/debug/pprof/cmdline")
	before := h.events()
	for _, door := range []string{h.base, h.c.PublishURL, h.c.AdminURL} {
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
				a := h.plain(method, door+path, nil)
				if a.status < 400 && !open[method+" "+path] {
					t.Errorf("%s %s%s: %d %.100s", method, door, path, a.status, a.body)
				}
			}
		}
	}
	if after := h.events(); after != before {
		t.Errorf("%d audit events, %d before: something was done", after, before)
	}
}

// events counts the audit trail.
func (h *hostile) events() int {
	h.t.Helper()
	n, cursor := 0, ""
	for {
		var page struct {
			Items []json.RawMessage
			Next  string
		}
		h.c.Operator(http.MethodGet, "/api/v1/audit?limit=1000"+cursor, nil, &page)
		n += len(page.Items)
		if page.Next == "" {
			return n
		}
		cursor = "&cursor=" + page.Next
	}
}
