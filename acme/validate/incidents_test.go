package validate

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/acme"
	"chancery/ca"
)

// Public incidents of other CAs whose defence is a validator's; docs/safety.md
// has them all.

// TestIncident_I03: TLS before 1.2 and a draft's OID were taken for RFC 8737.
func TestIncident_I03(t *testing.T) {
	oneBit := digestOf(testKeyAuth)
	oneBit[2] ^= 0x80
	config := func(c certificate, change func(*tls.Config)) *tls.Config {
		out := alpn(selfSigned(t, c))
		change(out)
		return out
	}
	as := func(change func(*certificate)) certificate {
		c := rightFor("a.example")
		change(&c)
		return c
	}
	same := func(*tls.Config) {}
	for name, row := range map[string]struct {
		config *tls.Config
		want   expect
	}{
		"right":             {config(rightFor("a.example"), same), proven()},
		"TLS 1.0":           {config(rightFor("a.example"), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS10 }), refused(acme.TLS, "protocol version")},
		"TLS 1.1":           {config(rightFor("a.example"), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }), refused(acme.TLS, "protocol version")},
		"the drafts' OID":   {config(as(func(c *certificate) { c.oid = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1} }), same), refused(acme.Unauthorized, "0 acmeIdentifier")},
		"not critical":      {config(as(func(c *certificate) { c.lax = true }), same), refused(acme.Unauthorized, "not critical")},
		"two names":         {config(rightFor("a.example", "b.example"), same), refused(acme.Unauthorized, "not exactly one entry")},
		"no ALPN":           {config(rightFor("a.example"), func(c *tls.Config) { c.NextProtos = nil }), refused(acme.Unauthorized, "ALPN")},
		"another ALPN":      {config(rightFor("a.example"), func(c *tls.Config) { c.NextProtos = []string{"acme-tls/2"} }), refused(acme.TLS, "no application protocol")},
		"a digest, one bit": {config(as(func(c *certificate) { c.digest = oneBit }), same), refused(acme.Unauthorized, "another key authorization")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, _ := serveTLS(t, "127.0.0.2:0", row.config)
			z := startZone(t, "a.example. A 127.0.0.2")
			v := validator(t, Config{Resolvers: []string{z.addr}, TLSPort: port, Timeout: 5 * time.Second})
			row.want.check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
		})
	}
}

// TestIncident_I04: tls-sni-01 proved what the tenants of a shared host could
// choose. There are three methods, and no packet is sent for any other.
func TestIncident_I04(t *testing.T) {
	served := slices.Sorted(maps.Keys(methods))
	if !slices.Equal(served, []acme.ChallengeType{acme.DNS01, acme.HTTP01, acme.TLSALPN01}) {
		t.Errorf("methods %q: a new one needs its row in docs/safety.md", served)
	}
	port := serveRaw(t, "127.0.0.2:0", func(net.Conn) { t.Error("connected") })
	z := startZone(t, "a.example. A 127.0.0.2")
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: port, TLSPort: port})
	for _, typ := range []acme.ChallengeType{"tls-sni-01", "tls-sni-02", "TLS-ALPN-01", "tls-alpn-01 ", "simpleHttp", "dvsni", ""} {
		refused(acme.Malformed, "is not served").check(t, v, attemptAt(typ, dnsName(t, "a.example")))
	}
	if asked := z.questions(); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
}

// TestIncident_I06: an error page that repeats the request was taken for the
// proof. Success is status 200 alone, and the request does not hold the answer.
func TestIncident_I06(t *testing.T) {
	var status atomic.Int64
	echo := atomic.Bool{}
	port := serveHTTP(t, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) {
		dump, err := httputil.DumpRequest(r, true)
		if err != nil || bytes.Contains(dump, []byte(testKeyAuth)) || bytes.Contains(dump, []byte(strings.TrimPrefix(testKeyAuth, testToken+"."))) {
			t.Errorf("the request holds the proof: %s, %v", dump, err)
		}
		w.WriteHeader(int(status.Load()))
		if echo.Load() {
			_, _ = fmt.Fprintf(w, "%s%s\n%s", r.Host, r.URL.Path, dump)
			return
		}
		_, _ = io.WriteString(w, testKeyAuth)
	})
	v := validator(t, Config{HTTPPort: port})
	a := attemptAt(acme.HTTP01, ipName(t, "127.0.0.2"))
	for _, s := range []int{200, 201, 202, 203, 205, 206, 300, 303, 304, 400, 401, 403, 404, 410, 418, 500, 502, 503} {
		status.Store(int64(s))
		echo.Store(false)
		if s == 200 {
			proven().check(t, v, a)
		} else if _, p := v.Validate(t.Context(), a); p == nil {
			t.Errorf("status %d with the right body is a proof", s)
		}
		echo.Store(true)
		if _, p := v.Validate(t.Context(), a); p == nil {
			t.Errorf("status %d with an echo of the request is a proof", s)
		}
	}
	for _, s := range []int{301, 302, 307, 308} { // with the right body, and without a Location
		status.Store(int64(s))
		echo.Store(false)
		refused(acme.Connection, "exactly one Location").check(t, v, a)
	}
}

// TestIncident_I07: a refactoring lost the underscore of the label. The label
// is golden, and asked for before each of many names.
func TestIncident_I07(t *testing.T) {
	if dnsLabel != "_acme-challenge." {
		t.Fatalf("the label is %q", dnsLabel)
	}
	var last atomic.Pointer[string]
	z := startZone(t)
	z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
		name := strings.ToLower(q.Question[0].Name)
		last.Store(&name)
		m := new(dns.Msg)
		m.SetReply(q)
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{txtDigest()}}}
		_ = w.WriteMsg(m)
		return true
	})
	v := validator(t, Config{Resolvers: []string{z.addr}, CAAIdentities: nil})
	random := mathrand.New(mathrand.NewPCG(7, 7))
	for range 500 {
		var name string
		for range 1 + random.IntN(5) {
			label := make([]byte, 1+random.IntN(30))
			for i := range label {
				label[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[random.IntN(36)]
			}
			name += string(label) + "."
		}
		name += "example"
		a := attemptAt(acme.DNS01, dnsName(t, name))
		a.Wildcard = random.IntN(2) == 0
		proven().check(t, v, a)
		if got := *last.Load(); got != "_acme-challenge."+name+"." {
			t.Fatalf("for %s, %s was asked", name, got)
		}
	}
}

// TestIncident_I24: StartEncrypt's clients chose the path of the proof. The
// path is fixed, and the token can't change it.
func TestIncident_I24(t *testing.T) {
	v := validator(t, Config{})
	for name, want := range map[string]string{
		"a.example":       "http://a.example/.well-known/acme-challenge/" + testToken,
		"xn--bcher-kva.x": "http://xn--bcher-kva.x/.well-known/acme-challenge/" + testToken,
	} {
		if got := v.firstHop(attemptAt(acme.HTTP01, dnsName(t, name))).String(); got != want {
			t.Errorf("the URL is %s, want %s", got, want)
		}
	}
	port := serveRaw(t, "127.0.0.2:0", func(net.Conn) { t.Error("connected") })
	v = validator(t, Config{HTTPPort: port})
	for _, token := range hostileTokens() {
		a := attemptAt(acme.HTTP01, ipName(t, "127.0.0.2"))
		a.Token, a.KeyAuthorization = token, token+".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
		refused(acme.ServerInternal, "").check(t, v, a)
	}
}

func hostileTokens() []string {
	pad := strings.Repeat("A", 40)
	return []string{
		"", "../../" + pad, pad + "/../../etc/passwd", pad + "?x=y", pad + "#", pad + "%2e%2e", pad + "\r\nX: y", pad + " ", pad + "\x00", pad + "é", pad + "\\",
		pad + ".", pad + "=", "AAAAAAAAAAAAAAAAAAAAA" /* 126 bits */, strings.Repeat("A", 129),
	}
}

// TestIncident_I32: a token that was a path left a client's webroot. What the
// validator looks for never holds anything but base64url.
func TestIncident_I32(t *testing.T) {
	if !isToken(testToken) {
		t.Fatal("an ordinary token is refused")
	}
	for _, token := range hostileTokens() {
		if isToken(token) {
			t.Errorf("%q is taken for a token", token)
		}
	}
	for c := range 256 {
		b := byte(c)
		word := '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z' || b == '-' || b == '_'
		if isToken(strings.Repeat("A", 22)+string([]byte{b})) != word {
			t.Errorf("octet %#x: taken is %t", b, !word)
		}
	}
}

// TestIncident_I67: names that resolve to inner addresses made validators
// connect there. Each special range that nothing with a certificate lives in,
// in each of its spellings, at the first connection and after a redirect.
func TestIncident_I67(t *testing.T) {
	never := []string{
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32", "100.100.100.200/32",
	}
	random := mathrand.New(mathrand.NewPCG(6, 7))
	open := &policy{}
	for _, s := range never {
		p := netip.MustParsePrefix(s)
		for range 500 {
			b := p.Addr().As4()
			for i := p.Bits(); i < 32; i++ {
				b[i/8] |= byte(random.IntN(2)) << (7 - i%8)
			}
			for _, addr := range spellings(b) {
				if _, err := open.permit(addr); err == nil {
					t.Fatalf("%s (%s) may be connected to", addr, netip.AddrFrom4(b))
				}
			}
		}
	}
	// RFC 6890's registries, as an operator who serves the public denies them.
	special := prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "::1/128", "100::/64", "2001:db8::/32", "fc00::/7")
	public := &policy{denied: unmapAll(special)}
	for _, p := range special {
		addrs := []netip.Addr{p.Addr().Next()}
		if p.Addr().Is4() {
			addrs = spellings(p.Addr().Next().As4())
		} else if p.IsSingleIP() {
			addrs[0] = p.Addr()
		}
		for _, addr := range addrs {
			if _, err := public.permit(addr); err == nil {
				t.Errorf("%s may be connected to", addr)
			}
		}
	}
	if _, err := open.permit(netip.MustParseAddr("2001:db8::1%eth0")); err == nil {
		t.Error("an address with a zone may be connected to")
	}
	afterRedirect(t)
}

// spellings of an IPv4 address: itself, mapped, and by each translator.
func spellings(b [4]byte) []netip.Addr {
	six := func(head ...byte) netip.Addr { return netip.AddrFrom16([16]byte(head)) }
	return []netip.Addr{
		netip.AddrFrom4(b),
		six(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]),
		six(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b[0], b[1], b[2], b[3]|2),
		six(0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, b[0], b[1], b[2], b[3]),
		six(0x20, 2, b[0], b[1], b[2], b[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
		six(0x20, 1, 0, 0, b[0], b[1], b[2], b[3], 0, 0, 0, 0, 0xf7, 0xf7, 0xf7, 0xf7),
	}
}

func afterRedirect(t *testing.T) {
	t.Helper()
	r := startRedirector(t, &tls.Config{MinVersion: tls.VersionTLS12})
	inner := serveRaw(t, fmt.Sprintf("127.0.0.9:%d", r.http), func(net.Conn) { t.Error("connected to the inner host") })
	z := startZone(t, "a.example. A 127.0.0.2", "inner.example. A 127.0.0.9", "mapped.example. AAAA ::ffff:127.0.0.9")
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: inner, DeniedNetworks: prefixes("127.0.0.9/32")})
	for _, where := range []string{"http://127.0.0.9/ok", "http://[::ffff:7f00:9]/ok", "http://inner.example/ok", "http://mapped.example/ok"} {
		r.set(where, http.StatusFound)
		refused(acme.Connection, "denied network").check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
	}
	for _, name := range []string{"inner.example", "mapped.example"} {
		refused(acme.Connection, "denied network").check(t, v, attemptAt(acme.HTTP01, dnsName(t, name)))
	}
}

// TestIncident_I75: certificates from outside made crypto/x509 panic, or work
// for seconds. Hostile ones, and a challenge's with every octet changed in
// turn, end in a verdict, soon and small.
func TestIncident_I75(t *testing.T) {
	id := dnsName(t, "a.example")
	want := sha256.Sum256([]byte(testKeyAuth))
	good := selfSigned(t, rightFor("a.example")).Certificate[0]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began, parsed := time.Now(), 0
	for i := range good {
		for _, b := range []byte{0, 0x7f, 0x80, 0xff, good[i] ^ 1} {
			der := bytes.Clone(good)
			der[i] = b
			c, err := x509.ParseCertificate(der)
			if err != nil {
				continue
			}
			parsed++
			if err := checkCertificate(c, id, want); err == nil && !bytes.Equal(der, good) {
				t.Fatalf("octet %d changed to %#x, and it is still the proof", i, b)
			}
		}
	}
	for _, der := range hostileCertificates(t) {
		if c, err := x509.ParseCertificate(der); err == nil && checkCertificate(c, id, want) == nil {
			t.Error("a hostile certificate is the proof")
		}
	}
	runtime.ReadMemStats(&after)
	if parsed < 100 {
		t.Fatalf("only %d could be parsed", parsed)
	}
	if took, used := time.Since(began), after.TotalAlloc-before.TotalAlloc; took > 10*time.Second || used > 1<<30 {
		t.Errorf("it took %s and %d octets", took, used)
	}
}

func hostileCertificates(t *testing.T) [][]byte {
	t.Helper()
	key := newKey(t, elliptic.P256())
	make1 := func(change func(*x509.Certificate)) []byte {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
		change(c)
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	deep := []byte{5, 0}
	for range 2000 { // GeneralNames nested, and no name in them
		deep = append([]byte{0x30, 0x82, byte(len(deep) >> 8), byte(len(deep))}, deep...)
	}
	return [][]byte{
		make1(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: oidAltName, Value: deep}} }),
		make1(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: oidAltName, Value: nil}} }),
		make1(func(c *x509.Certificate) {
			c.Policies = nil
			c.PermittedDNSDomains = slices.Repeat([]string{strings.Repeat("a.", 100) + "example"}, 50)
			c.IsCA, c.BasicConstraintsValid = true, true
		}),
		make1(func(c *x509.Certificate) {
			c.Subject.CommonName = strings.Repeat("\xf0\x9f\x92\xa9", 5000)
			c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 8000)
		}),
	}
}

// TestIncident_I76: peers kept crypto/tls busy with huge keys and chains, put
// line ends into logs by ALPN, and stalled it after the handshake.
func TestIncident_I76(t *testing.T) {
	good := selfSigned(t, rightFor("a.example"))
	chain := good
	for range 99 {
		chain.Certificate = append(chain.Certificate[:len(chain.Certificate):len(chain.Certificate)], good.Certificate[0])
	}
	lines := alpn(good)
	lines.NextProtos = []string{"acme-tls/1\nlevel=ERROR msg=forged"}
	for name, row := range map[string]struct {
		config *tls.Config
		want   expect
	}{
		"RSA of 16,384 bits": {alpn(hugeRSA(t)), refused(acme.TLS, "larger than 8192 bits")},
		"100 certificates":   {alpn(chain), refused(acme.Unauthorized, "100 certificates")},
		"ALPN with lines":    {lines, refused(acme.TLS, "no application protocol")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, _ := serveTLS(t, "127.0.0.2:0", row.config)
			z := startZone(t, "a.example. A 127.0.0.2")
			v := validator(t, Config{Resolvers: []string{z.addr}, TLSPort: port, Timeout: 5 * time.Second})
			began := time.Now()
			row.want.check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	// What a server sends after the handshake is not waited for, nor read.
	var written atomic.Int64
	port := serveRaw(t, "127.0.0.2:0", func(c net.Conn) {
		s := tls.Server(c, alpn(good))
		for s.Handshake() == nil {
			n, err := s.Write(make([]byte, 1<<14))
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	})
	v := validator(t, Config{Resolvers: []string{startZone(t, "a.example. A 127.0.0.2").addr}, TLSPort: port, Timeout: 5 * time.Second})
	began := time.Now()
	proven().check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the flood after the handshake held it for %s", took)
	}
}

// TestIncident_I28: the host of a dead WHOIS service was taken over, and with
// it the e-mail address that proved a domain. There is no such method, and
// nothing that could send mail, or ask a WHOIS server, is linked.
func TestIncident_I28(t *testing.T) {
	for typ, m := range methods {
		if strings.Contains(string(typ), "mail") || strings.Contains(string(typ), "whois") || m.prove == nil {
			t.Errorf("method %s", typ)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "chancery/cmd/chancery").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if p := strings.TrimSpace(line); p == "net/smtp" || strings.Contains(p, "whois") || strings.Contains(p, "smtp") || strings.Contains(p, "gomail") {
			t.Errorf("%s is linked", p)
		}
	}
	digest := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	v := validator(t, Config{})
	for _, typ := range []acme.ChallengeType{"email-reply-00", "email-01", "whois-01"} {
		refused(acme.Malformed, "not served").check(t, v, acme.Attempt{Type: typ, Identifier: dnsName(t, "a.example"), Token: testToken, KeyAuthorization: testToken + "." + digest})
	}
}

// TestIncident_I48: who held some certificate was taken for somebody else: by
// its name, or as if the leaf on file were a CA. Between a CA and its remote
// perspectives the key itself is compared, at each connection.
func TestIncident_I48(t *testing.T) {
	w := newWorld(t)
	asked := says(nil)
	good := w.remote("r1", asked)
	w.vote(good).want(t, "the pinned key", ca.OutcomePass, "")
	pinned, err := x509.ParseCertificate(w.ca.certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t, elliptic.P256())
	twin := *pinned // all of it but the key
	twin.PublicKey = nil
	issue := func(template, parent *x509.Certificate, signer any) tls.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der, w.ca.certificate.Certificate[0]}, PrivateKey: key}
	}
	addr := serveTLSHandler(t, identity(t), []Pin{w.ca.Pin}, NewPerspective(asked, w.setting(), nil))
	before := asked.calls.Load()
	for name, cert := range map[string]tls.Certificate{
		"the same name, serial and dates": issue(&twin, &twin, key),
		"issued by the pinned leaf":       issue(&x509.Certificate{SerialNumber: big.NewInt(7), Subject: pinned.Subject}, pinned, w.ca.certificate.PrivateKey),
	} {
		config := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 5 * time.Second}
		r, err := client.Post("https://"+addr+PerspectivePath, "application/json", strings.NewReader("{}"))
		if err == nil {
			r.Body.Close()
			t.Errorf("%s: answered %s", name, r.Status)
		}
	}
	if asked.calls.Load() != before {
		t.Error("a name was looked at for a stranger")
	}
}
