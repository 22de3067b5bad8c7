package validate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// certificate says what the challenge certificate of a test holds.
type certificate struct {
	names  []string
	san    []byte // raw value, instead of names
	digest []byte // raw value of acmeIdentifier; nil: none
	oid    asn1.ObjectIdentifier
	lax    bool // acmeIdentifier not critical
	twice  bool // acmeIdentifier two times
	key    crypto.Signer
	issuer *x509.Certificate
	signer crypto.Signer
	more   []pkix.Extension
}

func digestOf(keyAuth string) []byte {
	sum := sha256.Sum256([]byte(keyAuth))
	return append([]byte{4, 32}, sum[:]...)
}

// rightFor is the certificate that RFC 8737 wants for these dns names.
func rightFor(names ...string) certificate {
	return certificate{names: names, digest: digestOf(testKeyAuth)}
}

func newKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func selfSigned(t testing.TB, c certificate) tls.Certificate {
	t.Helper()
	if c.key == nil {
		c.key = newKey(t, elliptic.P256())
	}
	if c.oid == nil {
		c.oid = oidACMEIdentifier
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "challenge"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0), // expired: of no meaning
		ExtraExtensions: c.more,
	}
	for _, name := range c.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if c.san != nil {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidAltName, Value: c.san})
	}
	for range map[bool]int{false: 1, true: 2}[c.twice] {
		if c.digest != nil {
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: c.oid, Critical: !c.lax, Value: c.digest})
		}
	}
	issuer, signer := template, c.key
	if c.issuer != nil {
		issuer = c.issuer
	}
	if c.signer != nil {
		signer = c.signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, c.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.key}
}

// serveTLS does handshakes only; it returns the port and a function that gives
// the last ClientHello.
func serveTLS(t testing.TB, addr string, config *tls.Config) (int, func() tls.ClientHelloInfo) {
	t.Helper()
	var mu sync.Mutex
	var last tls.ClientHelloInfo
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		last = *h
		return nil, nil
	}
	port := serveRaw(t, addr, func(c net.Conn) {
		s := tls.Server(c, config)
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
	})
	return port, func() tls.ClientHelloInfo { mu.Lock(); defer mu.Unlock(); return last }
}

func alpn(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: certs, NextProtos: []string{alpnProtocol}, MinVersion: tls.VersionTLS10}
}

func TestTLSALPN01(t *testing.T) {
	port, hello := serveTLS(t, "127.0.0.2:0", alpn(selfSigned(t, rightFor("a.example"))))
	z := startZone(t, "a.example. A 127.0.0.2", "b.example. CNAME a.example.")
	v := validator(t, Config{Resolvers: []string{z.addr}, TLSPort: port})
	evidence := proven().check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
	h := hello()
	if h.ServerName != "a.example" || len(h.SupportedProtos) != 1 || h.SupportedProtos[0] != "acme-tls/1" || h.SupportedVersions[len(h.SupportedVersions)-1] != tls.VersionTLS12 {
		t.Errorf("asked with SNI %q, ALPN %q, versions %x", h.ServerName, h.SupportedProtos, h.SupportedVersions)
	}
	if want := fmt.Sprintf("tls | acme-tls/1 a.example (SNI a.example) | 127.0.0.2:%d | TLS 1.3, challenge certificate as wanted", port); !strings.Contains(steps(evidence), want) {
		t.Errorf("evidence lacks %q:\n%s", want, steps(evidence))
	}
	refused(acme.Unauthorized, "sent a certificate for \"a.example\" (want dns:b.example)").check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "b.example")))
}

// TestTLSALPN01Addresses is SAFETY row 201: the SNI for an address is its name
// in the reverse zone (RFC 8738 section 6).
func TestTLSALPN01Addresses(t *testing.T) {
	for addr, sni := range map[string]string{
		"127.0.0.2": "2.0.0.127.in-addr.arpa",
		"::1":       "1." + strings.Repeat("0.", 31) + "ip6.arpa",
	} {
		port, hello := serveTLS(t, net.JoinHostPort(addr, "0"), alpn(selfSigned(t, rightFor(addr))))
		v := validator(t, Config{TLSPort: port})
		proven().check(t, v, attemptAt(acme.TLSALPN01, ipName(t, addr)))
		if got := hello().ServerName; got != sni {
			t.Errorf("%s: SNI %q, want %q", addr, got, sni)
		}
		port, _ = serveTLS(t, net.JoinHostPort(addr, "0"), alpn(selfSigned(t, rightFor(sni))))
		v = validator(t, Config{TLSPort: port})
		refused(acme.Unauthorized, "sent a certificate for").check(t, v, attemptAt(acme.TLSALPN01, ipName(t, addr)))
	}
}

// TestTLSALPN01Certificates is SAFETY rows 197 to 199.
func TestTLSALPN01Certificates(t *testing.T) {
	other := newKey(t, elliptic.P256())
	ca1 := &x509.Certificate{Subject: pkix.Name{CommonName: "some CA"}, SerialNumber: big.NewInt(2)}
	sameName := &x509.Certificate{Subject: pkix.Name{CommonName: "challenge"}, SerialNumber: big.NewInt(2)}
	general := func(tag byte, value string) []byte { return append([]byte{0x80 | tag, byte(len(value))}, value...) }
	san := func(entries ...[]byte) []byte {
		all := bytes.Join(entries, nil)
		return append([]byte{0x30, byte(len(all))}, all...)
	}
	right := digestOf(testKeyAuth)
	with := func(change func(*certificate)) certificate {
		c := rightFor("a.example")
		change(&c)
		return c
	}
	no := func(says string) expect { return refused(acme.Unauthorized, says) }
	oneEntry := "not exactly one entry"
	otherName := []byte{0xa0, 8, 6, 2, 0x2a, 3, 0xa0, 2, 5, 0}
	for name, row := range map[string]struct {
		cert certificate
		want expect
	}{
		"right":                 {rightFor("a.example"), proven()},
		"other case":            {rightFor("A.Example"), proven()},
		"P-384":                 {with(func(c *certificate) { c.key = newKey(t, elliptic.P384()) }), proven()},
		"P-521":                 {with(func(c *certificate) { c.key = newKey(t, elliptic.P521()) }), proven()},
		"two names":             {rightFor("a.example", "b.example"), no(oneEntry)},
		"same name twice":       {rightFor("a.example", "a.example"), no(oneEntry)},
		"other name":            {rightFor("b.example"), no("for \"b.example\"")},
		"name below":            {rightFor("x.a.example"), no("want dns:a.example")},
		"wildcard":              {rightFor("*.example"), no("want dns:a.example")},
		"extra address":         {rightFor("a.example", "127.0.0.2"), no(oneEntry)},
		"address only":          {rightFor("127.0.0.2"), no("want dns:a.example")},
		"CN only":               {with(func(c *certificate) { c.names = nil }), no("0 subjectAltName")},
		"extra otherName":       {with(func(c *certificate) { c.names, c.san = nil, san(general(2, "a.example"), otherName) }), no(oneEntry)},
		"otherName first":       {with(func(c *certificate) { c.names, c.san = nil, san(otherName, general(2, "a.example")) }), no(oneEntry)},
		"otherName only":        {with(func(c *certificate) { c.names, c.san = nil, san(otherName) }), no("want dns:a.example")},
		"name as URI":           {with(func(c *certificate) { c.names, c.san = nil, san(general(6, "a.example")) }), no("want dns:a.example")},
		"name as mail":          {with(func(c *certificate) { c.names, c.san = nil, san(general(1, "a.example")) }), no("want dns:a.example")},
		"name, NUL":             {with(func(c *certificate) { c.names, c.san = nil, san(general(2, "a.example\x00")) }), no("want dns:a.example")},
		"name, final dot":       {with(func(c *certificate) { c.names, c.san = nil, san(general(2, "a.example.")) }), no("a.example.")},
		"no acmeIdentifier":     {with(func(c *certificate) { c.digest = nil }), no("0 acmeIdentifier extensions")},
		"not critical":          {with(func(c *certificate) { c.lax = true }), no("not critical")},
		"twice":                 {with(func(c *certificate) { c.twice = true }), no("duplicate extension")},
		"old OID":               {with(func(c *certificate) { c.oid = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1} }), no("0 acmeIdentifier extensions")},
		"31 bytes":              {with(func(c *certificate) { c.digest = append([]byte{4, 31}, right[2:33]...) }), no("no OCTET STRING of 32 bytes")},
		"33 bytes":              {with(func(c *certificate) { c.digest = append([]byte{4, 33}, append(right[2:34:34], 0)...) }), no("no OCTET STRING of 32 bytes")},
		"bytes behind":          {with(func(c *certificate) { c.digest = append(digestOf(testKeyAuth), 5, 0) }), no("no OCTET STRING of 32 bytes")},
		"raw digest":            {with(func(c *certificate) { c.digest = right[2:] }), no("no OCTET STRING of 32 bytes")},
		"bit string":            {with(func(c *certificate) { c.digest = append([]byte{3}, right[1:]...) }), no("no OCTET STRING of 32 bytes")},
		"long-form length":      {with(func(c *certificate) { c.digest = append([]byte{4, 0x81}, right[1:]...) }), no("no OCTET STRING of 32 bytes")},
		"other key":             {with(func(c *certificate) { c.digest = digestOf(testToken + ".other") }), no("another key authorization")},
		"one bit":               {with(func(c *certificate) { d := digestOf(testKeyAuth); d[33] ^= 1; c.digest = d }), no("another key authorization")},
		"by a CA":               {with(func(c *certificate) { c.issuer, c.signer = ca1, other }), no("not self-signed")},
		"by another key":        {with(func(c *certificate) { c.issuer, c.signer = sameName, other }), no("not self-signed")},
		"own key, other issuer": {with(func(c *certificate) { c.key = other; c.issuer, c.signer = ca1, other }), no("not self-signed")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, _ := serveTLS(t, "127.0.0.2:0", alpn(selfSigned(t, row.cert)))
			z := startZone(t, "a.example. A 127.0.0.2")
			v := validator(t, Config{Resolvers: []string{z.addr}, TLSPort: port, Timeout: 5 * time.Second})
			row.want.check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
		})
	}
}

// TestSANIsASCII: strings.EqualFold alone would take the Kelvin sign for a k.
func TestSANIsASCII(t *testing.T) {
	value := "\u212a.example"
	san := append([]byte{0x30, byte(len(value) + 2), 0x82, byte(len(value))}, value...)
	c := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidAltName, Value: san}}}
	if err := checkAltName(c, dnsName(t, "k.example")); err == nil {
		t.Error("taken")
	}
}

// TestTLSALPN01Handshakes is SAFETY rows 195, 196 and 200.
func TestTLSALPN01Handshakes(t *testing.T) {
	good := selfSigned(t, rightFor("a.example"))
	chain := good
	chain.Certificate = append(chain.Certificate[:1:1], selfSigned(t, rightFor("a.example")).Certificate...)
	hundred := good
	for range 99 {
		hundred.Certificate = append(hundred.Certificate[:len(hundred.Certificate):len(hundred.Certificate)], good.Certificate[0])
	}
	var names []string
	for i := range 10_000 {
		names = append(names, fmt.Sprintf("name%d.example", i))
	}
	tlsConfig := func(change func(*tls.Config)) *tls.Config {
		c := alpn(good)
		change(c)
		return c
	}
	for name, row := range map[string]struct {
		config *tls.Config
		want   expect
	}{
		"TLS 1.2":            {tlsConfig(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), proven()},
		"several ALPN":       {tlsConfig(func(c *tls.Config) { c.NextProtos = []string{"h2", alpnProtocol, "http/1.1"} }), proven()},
		"client certificate": {tlsConfig(func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }), proven()},
		"TLS 1.1":            {tlsConfig(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }), refused(acme.TLS, "protocol version")},
		"TLS 1.0":            {tlsConfig(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS10 }), refused(acme.TLS, "protocol version")},
		"no ALPN":            {tlsConfig(func(c *tls.Config) { c.NextProtos = nil }), refused(acme.Unauthorized, "did not choose the ALPN protocol")},
		"h2 only":            {tlsConfig(func(c *tls.Config) { c.NextProtos = []string{"h2"} }), refused(acme.TLS, "TLS alert \"no application protocol\"")},
		"acme-tls/1 newline": {tlsConfig(func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1\n"} }), refused(acme.TLS, "no application protocol")},
		"chain of 2":         {alpn(chain), refused(acme.Unauthorized, "sent 2 certificates")},
		"chain of 100":       {alpn(hundred), refused(acme.Unauthorized, "sent 100 certificates")},
		"RSA of 16,384 bits": {alpn(hugeRSA(t)), refused(acme.TLS, "larger than 8192 bits")},
		"10,000 names":       {alpn(selfSigned(t, rightFor(names...))), refused(acme.TLS, "")},
		"1 MiB certificate": {alpn(selfSigned(t, certificate{
			names: []string{"a.example"}, digest: digestOf(testKeyAuth),
			more: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 1<<20)}},
		})), refused(acme.TLS, "")},
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

// hugeRSA is a certificate with an RSA key of 16,384 bits. Nobody has the key:
// it must be refused before a signature by it would be verified.
func hugeRSA(t *testing.T) tls.Certificate {
	t.Helper()
	modulus := new(big.Int).Lsh(big.NewInt(1), 16383)
	pub := &rsa.PublicKey{N: modulus.Add(modulus, big.NewInt(1)), E: 65537}
	key := newKey(t, elliptic.P256())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: fakeSigner{pub}}
}

type fakeSigner struct{ pub *rsa.PublicKey }

func (f fakeSigner) Public() crypto.PublicKey { return f.pub }

func (f fakeSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, f.pub.Size()), nil
}

// TestTLSALPN01NoResumption: a second handshake with the same server is a full
// one, whatever tickets it gave (SAFETY row 196).
func TestTLSALPN01NoResumption(t *testing.T) {
	var resumed atomic.Bool
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := alpn(selfSigned(t, rightFor("a.example")))
		config.MaxVersion = version
		config.VerifyConnection = func(s tls.ConnectionState) error { resumed.CompareAndSwap(false, s.DidResume); return nil }
		port, _ := serveTLS(t, "127.0.0.2:0", config)
		z := startZone(t, "a.example. A 127.0.0.2")
		v := validator(t, Config{Resolvers: []string{z.addr}, TLSPort: port})
		for range 3 {
			proven().check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
		}
	}
	if resumed.Load() {
		t.Error("a session was resumed")
	}
	if err := checkChallenge(tls.ConnectionState{NegotiatedProtocol: alpnProtocol, Version: tls.VersionTLS13, DidResume: true}, dnsName(t, "a.example"), [32]byte{}); err == nil {
		t.Error("a resumed session was taken")
	}
}

// TestTLSALPN01Peers: peers that speak something else, or nothing.
func TestTLSALPN01Peers(t *testing.T) {
	for name, row := range map[string]struct {
		serve func(net.Conn)
		want  expect
	}{
		"plain HTTP": {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, refused(acme.TLS, "did not speak TLS")},
		"closes":     {func(net.Conn) {}, refused(acme.Connection, "connection")},
		"silent":     {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, refused(acme.Connection, "did not answer in time")},
		"alert":      {func(c net.Conn) { _, _ = io.WriteString(c, "\x15\x03\x03\x00\x02\x02\x70") }, refused(acme.TLS, "unrecognized name")},
		"flood of warnings": {func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("\x15\x03\x03\x00\x02\x01\x5a", 1000)); err != nil {
					return
				}
			}
		}, refused(acme.TLS, "")},
		"flood of empty records": {func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("\x16\x03\x03\x00\x00", 1000)); err != nil {
					return
				}
			}
		}, refused(acme.TLS, "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := serveRaw(t, "127.0.0.2:0", row.serve)
			z := startZone(t, "a.example. A 127.0.0.2")
			v := validator(t, Config{Resolvers: []string{z.addr}, TLSPort: port, Timeout: 500 * time.Millisecond})
			row.want.check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
		})
	}
}

// TestMetered: a connection gives exactly what it may and no more.
func TestMetered(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		_, _ = server.Write(make([]byte, 2*maxWire))
	}()
	defer client.Close()
	n, err := io.Copy(io.Discard, &metered{Conn: client, left: 1000})
	if n != 1000 || !errors.Is(err, errFlood) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if got := explain(err); got != "sent more than 65536 bytes" {
		t.Error(got)
	}
}

func TestReverseName(t *testing.T) {
	if got := reverseName(ipName(t, "2001:db8::1").Addr()); got != "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa" {
		t.Error(got)
	}
	if got := reverseName(ca.Identifier{}.Addr()); got != "" {
		t.Error(got)
	}
}
