package validate

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/acme"
)

const wellKnown = "/.well-known/acme-challenge/" + testToken

// serveRaw takes connections at addr ("127.0.0.2:0") and hands each to serve;
// it returns the port.
func serveRaw(t testing.TB, addr string, serve func(net.Conn)) int {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the tests need this loopback address: %v", err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// serveHTTP is a real net/http server at addr.
func serveHTTP(t testing.TB, addr string, h http.HandlerFunc) int {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the tests need this loopback address: %v", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

func right(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != wellKnown {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, testKeyAuth)
}

func TestHTTP01(t *testing.T) {
	asked := make(chan *http.Request, 1)
	port := serveHTTP(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) { asked <- r; right(w, r) })
	z := startZone(t, "a.example. A 127.0.0.2")
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: port, UserAgent: "test/1"})
	evidence := proven().check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
	got := <-asked
	if got.Host != fmt.Sprintf("a.example:%d", port) || got.Method != http.MethodGet || got.UserAgent() != "test/1" || !got.Close ||
		got.Header.Get("Accept-Encoding") != "identity" || got.Proto != "HTTP/1.1" || got.Header.Get("Referer") != "" {
		t.Errorf("asked with %+v", got)
	}
	said := steps(evidence)
	for _, want := range []string{
		"dns | A a.example | " + z.addr + " | 127.0.0.2", "dns | AAAA a.example | " + z.addr + " | no such record",
		fmt.Sprintf("connect | http://a.example:%d%s | 127.0.0.2:%d | connected", port, wellKnown, port),
		fmt.Sprintf("http | GET http://a.example:%d%s | 127.0.0.2:%d | 200 OK", port, wellKnown, port),
		"verdict | http-01 a.example |  | control proven",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("evidence lacks %q:\n%s", want, said)
		}
	}
	if evidence.Method != acme.HTTP01 || evidence.Identifier != "a.example" || evidence.Started.IsZero() {
		t.Errorf("evidence %+v", evidence)
	}
}

// TestHTTP01Addresses: identifiers of type ip, and IPv6 first with one
// fallback to IPv4 (SAFETY rows 164 to 166).
func TestHTTP01Addresses(t *testing.T) {
	hosts := make(chan string, 10)
	port := serveHTTP(t, "[::1]:0", func(w http.ResponseWriter, r *http.Request) { hosts <- "six " + r.Host; right(w, r) })
	four := serveHTTP(t, fmt.Sprintf("127.0.0.3:%d", port), func(w http.ResponseWriter, r *http.Request) { hosts <- "four " + r.Host; right(w, r) })
	z := startZone(t,
		"both.example. AAAA ::1", "both.example. A 127.0.0.3",
		"broken.example. AAAA 100::1", "broken.example. AAAA ::1", "broken.example. A 127.0.0.3",
		"refused.example. AAAA ::1", "refused.example. A 127.0.0.4", "refused.example. A 127.0.0.3",
		"mixed.example. A 169.254.169.254", "mixed.example. A 127.0.0.3", "mixed.example. AAAA fe80::1",
		"servfail.example. A 127.0.0.3",
	)
	for i := range 1000 {
		z.add(t, fmt.Sprintf("many.example. A 127.0.%d.%d", 100+i/250, i%250+1))
	}
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: port, Timeout: 3 * time.Second})
	suffix := fmt.Sprintf(":%d", four)
	for name, row := range map[string]struct {
		attempt acme.Attempt
		want    string
	}{
		"v6 first":           {attemptAt(acme.HTTP01, dnsName(t, "both.example")), "six both.example" + suffix},
		"v4 after broken v6": {attemptAt(acme.HTTP01, dnsName(t, "broken.example")), "four broken.example" + suffix},
		"private skipped":    {attemptAt(acme.HTTP01, dnsName(t, "mixed.example")), "four mixed.example" + suffix},
		"ip, v6":             {attemptAt(acme.HTTP01, ipName(t, "::1")), "six [::1]" + suffix},
		"ip, v4":             {attemptAt(acme.HTTP01, ipName(t, "127.0.0.3")), "four 127.0.0.3" + suffix},
	} {
		proven().check(t, v, row.attempt)
		if host := <-hosts; host != row.want {
			t.Errorf("%s: asked %s, want %s", name, host, row.want)
		}
	}
	evidence := refused(acme.Connection, "127.0.100.1").check(t, v, attemptAt(acme.HTTP01, dnsName(t, "many.example")))
	if n := strings.Count(steps(evidence), "connect |"); n != 1 {
		t.Errorf("of 1,000 addresses %d were tried, want 1\n%s", n, steps(evidence))
	}
	z.play(failAAAA)
	proven().check(t, v, attemptAt(acme.HTTP01, dnsName(t, "servfail.example")))
	if strings.Contains(fmt.Sprint(z.questions()), "::1") || strings.Contains(fmt.Sprint(z.questions()), " 127.") {
		t.Error("the resolver was asked for an address")
	}
}

// TestHTTP01Answers is SAFETY rows 179 to 183, 192 and 193, in raw bytes.
func TestHTTP01Answers(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\n"
	body := func(s string) string { return fmt.Sprintf(ok+"Content-Length: %d\r\n\r\n%s", len(s), s) }
	status := func(line string) string { return "HTTP/1.1 " + line + "\r\nContent-Length: 87\r\n\r\n" + testKeyAuth }
	chunk := func(size int) string {
		var b strings.Builder
		for rest := testKeyAuth; rest != ""; {
			n := min(size, len(rest))
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		return ok + "Transfer-Encoding: chunked\r\n\r\n" + b.String() + "0\r\n\r\n"
	}
	long := strings.Repeat("x", 1<<20)
	wrong := refused(acme.IncorrectResponse, "want \""+testToken)
	for name, row := range map[string]struct {
		raw  string
		want expect
	}{
		"right":                   {body(testKeyAuth), proven()},
		"right, no length":        {ok + "\r\n" + testKeyAuth, proven()},
		"right, HTTP/1.0":         {"HTTP/1.0 200 OK\r\n\r\n" + testKeyAuth, proven()},
		"right, odd reason":       {"HTTP/1.1 200 \r\n\r\n" + testKeyAuth, proven()},
		"right, one chunk":        {chunk(87), proven()},
		"right, chunks of 1":      {chunk(1), proven()},
		"right, any type":         {ok + "Content-Type: text/html\r\n\r\n" + testKeyAuth, proven()},
		"right, identity":         {ok + "Content-Encoding: identity\r\n\r\n" + testKeyAuth, proven()},
		"newline behind":          {body(testKeyAuth + "\n"), proven()},
		"CRLF behind":             {body(testKeyAuth + "\r\n"), proven()},
		"spaces behind":           {body(testKeyAuth + " \t\n\n "), proven()},
		"one 100":                 {"HTTP/1.1 100 Continue\r\n\r\n" + body(testKeyAuth), proven()},
		"103 with links":          {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + body(testKeyAuth), proven()},
		"space before":            {body(" " + testKeyAuth), wrong},
		"BOM before":              {body("\xef\xbb\xbf" + testKeyAuth), wrong},
		"NUL behind":              {body(testKeyAuth + "\x00"), wrong},
		"no-break space behind":   {body(testKeyAuth + "\u00a0"), wrong},
		"lower case":              {body(strings.ToLower(testKeyAuth)), wrong},
		"token only":              {body(testToken), wrong},
		"other account":           {body(testToken + ".AAAA"), wrong},
		"empty":                   {body(""), wrong},
		"quoted":                  {body(`"` + testKeyAuth + `"`), wrong},
		"script":                  {body("<script>alert(1)</script>\x1b[31m\u202e"), refused(acme.IncorrectResponse, `<script>alert(1)</script>\x1b[31m\u202e`)},
		"513 bytes":               {body(testKeyAuth + strings.Repeat(" ", 513-87)), refused(acme.IncorrectResponse, "more than 512 bytes")},
		"512 bytes":               {body(testKeyAuth + strings.Repeat(" ", 512-87)), proven()},
		"1 MiB":                   {ok + "\r\n" + testKeyAuth + long, refused(acme.IncorrectResponse, "more than 512 bytes")},
		"gzip":                    {ok + "Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08", refused(acme.IncorrectResponse, "gzip")},
		"br, right body":          {ok + "Content-Encoding: br\r\n\r\n" + testKeyAuth, refused(acme.IncorrectResponse, "br")},
		"404":                     {status("404 Not Found"), refused(acme.Unauthorized, "answered 404 Not Found (want 200); make the client's answer reachable there and try again")},
		"404, hostile reason":     {status("404 <script>"), refused(acme.Unauthorized, "answered 404 Not Found")},
		"403":                     {status("403 Forbidden"), refused(acme.Unauthorized, "403 Forbidden")},
		"500":                     {status("500 Oops"), refused(acme.Unauthorized, "500")},
		"201":                     {status("201 Created"), refused(acme.Unauthorized, "201")},
		"204":                     {"HTTP/1.1 204 No Content\r\n\r\n" + testKeyAuth, refused(acme.Unauthorized, "204")},
		"206":                     {status("206 Partial Content"), refused(acme.Unauthorized, "206")},
		"999":                     {status("999 What"), refused(acme.Unauthorized, "999")},
		"101":                     {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", refused(acme.Unauthorized, "101")},
		"300":                     {status("300 Multiple Choices\r\nLocation: /x"), refused(acme.Unauthorized, "300")},
		"303":                     {status("303 See Other\r\nLocation: /x"), refused(acme.Unauthorized, "303")},
		"304":                     {"HTTP/1.1 304 Not Modified\r\n\r\n", refused(acme.Unauthorized, "304")},
		"refresh":                 {ok + "Refresh: 0; url=/x\r\n\r\n" + `<meta http-equiv="refresh" content="0;url=/x">`, refused(acme.IncorrectResponse, "meta")},
		"302 without Location":    {status("302 Found"), refused(acme.Connection, "want exactly one Location")},
		"302 with two":            {status("302 Found\r\nLocation: /a\r\nLocation: /b"), refused(acme.Connection, "want exactly one Location")},
		"header of 16 MiB":        {ok + "X: " + strings.Repeat(long, 16), refused(acme.Connection, "header of more than 16384 bytes")},
		"100,000 headers":         {ok + strings.Repeat("A: b\r\n", 100_000), refused(acme.Connection, "header of more than 16384 bytes")},
		"10,000 times 100":        {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10_000), refused(acme.Connection, "informational")},
		"10,000 times 103":        {strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: <"+strings.Repeat("x", 4000)+">\r\n\r\n", 100), refused(acme.Connection, "header of more than")},
		"chunks with extensions":  {ok + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("8;"+strings.Repeat("e", 100)+"\r\nxxxxxxxx\r\n", 1000), refused(acme.Connection, "needed more than 4096 bytes")},
		"chunk of another size":   {ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + testKeyAuth, refused(acme.Connection, "its body can't be read")},
		"other transfer encoding": {ok + "Transfer-Encoding: gzip\r\n\r\n" + testKeyAuth, refused(acme.Connection, "did not answer in HTTP/1.1")},
		"two lengths":             {ok + "Content-Length: 87\r\nContent-Length: 86\r\n\r\n" + testKeyAuth, refused(acme.Connection, "did not answer in HTTP/1.1")},
		"body shorter than told":  {ok + "Content-Length: 88\r\n\r\n" + testKeyAuth, refused(acme.Connection, "closed the connection too early")},
		"no answer":               {"", refused(acme.Connection, "closed the connection too early")},
		"end within the header":   {ok + "X: y", refused(acme.Connection, "closed the connection too early")},
		"TLS alert":               {"\x15\x03\x03\x00\x02\x02\x0a", refused(acme.Connection, "did not answer in HTTP/1.1")},
		"SSH":                     {"SSH-2.0-OpenSSH_9.2\r\n", refused(acme.Connection, "did not answer in HTTP/1.1")},
		"HTTP/2":                  {"HTTP/2.0 200 OK\r\n\r\n" + testKeyAuth, refused(acme.Connection, "did not answer in HTTP/1.1")},
		"HTTP/0.9":                {testKeyAuth, refused(acme.Connection, "HTTP/1.1")},
		"control in header":       {ok + "X: a\x00b\r\n\r\n" + testKeyAuth, refused(acme.Connection, "did not answer in HTTP/1.1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := serveRaw(t, "127.0.0.2:0", func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = io.WriteString(c, row.raw)
			})
			v := validator(t, Config{Resolvers: []string{"127.0.0.1:1"}, HTTPPort: port, Timeout: 5 * time.Second})
			row.want.check(t, v, attemptAt(acme.HTTP01, ipName(t, "127.0.0.2")))
		})
	}
}

// TestHTTP01Slow is SAFETY rows 181, 193 and 194: whatever a peer does with
// time, the validation ends in its own.
func TestHTTP01Slow(t *testing.T) {
	drip := func(prefix string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, prefix)
			for range 1000 {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	for name, row := range map[string]struct {
		serve func(net.Conn)
		want  expect
	}{
		"silent":          {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, refused(acme.Connection, "did not answer in time")},
		"dripping header": {drip("HTTP/1.1 200 OK\r\nX: "), refused(acme.Connection, "did not answer in time")},
		"dripping body":   {drip("HTTP/1.1 200 OK\r\n\r\n"), refused(acme.Connection, "did not answer in time")},
		"dripping chunks": {drip("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"), refused(acme.Connection, "did not answer in time")},
		"reset": {func(c net.Conn) {
			_ = c.(*net.TCPConn).SetLinger(0)
			_, _ = io.ReadFull(c, make([]byte, 10))
		}, refused(acme.Connection, "reset the connection")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := serveRaw(t, "127.0.0.2:0", row.serve)
			v := validator(t, Config{HTTPPort: port, Timeout: 400 * time.Millisecond})
			row.want.check(t, v, attemptAt(acme.HTTP01, ipName(t, "127.0.0.2")))
		})
	}
}

// TestHTTP01Memory: an endless answer costs what is read of it, not what is
// sent (SAFETY A8).
func TestHTTP01Memory(t *testing.T) {
	port := serveRaw(t, "127.0.0.2:0", func(c net.Conn) {
		block := []byte(strings.Repeat("x", 1<<16))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	v := validator(t, Config{HTTPPort: port})
	run := func() {
		if _, p := v.Validate(t.Context(), attemptAt(acme.HTTP01, ipName(t, "127.0.0.2"))); p == nil || p.Kind != acme.IncorrectResponse {
			t.Fatal(p)
		}
	}
	run()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		run()
	}
	runtime.ReadMemStats(&after)
	// The test's server allocates too: a block for each connection.
	if each := (after.TotalAlloc - before.TotalAlloc) / 20; each > 128<<10+1<<16 {
		t.Errorf("%d bytes for one validation", each)
	}
}

// redirector answers at two ports, one in clear and one in TLS: /.well-known
// redirects to where; everything below /ok is right.
type redirector struct {
	http, https int
	mu          sync.Mutex
	where       string
	code        int
	asked       []string
}

func startRedirector(t *testing.T, config *tls.Config) *redirector {
	t.Helper()
	r := &redirector{}
	r.http = serveHTTP(t, "127.0.0.2:0", r.serve)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{selfSigned(t, certificate{names: []string{"unrelated.example"}})}
	s := &http.Server{Handler: http.HandlerFunc(r.serve), TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(tls.NewListener(l, config)) }()
	t.Cleanup(func() { s.Close(); <-done })
	r.https = l.Addr().(*net.TCPAddr).Port
	return r
}

// set says where to and how to redirect from now on, and forgets what was asked.
func (r *redirector) set(where string, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.where, r.code, r.asked = where, code, nil
}

func (r *redirector) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

func (r *redirector) serve(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	scheme := "http"
	if q.TLS != nil {
		scheme = "https"
	}
	r.asked = append(r.asked, scheme+"://"+q.Host+q.URL.RequestURI())
	var n, of int
	switch {
	case strings.HasPrefix(q.URL.Path, "/ok"):
		_, _ = io.WriteString(w, testKeyAuth)
	case strings.HasPrefix(q.URL.Path, "/chain/"):
		_, _ = fmt.Sscanf(q.URL.Path, "/chain/%d/%d", &n, &of)
		if n == of {
			_, _ = io.WriteString(w, testKeyAuth)
			return
		}
		w.Header()["Location"] = []string{fmt.Sprintf("/chain/%d/%d", n+1, of)}
		w.WriteHeader(http.StatusFound)
	default:
		w.Header()["Location"] = []string{r.where}
		w.WriteHeader(r.code)
	}
}

// TestHTTP01Redirects is SAFETY rows 184 to 191.
func TestHTTP01Redirects(t *testing.T) {
	r := startRedirector(t, &tls.Config{MinVersion: tls.VersionTLS12})
	z := startZone(t, "a.example. A 127.0.0.2", "b.example. A 127.0.0.2", "evil.example. A 169.254.169.254", "six.example. AAAA ::ffff:169.254.169.254")
	v := validator(t, Config{
		Resolvers: []string{z.addr}, HTTPPort: r.http, TLSPort: r.https, Timeout: 5 * time.Second,
		DeniedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")},
	})
	a := attemptAt(acme.HTTP01, dnsName(t, "a.example"))
	no := func(says string) expect { return refused(acme.Connection, says) }
	badHost := "no name and no address"
	for _, row := range []struct {
		where string
		want  expect
	}{
		{"/ok", proven()},
		{"/ok?a=b%20c&d=" + strings.Repeat("e", 1000), proven()},
		{"ok/../../../ok", proven()},
		{"//b.example/ok", proven()},
		{"http://b.example/ok", proven()},
		{"HTTP://B.Example/ok", proven()},
		{"https://b.example/ok", proven()},
		{fmt.Sprintf("http://b.example:%d/ok", r.http), proven()},
		{fmt.Sprintf("https://b.example:%d/ok", r.https), proven()},
		{"http://127.0.0.2/ok#fragment", proven()},
		{"http://[::ffff:127.0.0.2]/ok", proven()},
		{"/chain/1/10", proven()}, // with the first, 10 redirects
		{"/chain/1/11", no("10 redirects were followed")},
		{"/chain/0/1000000", no("10 redirects were followed")},
		{"/.well-known/acme-challenge/" + testToken, no("asked already")},
		{"?", proven()}, // see below: another URL, the same handler, so it is a loop
		{"ftp://b.example/ok", no("neither http nor https")},
		{"file:///etc/passwd", no("neither http nor https")},
		{"gopher://b.example/", no("neither http nor https")},
		{"javascript:alert(1)", no("neither http nor https")},
		{"data:text/plain," + testKeyAuth, no("neither http nor https")},
		{"http:ok", no("no //")},
		{"http:///ok", no("names no host")},
		{"http://:80/ok", no("names no host")},
		{"//", no("asked already")}, // same host, and its path stays,
		{"http://b.example:8080/ok", no("port other than")},
		{"http://b.example:22/ok", no("port other than")},
		{"http://b.example:0/ok", no("port other than")},
		{"http://b.example:99999/ok", no("port other than")},
		{"http://b.example:/ok", no("colon but no port")},
		{"http://b.example:x/ok", no("no URL")},
		{"http://user@b.example/ok", no("user name")},
		{"http://user:pass@b.example/ok", no("user name")},
		{"http://b.example\\@evil.example/", no("no URL may hold")},
		{`\\evil.example/`, no("no URL may hold")},
		{"http://\u246027.0.0.1/", no("no URL may hold")},
		{"http://b.example/a b", no("no URL may hold")},
		{"http://127.0.0.9/", no("denied network")},
		{"http://[::ffff:127.0.0.9]/", no("denied network")},
		{"http://169.254.169.254/latest/meta-data/", no("link-local")},
		{"http://[::ffff:a9fe:a9fe]/", no("link-local")},
		{"http://[64:ff9b::7f00:1]/", no("not global")},
		{"http://0.0.0.0/", no("unspecified")},
		{"http://0/", no("unusual form")},
		{"http://[::]/", no("unspecified")},
		{"http://[fe80::1]/", no("link-local")},
		{"http://[fe80::1%25eth0]/", no("zone")},
		{"http://2130706433/", no("unusual form")},
		{"http://127.1/", no("unusual form")},
		{"http://0177.0.0.1/", no("unusual form")},
		{"http://0x7f.0.0.1/", no("unusual form")},
		{"http://0x7f000001/", no("unusual form")},
		{"http://127.0.0.0x1/", no("unusual form")},
		{"http://127.0.0.1./", no("unusual form")},
		{"http://b.example.well-known/acme-challenge/x", no("slash is missing")},
		{"http://*.example/", no(badHost)},
		{"http://a..example/", no(badHost)},
		{"http://b_c.example/", no(badHost)},
		{"http://" + strings.Repeat("a", 64) + ".example/", no(badHost)},
		{"http://%62.example/", no(badHost + "|zone|no URL")},
		{"http://evil.example/", no("169.254.169.254 is link-local")},
		{"http://six.example/", no("169.254.169.254 is link-local")},
		{"http://gone.example/", refused(acme.DNS, "NXDOMAIN")},
		{"http://b.example/" + strings.Repeat("x", 2000), no("more than 2000 bytes")},
		{"/" + strings.Repeat("x", 1990), no("more than 2000 bytes")},
		{strings.Repeat("/..", 100_000), no("header of more than")},
		{strings.Repeat("/..", 700), no("more than 2000 bytes")},
		{"", no("want exactly one Location")},
	} {
		name := row.where[:min(len(row.where), 60)]
		t.Run(name, func(t *testing.T) {
			if row.where == "?" {
				row.want = no("asked already|10 redirects")
			}
			for _, code := range []int{301, 302, 307, 308} {
				r.set(row.where, code)
				says := strings.Split(row.want.says, "|")
				evidence, problem := v.Validate(t.Context(), a)
				checkEvidence(t, evidence, problem)
				if (problem == nil) != row.want.ok || problem != nil && (problem.Kind != row.want.kind || !containsAny(problem.Detail, says)) {
					t.Fatalf("%d: got %v, want %+v\n%s", code, problem, row.want, steps(evidence))
				}
				if n := r.requests(); n > maxRedirects+1 {
					t.Errorf("%d requests", n)
				}
			}
		})
	}
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// TestHTTP01RedirectHTTPS: the hop is TLS 1.2 or newer, with the host as SNI,
// and the certificate, which is for another name and self-signed, is not
// verified (SAFETY row 191).
func TestHTTP01RedirectHTTPS(t *testing.T) {
	hellos := make(chan *tls.ClientHelloInfo, 10)
	note := func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hellos <- h
		return nil, nil
	}
	r := startRedirector(t, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: note})
	z := startZone(t, "a.example. A 127.0.0.2")
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: r.http, TLSPort: r.https})
	r.set("https://a.example/ok", 301)
	proven().check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
	if hello := <-hellos; hello.ServerName != "a.example" || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != "http/1.1" {
		t.Errorf("asked with SNI %q, ALPN %q", hello.ServerName, hello.SupportedProtos)
	}
	r.set("https://127.0.0.2/ok", 301)
	proven().check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
	if hello := <-hellos; hello.ServerName != "" {
		t.Errorf("SNI for an address: %q", hello.ServerName)
	}

	old := startRedirector(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	old.set("https://a.example/ok", 301)
	v = validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: old.http, TLSPort: old.https})
	refused(acme.TLS, "protocol version").check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
	v = validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: old.http, TLSPort: old.http})
	refused(acme.TLS, "did not speak TLS").check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
}

// TestHTTP01NoProxy: the environment's proxies have no say.
func TestHTTP01NoProxy(t *testing.T) {
	proxy := serveRaw(t, "127.0.0.2:0", func(net.Conn) { t.Error("the proxy was asked") })
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, fmt.Sprintf("http://127.0.0.2:%d", proxy))
	}
	port := serveHTTP(t, "127.0.0.2:0", right)
	v := validator(t, Config{HTTPPort: port})
	proven().check(t, v, attemptAt(acme.HTTP01, ipName(t, "127.0.0.2")))
}

// TestHTTP01Rebinding is SAFETY row 163: what was checked is what is dialed,
// though the name's second answer is another.
func TestHTTP01Rebinding(t *testing.T) {
	port := serveHTTP(t, "127.0.0.2:0", right)
	inner := serveRaw(t, fmt.Sprintf("127.0.0.9:%d", port), func(net.Conn) { t.Error("the inner host was connected to") })
	z := startZone(t)
	var n atomic.Int32
	z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool { return rebind(w, q, &n) })
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: inner, DeniedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}})
	a := attemptAt(acme.HTTP01, dnsName(t, "a.example"))
	proven().check(t, v, a)
	refused(acme.Connection, "denied network").check(t, v, a)
}

func TestAuthority(t *testing.T) {
	for _, row := range []struct {
		addr        string
		port, usual uint16
		want        string
	}{
		{"192.0.2.1", 80, 80, "192.0.2.1"},
		{"192.0.2.1", 5002, 80, "192.0.2.1:5002"},
		{"2001:db8::1", 80, 80, "[2001:db8::1]"},
		{"2001:db8::1", 5002, 80, "[2001:db8::1]:5002"},
	} {
		if got := authority(ipName(t, row.addr), row.port, row.usual); got != row.want {
			t.Errorf("got %s, want %s", got, row.want)
		}
	}
	v := validator(t, Config{})
	h := v.firstHop(attemptAt(acme.HTTP01, ipName(t, "2001:db8::1")))
	if h.String() != "http://[2001:db8::1]"+wellKnown {
		t.Errorf("got %s", h)
	}
	if u, err := url.Parse(h.String()); err != nil || u.Hostname() != "2001:db8::1" {
		t.Errorf("got %v, %v", u, err)
	}
}

// BenchmarkHTTP01 is one validation with both lookups, server and resolver in
// the same process.
func BenchmarkHTTP01(b *testing.B) {
	port := serveHTTP(b, "127.0.0.2:0", right)
	server := packets(b, func(reply func([]byte), q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Ns = append(m.Ns, soa("."))
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR("a.example. A 127.0.0.2")
			m.Answer = append(m.Answer, rr)
		}
		wire, _ := m.Pack()
		reply(wire)
	})
	v := validator(b, Config{Resolvers: []string{server}, HTTPPort: port})
	a := attemptAt(acme.HTTP01, dnsName(b, "a.example"))
	b.ReportAllocs()
	for b.Loop() {
		if _, p := v.Validate(b.Context(), a); p != nil {
			b.Fatal(p)
		}
	}
}
