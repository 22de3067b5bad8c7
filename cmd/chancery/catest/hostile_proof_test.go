package catest_test

import (
	"bufio"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/cmd/chancery/catest"
)

// site is a web server that answers each host as a test wrote it, octet by
// octet, and every other host as the pretend Internet does.
type site struct {
	port int
	net  *catest.Internet

	mu      sync.Mutex
	scripts map[string]func(conn net.Conn, path string)
	hits    map[string]int
}

func newSite(t *testing.T, n *catest.Internet) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{port: l.Addr().(*net.TCPAddr).Port, net: n, scripts: map[string]func(net.Conn, string){}, hits: map[string]int{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed by the cleanup
			}
			go s.serve(conn)
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return s
}

func (s *site) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(settleTime))
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	s.mu.Lock()
	script := s.scripts[host]
	s.hits[host]++
	s.mu.Unlock()
	if script != nil {
		script(conn, r.URL.Path)
		return
	}
	rec := httptest.NewRecorder()
	s.net.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.ContentLength, resp.Close = int64(rec.Body.Len()), true
	_ = resp.Write(conn) // a validator that hung up has its reasons
}

func (s *site) on(host string, script func(conn net.Conn, path string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[host] = script
}

func (s *site) hitsOf(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[host]
}

// proof is a challenge of a new order for one name, and the answer that
// would be right.
func (h *hostile) proof(kind, name string) (challengeView, string) {
	h.t.Helper()
	o := h.order(h.account, name)
	z := h.post(request{by: h.account, url: o.list("authorizations")[0]})
	c := z.challenge(kind)
	if c.URL == "" {
		h.t.Fatalf("%s has no %s: %s", name, kind, z.body)
	}
	return c, c.Token + "." + thumbprint(h.account.key.Public())
}

// verdict of a validation: "" for valid, else the error's type.
func (h *hostile) verdict(c challengeView) string {
	h.t.Helper()
	got := h.settle(h.account, c.URL)
	if len(got.Error.Detail) > maxDetail || strings.ContainsFunc(got.Error.Detail, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		h.t.Errorf("the detail is not bounded or not escaped: %q", got.Error.Detail)
	}
	if got.Status == "valid" {
		return ""
	}
	return strings.TrimPrefix(got.Error.Type, "urn:ietf:params:acme:error:")
}

// host is a name of its own for a case.
func (h *hostile) host(kind string) string { return fmt.Sprintf("%s%d.example", kind, h.total) }

func (h *hostile) http01(row int, what, want string, answer func(right, host string) string) {
	h.t.Helper()
	h.is(row, what, func(t *testing.T) {
		h.with(t, func() {
			host := h.host("web")
			c, right := h.proof("http-01", host)
			h.site.on(host, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, answer(right, host)) })
			if got := h.verdict(c); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	})
}

func plainAnswer(status, headers, body string) string {
	return "HTTP/1.1 " + status + "\r\n" + headers + fmt.Sprintf("Content-Length: %d\r\nConnection: close\r\n\r\n", len(body)) + body
}

// web is rows 179 to 194.
func (h *hostile) web() {
	for _, status := range []string{"404 Not Found", "403 Forbidden", "401 Unauthorized", "400 Bad Request", "410 Gone", "418 I'm a teapot", "429 Too Many Requests", "500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "201 Created", "202 Accepted", "203 Non-Authoritative", "206 Partial Content", "226 IM Used", "299 X", "304 Not Modified", "300 Multiple Choices", "303 See Other", "305 Use Proxy", "999 X", "600 X"} {
		row := 179
		if status[0] == '3' {
			row = 185
		}
		h.http01(row, status+" with the right body", "unauthorized", func(right, _ string) string {
			return plainAnswer(status, "Location: /elsewhere\r\nRefresh: 0; url=/elsewhere\r\n", right)
		})
	}
	for _, tail := range []string{"\n", "\r\n", " ", "\t", " \r\n\t\v\f ", "\n\n\n"} {
		h.http01(180, fmt.Sprintf("%q behind", tail), "", func(right, _ string) string { return plainAnswer("200 OK", "", right+tail) })
	}
	for what, body := range map[string]func(string) string{
		"a space before": func(r string) string { return " " + r }, "a line end before": func(r string) string { return "\n" + r }, "BOM": func(r string) string { return "\xef\xbb\xbf" + r }, "empty": func(string) string { return "" }, "the token only": func(r string) string { return strings.Split(r, ".")[0] }, "the thumbprint only": func(r string) string { return strings.Split(r, ".")[1] },
		"lower case": strings.ToLower, "quoted": func(r string) string { return `"` + r + `"` }, "twice": func(r string) string { return r + r }, "twice, two lines": func(r string) string { return r + "\n" + r }, "HTML": func(r string) string { return "<html>" + r + "</html>" }, "one letter less": func(r string) string { return r[:len(r)-1] }, "one letter more": func(r string) string { return r + "A" }, "padding": func(r string) string { return r + "=" },
		"NUL behind": func(r string) string { return r + "\x00" }, "another account's": func(r string) string { return strings.Split(r, ".")[0] + "." + thumbprint(h.other.key.Public()) }, "JSON": func(r string) string { return `{"keyAuthorization":"` + r + `"}` }, "600 octets, right at first": func(r string) string { return r + strings.Repeat(" ", 600) }, "1 MiB": func(r string) string { return r + strings.Repeat("x", 1<<20) }, "escape sequences": func(string) string { return "\x1b[31m\x07\r\n\x00\u202e<script>" }, "UTF-16": func(r string) string { return "\xff\xfe" + strings.Join(strings.Split(r, ""), "\x00") },
	} {
		h.http01(180, what, "incorrectResponse", func(right, _ string) string { return plainAnswer("200 OK", "", body(right)) })
	}
	for _, coding := range []string{"gzip", "br", "deflate", "zstd", "x", "gzip, br"} {
		h.http01(182, coding, "incorrectResponse", func(right, _ string) string {
			return plainAnswer("200 OK", "Content-Encoding: "+coding+"\r\n", right)
		})
	}
	h.http01(181, "without a length", "", func(right, _ string) string { return "HTTP/1.1 200 OK\r\n\r\n" + right })
	h.http01(181, "chunked", "", func(right, _ string) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n57\r\n" + right + "\r\n0\r\n\r\n"
	})
	h.http01(181, "chunks of one octet", "", func(right, _ string) string {
		out := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		for _, c := range right {
			out += "1\r\n" + string(c) + "\r\n"
		}
		return out + "0\r\n\r\n"
	})
	h.brokenAnswers()
	h.redirects()
}

func (h *hostile) brokenAnswers() {
	for what, c := range map[string]struct {
		row  int
		want string
		text func(right string) string
	}{
		"1 GiB promised": {181, "incorrectResponse", func(string) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n" + strings.Repeat("x", 8192)
		}},
		"a length that is not kept": {181, "connection", func(r string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + r }},
		"chunk extensions of 64 KiB": {181, "connection", func(r string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n57;" + strings.Repeat("x", 64<<10) + "\r\n" + r
		}},
		"a chunk size that is none": {181, "connection", func(r string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + r }},
		"1 MiB of headers":          {183, "connection", func(r string) string { return "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n" + r }},
		"10,000 headers":            {183, "connection", func(r string) string { return "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: x\r\n", 10000) + "\r\n" + r }},
		"six times 103": {183, "connection", func(r string) string {
			return strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 6) + plainAnswer("200 OK", "", r)
		}},
		"10,000 times 100": {183, "connection", func(r string) string {
			return strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10000) + plainAnswer("200 OK", "", r)
		}},
		"five times 103 and an answer": {183, "", func(r string) string {
			return strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 5) + plainAnswer("200 OK", "", r)
		}},
		"101 Switching Protocols": {183, "unauthorized", func(r string) string {
			return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + r
		}},
		"nothing":                        {193, "connection", func(string) string { return "" }},
		"only a status":                  {193, "connection", func(string) string { return "HTTP/1.1 200 OK\r\n" }},
		"HTTP/2":                         {193, "connection", func(r string) string { return "HTTP/2.0 200 OK\r\n\r\n" + r }},
		"HTTP/0.9":                       {193, "connection", func(r string) string { return r }},
		"ICY":                            {193, "connection", func(r string) string { return "ICY 200 OK\r\n\r\n" + r }},
		"TLS":                            {193, "connection", func(string) string { return "\x15\x03\x01\x00\x02\x02\x46" }},
		"SSH":                            {193, "connection", func(string) string { return "SSH-2.0-OpenSSH_9.2\r\n" }},
		"random octets":                  {193, "connection", func(string) string { return string(make([]byte, 4096)) }},
		"a status of four digits":        {193, "connection", func(r string) string { return "HTTP/1.1 2000 OK\r\n\r\n" + r }},
		"a status that is a word":        {193, "connection", func(r string) string { return "HTTP/1.1 OK\r\n\r\n" + r }},
		"a header without a colon":       {193, "connection", func(r string) string { return "HTTP/1.1 200 OK\r\nxxx\r\n\r\n" + r }},
		"two lengths":                    {193, "connection", func(r string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 87\r\nContent-Length: 5\r\n\r\n" + r }},
		"a reason with escape sequences": {192, "unauthorized", func(r string) string { return "HTTP/1.1 404 \x1b[31mgone\x07\r\nContent-Length: 0\r\n\r\n" + r }},
		"an error page that echoes us":   {192, "unauthorized", func(r string) string { return plainAnswer("404 Not Found", "", "<p>"+r+" was not found</p>") }},
		"200 that echoes us": {192, "incorrectResponse", func(r string) string {
			return plainAnswer("200 OK", "", "<p>"+strings.Split(r, ".")[0]+" was not found</p>")
		}},
		"a page of secrets": {192, "incorrectResponse", func(string) string { return plainAnswer("200 OK", "", strings.Repeat("AWS_SECRET=x ", 30)) }},
	} {
		h.http01(c.row, what, c.want, func(right, _ string) string { return c.text(right) })
	}
}

// redirects that are followed, and that are not.
func (h *hostile) redirects() {
	target := "landed.example"
	follow := func(row int, what, status, location, want string) {
		h.is(row, fmt.Sprintf("%s %.60q", what, location), func(t *testing.T) {
			h.with(t, func() {
				host := h.host("from")
				c, right := h.proof("http-01", host)
				to := strings.NewReplacer("HOST", host, "PORT", fmt.Sprint(h.site.port)).Replace(location)
				h.site.on(host, func(conn net.Conn, path string) {
					if strings.HasPrefix(path, "/there") {
						_, _ = io.WriteString(conn, plainAnswer("200 OK", "", right))
						return
					}
					_, _ = io.WriteString(conn, plainAnswer(status, "Location: "+to+"\r\n", right))
				})
				h.site.on(target, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, plainAnswer("200 OK", "", right)) })
				before := h.site.hitsOf("evil.example")
				if got := h.verdict(c); got != want {
					t.Errorf("%q, want %q", got, want)
				}
				if h.site.hitsOf("evil.example") != before {
					t.Error("it was followed")
				}
			})
		})
	}
	for _, status := range []string{"301 Moved", "302 Found", "307 Temporary", "308 Permanent"} {
		for _, location := range []string{"/there", "http://HOST:PORT/there", "//HOST:PORT/there", "?x=/there#y", "http://" + target + ":PORT/", "HTTP://" + strings.ToUpper(target) + ":PORT/x", "./there"} {
			want := ""
			if strings.HasPrefix(location, "?") || location == "./there" {
				want = "connection" // it leads to what redirects again
			}
			follow(184, status, status, location, want)
		}
	}
	for _, scheme := range []string{"ftp://HOST/", "file:///etc/passwd", "gopher://HOST/", "javascript:alert(1)", "data:,x", "ws://HOST/", "unix:/run/x", "ldap://HOST/", "mailto:a@b.example", "about:blank", "httpx://HOST/", "http:HOST", "dict://HOST:11111/", "jar:http://HOST!/"} {
		follow(186, "scheme", "302 Found", scheme, "connection")
	}
	for _, port := range []string{"22", "25", "8080", "8443", "6379", "0", "65536", "-1", "80a", "", "+80", "08"} {
		follow(187, "port", "302 Found", "http://evil.example:"+port+"/", "connection")
	}
	h.is(187, "a port that would answer", func(t *testing.T) {
		h.with(t, func() {
			other, host := newSite(t, h.c.Net), h.host("port")
			c, right := h.proof("http-01", host)
			h.site.on(host, func(conn net.Conn, _ string) {
				_, _ = io.WriteString(conn, plainAnswer("302 Found", fmt.Sprintf("Location: http://%s:%d/\r\n", host, other.port), ""))
			})
			other.on(host, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, plainAnswer("200 OK", "", right)) })
			if got := h.verdict(c); got != "connection" || other.hitsOf(host) != 0 {
				t.Errorf("%q after %d requests there, want connection after none", got, other.hitsOf(host))
			}
		})
	})
	for _, to := range []string{
		"http://169.254.169.254/latest/meta-data/", "http://169.254.169.254:PORT/", "http://[::ffff:169.254.169.254]:PORT/", "http://[64:ff9b::a9fe:a9fe]:PORT/", "http://0.0.0.0:PORT/", "http://[::]:PORT/", "http://224.0.0.1:PORT/", "http://255.255.255.255:PORT/", "http://[fe80::1]:PORT/", "http://[fe80::1%25eth0]:PORT/", "http://[ff02::1]:PORT/", "http://100.100.100.200:PORT/",
		"http://2130706433:PORT/", "http://0177.0.0.1:PORT/", "http://0x7f.1:PORT/", "http://0x7f000001:PORT/", "http://127.1:PORT/", "http://017700000001:PORT/", "http://user:pass@evil.example:PORT/", "http://evil.example@HOST:PORT/", "http://①27.0.0.1:PORT/", "http://127。0。0。1:PORT/", `http:\\evil.example:PORT\`, `http://HOST:PORT\@evil.example/`, "http://evil.example%00.HOST:PORT/", "http://evil_.example:PORT/", "http://:PORT/", "http:///x", "http://", "http://[::1", "http://::1/", "http://[127.0.0.1]:PORT/", "http://*.example:PORT/", "http://evil.example:PORT:PORT/", "http:// evil.example:PORT/",
	} {
		follow(188, "to", "302 Found", to, "connection")
	}
	for what, to := range map[string]string{"a loop": "http://HOST:PORT/.well-known/acme-challenge/x", "2,001 octets": "http://HOST:PORT/" + strings.Repeat("x", 2001), "/.. times 5,000": "http://HOST:PORT" + strings.Repeat("/..", 5000), "%2e": "http://HOST:PORT/%2e%2e/%2e%2e/loop", "a line end, escaped": "http://HOST:PORT/%0d%0aX:x"} {
		follow(189, what, "302 Found", to, "connection")
	}
	for _, to := range []string{"http://HOST.well-known/acme-challenge/x", "http://HOST:PORT.well-known/x", "http:/there", "http://nowhere.invalid:PORT/"} {
		want := "connection"
		if strings.Contains(to, "invalid") {
			want = "dns"
		} else if to == "http:/there" {
			want = "connection" // an empty host
		}
		follow(190, "host", "302 Found", to, want)
	}
	h.is(189, "a chain of 11", func(t *testing.T) {
		h.with(t, func() {
			host := h.host("chain")
			c, _ := h.proof("http-01", host)
			n := 0
			h.site.on(host, func(conn net.Conn, _ string) {
				n++
				_, _ = io.WriteString(conn, plainAnswer("302 Found", fmt.Sprintf("Location: /hop%d\r\n", n), ""))
			})
			if got := h.verdict(c); got != "connection" || n != 11 {
				t.Errorf("%q after %d requests, want connection after 11", got, n)
			}
		})
	})
	follow(191, "https with a certificate for something else", "302 Found", fmt.Sprintf("https://evil.example:%d/", h.c.Net.TLSPort), "tls")
}

// records is rows 151 to 167, as far as they need no DNS server of their own.
func (h *hostile) records() {
	dns01 := func(row int, what, want string, set func(name, right string)) {
		h.is(row, what, func(t *testing.T) {
			h.with(t, func() {
				host := h.host("txt")
				c, right := h.proof("dns-01", host)
				digest := sha256.Sum256([]byte(right))
				set("_acme-challenge."+host, b64(digest[:]))
				if got := h.verdict(c); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			})
		})
	}
	add := h.c.Net.AddTXT
	for code, what := range map[int]string{dns.RcodeServerFailure: "SERVFAIL", dns.RcodeRefused: "REFUSED", dns.RcodeFormatError: "FORMERR", dns.RcodeNotImplemented: "NOTIMP", dns.RcodeNameError: "NXDOMAIN", dns.RcodeYXDomain: "YXDOMAIN", dns.RcodeNotAuth: "NOTAUTH"} {
		dns01(151, what+" for TXT", "dns", func(name, right string) { add(name, right); h.c.Net.Fail(name, code) })
		h.is(151, what+" for A", func(t *testing.T) {
			h.with(t, func() {
				host := h.host("rcode")
				c, right := h.proof("http-01", host)
				h.c.Net.AnswerHTTP(host, c.Token, right)
				h.c.Net.Fail(host, code)
				if got := h.verdict(c); got != "dns" {
					t.Errorf("%q, want dns", got)
				}
			})
		})
	}
	dns01(159, "right", "", func(name, right string) { add(name, right) })
	dns01(159, "among 50 others", "", func(name, right string) {
		for i := range 50 {
			add(name, fmt.Sprintf("v=spf1 %d -all", i))
		}
		add(name, right)
	})
	dns01(159, "by a CNAME", "", func(name, right string) { h.c.Net.Alias(name, "to."+name[1:]); add("to."+name[1:], right) })
	dns01(161, "no record", "unauthorized", func(string, string) {})
	for what, damage := range map[string]func(string) string{
		"a space behind": func(s string) string { return s + " " }, "a space before": func(s string) string { return " " + s }, "padding": func(s string) string { return s + "=" }, "lower case": strings.ToLower, "upper case": strings.ToUpper, "quoted": func(s string) string { return `"` + s + `"` }, "one letter less": func(s string) string { return s[:len(s)-1] }, "one letter more": func(s string) string { return s + "A" },
		"twice": func(s string) string { return s + s }, "empty": func(string) string { return "" }, "a prefix": func(s string) string { return "acme=" + s }, "a line end": func(s string) string { return s + "\n" }, "hexadecimal": func(s string) string { b, _ := base64.RawURLEncoding.DecodeString(s); return fmt.Sprintf("%x", b) }, "standard base64": func(s string) string {
			b, _ := base64.RawURLEncoding.DecodeString(s)
			return base64.StdEncoding.EncodeToString(b)
		},
		"600 octets": func(s string) string { return s + strings.Repeat("x", 557) }, "escape sequences": func(string) string { return "\x1b[31m\x07" },
	} {
		dns01(160, what, "incorrectResponse", func(name, right string) { add(name, damage(right)) })
	}
	dns01(161, "another account's", "incorrectResponse", func(name, _ string) {
		digest := sha256.Sum256([]byte("token." + thumbprint(h.other.key.Public())))
		add(name, b64(digest[:]))
	})
	dns01(161, "at the name itself", "unauthorized", func(name, right string) { add(strings.TrimPrefix(name, "_acme-challenge."), right) })
	dns01(158, "a CNAME to itself", "dns", func(name, _ string) { h.c.Net.Alias(name, name) })
	dns01(158, "a chain of 20 CNAMEs", "dns", func(name, right string) {
		at := name
		for i := range 20 {
			next := fmt.Sprintf("c%d.%s", i, name[1:])
			h.c.Net.Alias(at, next)
			at = next
		}
		add(at, right)
	})
	h.addresses()
}

// addresses that must never be connected to, whatever name leads there (I67, I69).
func (h *hostile) addresses() {
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255", "100.100.100.200", "168.63.129.16", "::", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
		"::ffff:169.254.169.254", "::ffff:0.0.0.0", "64:ff9b::a9fe:a9fe", "64:ff9b::", "fd00:ec2::254", "::169.254.169.254", "2002:a9fe:a9fe::1",
	} {
		for _, kind := range []string{"http-01", "tls-alpn-01"} {
			h.is(162, kind+" at "+a, func(t *testing.T) {
				h.with(t, func() {
					host := h.host("addr")
					h.c.Net.Point(host, a)
					c, right := h.proof(kind, host)
					h.c.Net.AnswerHTTP(host, c.Token, right)
					before := h.site.hitsOf(host)
					if got := h.verdict(c); got != "connection" {
						t.Errorf("%q, want connection", got)
					}
					if h.site.hitsOf(host) != before {
						t.Error("it was asked")
					}
				})
			})
		}
	}
	h.is(164, "a good one among bad ones", func(t *testing.T) {
		h.with(t, func() {
			host := h.host("mixed")
			h.c.Net.Point(host, "169.254.169.254", "127.0.0.1", "0.0.0.0")
			c, right := h.proof("http-01", host)
			h.c.Net.AnswerHTTP(host, c.Token, right)
			if got := h.verdict(c); got != "" {
				t.Errorf("%q, want valid", got)
			}
		})
	})
	h.is(166, "IPv6 that does not answer, and IPv4", func(t *testing.T) {
		h.with(t, func() {
			host := h.host("six")
			h.c.Net.Point(host, "::1", "127.0.0.1") // the site listens on IPv4 only
			c, right := h.proof("http-01", host)
			h.c.Net.AnswerHTTP(host, c.Token, right)
			if got := h.verdict(c); got != "" {
				t.Errorf("%q, want valid", got)
			}
		})
	})
}

// alpn is rows 195 to 201, as far as they are about the certificate.
func (h *hostile) alpn() {
	acmeID := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	octets := func(b []byte) []byte { v, _ := asn1.Marshal(b); return v }
	type spoil func(c *x509.Certificate, digest []byte)
	replace := func(value func(digest []byte) []byte) spoil {
		return func(c *x509.Certificate, digest []byte) { c.ExtraExtensions[0].Value = value(digest) }
	}
	for what, c := range map[string]struct {
		row   int
		want  string
		spoil spoil
	}{
		"right":             {199, "", func(*x509.Certificate, []byte) {}},
		"expired":           {199, "", func(c *x509.Certificate, _ []byte) { c.NotAfter = time.Now().Add(-time.Minute) }}, // the RFC gives its dates no meaning
		"no acmeIdentifier": {199, "unauthorized", func(c *x509.Certificate, _ []byte) { c.ExtraExtensions = nil }},
		"not critical":      {199, "unauthorized", func(c *x509.Certificate, _ []byte) { c.ExtraExtensions[0].Critical = false }},
		"the OID of a draft": {199, "unauthorized", func(c *x509.Certificate, _ []byte) {
			c.ExtraExtensions[0].Id = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1}
		}},
		"31 octets":         {199, "unauthorized", replace(func(d []byte) []byte { return octets(d[:31]) })},
		"33 octets":         {199, "unauthorized", replace(func(d []byte) []byte { return octets(append(d, 0)) })},
		"no octets":         {199, "unauthorized", replace(func([]byte) []byte { return octets(nil) })},
		"no OCTET STRING":   {199, "unauthorized", replace(func(d []byte) []byte { return d })},
		"a BIT STRING":      {199, "unauthorized", replace(func(d []byte) []byte { return element(3, []byte{0}, d) })},
		"octets behind":     {199, "unauthorized", replace(func(d []byte) []byte { return append(octets(d), 0) })},
		"one bit":           {199, "unauthorized", replace(func(d []byte) []byte { d[31] ^= 1; return octets(d) })},
		"zeros":             {199, "unauthorized", replace(func([]byte) []byte { return octets(make([]byte, 32)) })},
		"hexadecimal":       {199, "unauthorized", replace(func(d []byte) []byte { return octets(fmt.Appendf(nil, "%x", d)) })},
		"two names":         {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames = append(c.DNSNames, "b.example") }},
		"the name twice":    {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames = append(c.DNSNames, c.DNSNames[0]) }},
		"an address beside": {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }},
		"a mailbox beside":  {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.EmailAddresses = []string{"a@b.example"} }},
		"only in the CN":    {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.Subject.CommonName, c.DNSNames = c.DNSNames[0], nil }},
		"another name":      {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames = []string{"b.example"} }},
		"a wildcard":        {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames = []string{"*.example"} }},
		"the name below":    {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames[0] = "x." + c.DNSNames[0] }},
		"a dot behind":      {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames[0] += "." }},
		"NUL within":        {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames[0] += "\x00.evil.example" }},
		"in upper case":     {198, "", func(c *x509.Certificate, _ []byte) { c.DNSNames[0] = strings.ToUpper(c.DNSNames[0]) }},
		"an otherName beside": {198, "unauthorized", func(c *x509.Certificate, _ []byte) {
			san := element(0x30, element(0x82, []byte(c.DNSNames[0])), element(0xa0, []byte{6, 2, 0x2a, 3}, element(0xa0, element(0x0c, []byte("x")))))
			c.ExtraExtensions, c.DNSNames = append(c.ExtraExtensions, pkix.Extension{Id: oidSAN, Value: san}), nil
		}},
		"1,000 names": {200, "unauthorized", func(c *x509.Certificate, _ []byte) {
			for i := range 1000 {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("n%d.example", i))
			}
		}},
		"a certificate of 900 KiB": {200, "tls", func(c *x509.Certificate, _ []byte) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 900<<10)})
		}},
		"escape sequences": {198, "unauthorized", func(c *x509.Certificate, _ []byte) { c.DNSNames = []string{"\x1b[31m.example"} }},
	} {
		h.alpnCase(c.row, what, c.want, func(template *x509.Certificate, digest []byte) *tls.Certificate {
			template.ExtraExtensions = []pkix.Extension{{Id: acmeID, Critical: true, Value: octets(digest)}}
			c.spoil(template, digest)
			return selfSigned(h.t, template, nil)
		})
	}
	h.alpnCase(197, "a chain of two", "unauthorized", func(template *x509.Certificate, digest []byte) *tls.Certificate {
		template.ExtraExtensions = []pkix.Extension{{Id: acmeID, Critical: true, Value: octets(digest)}}
		c := selfSigned(h.t, template, nil)
		c.Certificate = append(c.Certificate, c.Certificate[0])
		return c
	})
	h.alpnCase(197, "signed by another", "unauthorized", func(template *x509.Certificate, digest []byte) *tls.Certificate {
		template.ExtraExtensions = []pkix.Extension{{Id: acmeID, Critical: true, Value: octets(digest)}}
		return selfSigned(h.t, template, &x509.Certificate{Subject: pkix.Name{CommonName: "somebody"}})
	})
	h.alpnCase(197, "signed by another of the same name", "unauthorized", func(template *x509.Certificate, digest []byte) *tls.Certificate {
		template.ExtraExtensions = []pkix.Extension{{Id: acmeID, Critical: true, Value: octets(digest)}}
		return selfSigned(h.t, template, &x509.Certificate{})
	})
	h.alpnCase(200, "100 certificates", "unauthorized", func(template *x509.Certificate, digest []byte) *tls.Certificate {
		template.ExtraExtensions = []pkix.Extension{{Id: acmeID, Critical: true, Value: octets(digest)}}
		c := selfSigned(h.t, template, nil)
		for range 99 {
			c.Certificate = append(c.Certificate, c.Certificate[0])
		}
		return c
	})
	h.alpnCase(195, "no certificate for the name", "tls", func(*x509.Certificate, []byte) *tls.Certificate { return nil })
	h.is(200, "an RSA key of 4,096 bits", func(t *testing.T) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		h.with(t, func() {
			host := h.host("alpn")
			c, right := h.proof("tls-alpn-01", host)
			digest := sha256.Sum256([]byte(right))
			template := challengeTemplate(host)
			template.ExtraExtensions = []pkix.Extension{{Id: acmeID, Critical: true, Value: octets(digest[:])}}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			h.c.Net.AnswerTLS(host, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
			if got := h.verdict(c); got != "" {
				t.Errorf("%q, want valid", got)
			}
		})
	})
	h.is(201, "an address under its reverse name", func(t *testing.T) {
		h.with(t, func() {
			c, right := h.proof("tls-alpn-01", "127.0.0.9")
			cert, err := catest.ChallengeCertificate("127.0.0.9", right)
			if err != nil {
				t.Fatal(err)
			}
			h.c.Net.AnswerTLS("127.0.0.9", cert) // where a wrong validator would ask
			if got := h.verdict(c); got != "tls" && got != "connection" {
				t.Errorf("%q, want no proof by the address as server name", got)
			}
		})
	})
}

func challengeTemplate(host string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ACME challenge"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host}}
}

// selfSigned is, unless a parent is given: then it only has the parent's name
// (its own, if that is empty) as its issuer.
func selfSigned(t *testing.T, template, parent *x509.Certificate) *tls.Certificate {
	t.Helper()
	key := ecKey(t, elliptic.P256())
	by := key
	if parent == nil {
		parent = template
	} else {
		by = ecKey(t, elliptic.P256())
		if parent.Subject.CommonName == "" {
			parent.Subject = template.Subject
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatalf("crypto/x509 does not make it: %v", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (h *hostile) alpnCase(row int, what, want string, make func(template *x509.Certificate, digest []byte) *tls.Certificate) {
	h.t.Helper()
	h.is(row, what, func(t *testing.T) {
		h.with(t, func() {
			host := h.host("alpn")
			c, right := h.proof("tls-alpn-01", host)
			digest := sha256.Sum256([]byte(right))
			h.c.Net.AnswerTLS(host, make(challengeTemplate(host), digest[:]))
			if got := h.verdict(c); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	})
}
