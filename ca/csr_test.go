package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// rawCSR is a request that crypto/x509 would not make.
type rawCSR struct {
	version    int64
	subject    []byte
	spki       []byte // nil: the key's
	attributes []byte // the whole [0], nil: empty
}

func (r rawCSR) sign(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	if r.subject == nil {
		r.subject = emptyName
	}
	if r.spki == nil {
		spki, err := x509.MarshalPKIXPublicKey(key.Public())
		check(t, err)
		r.spki = spki
	}
	if r.attributes == nil {
		r.attributes = []byte{0xa0, 0x00}
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(r.version)
		b.AddBytes(r.subject)
		b.AddBytes(r.spki)
		b.AddBytes(r.attributes)
	})
	tbs := b.BytesOrPanic()
	sum := sha256.Sum256(tbs)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	check(t, err)
	der, err := wrapSigned(tbs, algorithms["ec256"].id, signature)
	check(t, err)
	return der
}

// attribute is an attribute with one value.
func attribute(id asn1.ObjectIdentifier, value []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(id)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(value) })
	})
	return b.BytesOrPanic()
}

func attributes(all ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(all, nil)) })
	return b.BytesOrPanic()
}

type ext struct {
	id    asn1.ObjectIdentifier
	value []byte
}

func extensions(all ...ext) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range all {
			addExtension(b, e.id, false, func(b *cryptobyte.Builder) { b.AddBytes(e.value) })
		}
	})
	return b.BytesOrPanic()
}

// san is a subjectAltName of general names, tag and content each.
func san(names ...any) ext {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for i := 0; i < len(names); i += 2 {
			b.AddASN1(cbasn1.Tag(names[i].(int)), func(b *cryptobyte.Builder) { b.AddBytes([]byte(names[i+1].(string))) })
		}
	})
	return ext{oidSubjectAltName, b.BytesOrPanic()}
}

func asking(all ...ext) rawCSR {
	return rawCSR{attributes: attributes(attribute(oidExtensionRequest, extensions(all...)))}
}

func withSubject(t *testing.T, names ...string) []byte {
	t.Helper()
	var rdns pkix.RDNSequence
	for _, name := range names {
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: oidCommonName, Value: name}})
	}
	der, err := asn1.Marshal(rdns)
	check(t, err)
	return der
}

func TestParseCSR(t *testing.T) {
	key := newTestKey(t, "ec256").(*ecdsa.PrivateKey)
	a := san(0x82, "a.example")
	withCN := func(csr rawCSR, names ...string) rawCSR {
		csr.subject = withSubject(t, names...)
		return csr
	}
	for _, c := range []struct {
		what string
		csr  rawCSR
		want string
	}{
		{"one name", asking(a), "[dns:a.example]"},
		{"names in another case, twice", asking(san(0x82, "B.example", 0x82, "a.example", 0x82, "b.example")), "[dns:a.example dns:b.example]"},
		{"addresses", asking(san(0x87, "\xc0\x00\x02\x01", 0x82, "a.example", 0x87, string(net.ParseIP("2001:db8::1")))), "[dns:a.example ip:192.0.2.1 ip:2001:db8::1]"},
		{"common name only", withCN(rawCSR{}, "A.example"), "[dns:a.example]"},
		{"address as common name", withCN(rawCSR{}, "192.0.2.1"), "[ip:192.0.2.1]"},
		{"common name among the names", withCN(asking(san(0x82, "b.example", 0x82, "a.example")), "a.example"), "[dns:a.example dns:b.example]"},
		{"empty common name", withCN(asking(a), ""), "[dns:a.example]"},
		{"attribute of another kind", rawCSR{attributes: attributes(
			attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}, []byte{0x0c, 1, 'x'}),
			attribute(oidExtensionRequest, extensions(a)))}, "[dns:a.example]"},
		{"not a CA", asking(a, ext{oidBasicConstraints, []byte{0x30, 0}}), "[dns:a.example]"},
		{"key usage of a server", asking(a, ext{oidKeyUsage, []byte{3, 2, 5, 0xa0}}), "[dns:a.example]"},
		{"must-staple", asking(a, ext{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, []byte{0x30, 3, 2, 1, 5}}), "[dns:a.example]"},
		{"unknown extension", asking(a, ext{asn1.ObjectIdentifier{1, 2, 3, 4}, []byte{5, 0}}), "[dns:a.example]"},
	} {
		der := c.csr.sign(t, key)
		csr, err := ParseCSR(der)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if got := fmt.Sprint(csr.Names()); got != c.want {
			t.Errorf("%s: names %s, want %s", c.what, got, c.want)
		}
		if !bytes.Equal(csr.Raw(), der) || csr.SPKIHash() != sha256.Sum256(csr.SPKI()) || !key.PublicKey.Equal(csr.PublicKey()) {
			t.Errorf("%s: octets or key are not those of the request", c.what)
		}
	}
}

func TestCSRNamesRefused(t *testing.T) {
	key := newTestKey(t, "ec256").(*ecdsa.PrivateKey)
	a := san(0x82, "a.example")
	withCN := func(csr rawCSR, names ...string) rawCSR {
		csr.subject = withSubject(t, names...)
		return csr
	}
	var many []any
	for n := range 101 {
		many = append(many, 0x82, fmt.Sprintf("n%d.example", n))
	}
	for what, csr := range map[string]rawCSR{
		"no name":                    {},
		"empty list of names":        asking(ext{oidSubjectAltName, []byte{0x30, 0}}),
		"101 names":                  asking(san(many...)),
		"otherName":                  asking(san(0x82, "a.example", 0xa0, "\x06\x03\x2a\x03\x04\xa0\x03\x0c\x01x")),
		"rfc822Name":                 asking(san(0x82, "a.example", 0x81, "a@a.example")),
		"URI":                        asking(san(0x82, "a.example", 0x86, "https://a.example/")),
		"directoryName":              asking(san(0x82, "a.example", 0xa4, "\x30\x00")),
		"registeredID":               asking(san(0x82, "a.example", 0x88, "\x2a\x03")),
		"unknown general name":       asking(san(0x82, "a.example", 0x89, "x")),
		"empty dNSName":              asking(san(0x82, "")),
		"NUL in a dNSName":           asking(san(0x82, "a.example\x00.b.example")),
		"underscore":                 asking(san(0x82, "a_b.example")),
		"trailing dot":               asking(san(0x82, "a.example.")),
		"U-label":                    asking(san(0x82, "münchen.example")),
		"leading dot":                asking(san(0x82, ".example")),
		"address as dNSName":         asking(san(0x82, "192.0.2.1")),
		"iPAddress of 5 octets":      asking(san(0x87, "12345")),
		"iPAddress with mask":        asking(san(0x87, "\xc0\x00\x02\x01\xff\xff\xff\x00")),
		"mapped IPv4":                asking(san(0x87, string(net.ParseIP("192.0.2.1").To16()))),
		"octets behind the names":    asking(ext{oidSubjectAltName, append(slices.Clone(a.value), 5, 0)}),
		"names that are no sequence": asking(ext{oidSubjectAltName, []byte{4, 0}}),
		"common name elsewhere":      withCN(asking(a), "b.example"),
		"two common names":           withCN(asking(a), "a.example", "a.example"),
		"common name with blanks":    withCN(rawCSR{}, "My Server"),
		"common name too long":       withCN(rawCSR{}, strings.Repeat("a", 300)),
		"common name with NUL":       withCN(rawCSR{}, "a.example\x00"),
	} {
		refused(t, what, csr.sign(t, key))
	}
}

func TestCSRShapeRefused(t *testing.T) {
	key := newTestKey(t, "ec256").(*ecdsa.PrivateKey)
	a := san(0x82, "a.example")
	request := attribute(oidExtensionRequest, extensions(a))
	var many [][]byte
	for range maxCSRAttributes + 1 {
		many = append(many, attribute(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0}))
	}
	for what, csr := range map[string]rawCSR{
		"version 1":                     {version: 1, attributes: attributes(request)},
		"two extensionRequests":         {attributes: attributes(request, request)},
		"two lists in one request":      {attributes: attributes(attribute(oidExtensionRequest, append(extensions(a), extensions(a)...)))},
		"the same extension twice":      asking(a, a),
		"too many attributes":           {attributes: attributes(append(many, request)...)},
		"CA":                            asking(a, ext{oidBasicConstraints, []byte{0x30, 3, 1, 1, 0xff}}),
		"broken basicConstraints":       asking(a, ext{oidBasicConstraints, []byte{0x30, 3, 1, 1, 1}}),
		"keyCertSign":                   asking(a, ext{oidKeyUsage, []byte{3, 2, 2, 4}}),
		"cRLSign":                       asking(a, ext{oidKeyUsage, []byte{3, 2, 1, 2}}),
		"broken keyUsage":               asking(a, ext{oidKeyUsage, []byte{3, 0}}),
		"extKeyUsage any":               asking(a, ext{oidExtKeyUsage, []byte{0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0}}),
		"extKeyUsage OCSPSigning":       asking(a, ext{oidExtKeyUsage, []byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 9}}),
		"nameConstraints":               asking(a, ext{oidNameConstraints, []byte{0x30, 0}}),
		"attribute that is no sequence": {attributes: attributes([]byte{4, 0})},
		"no attributes but octets":      {attributes: []byte{0xa1, 0}},
		"subject that is no sequence":   {subject: []byte{4, 0}, attributes: attributes(request)},
	} {
		refused(t, what, csr.sign(t, key))
	}
	good := asking(a).sign(t, key)
	if _, err := ParseCSR(good); err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	indefinite := append([]byte{0x30, 0x80}, good[3:]...)
	for what, der := range map[string][]byte{
		"nothing":           {},
		"PEM":               []byte("-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"),
		"octets behind":     append(slices.Clone(good), 0),
		"cut off":           good[:len(good)-1],
		"indefinite length": append(indefinite, 0, 0),
		"broken signature":  flipped,
		"too long":          append(slices.Clone(good), make([]byte, maxCSR)...),
		"deep nesting":      bytes.Repeat([]byte{0x30, 0x80}, 30_000),
	} {
		refused(t, what, der)
	}
}

func refused(t *testing.T, what string, der []byte) {
	t.Helper()
	csr, err := ParseCSR(der)
	if err == nil {
		t.Errorf("%s: accepted with names %v", what, csr.Names())
		return
	}
	if r := wantRefusal(t, err, BadCSR); len(r.Detail) > 500 || !isASCII(r.Detail) {
		t.Errorf("%s: the detail %q is not bounded ASCII", what, r.Detail)
	}
}

func TestCSRKeysRefused(t *testing.T) {
	signWith := func(key crypto.Signer, alg x509.SignatureAlgorithm) []byte {
		return signCSR(t, key, &x509.CertificateRequest{DNSNames: []string{"a.example"}, SignatureAlgorithm: alg})
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	check(t, err)
	key := newTestKey(t, "ec256").(*ecdsa.PrivateKey)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	refused(t, "P-224", signWith(p224, 0))
	refused(t, "RSA-1024", signWith(small, x509.SHA256WithRSA))
	refused(t, "compressed point", rawCSR{spki: compressed(t, key)}.sign(t, key))
	refused(t, "trailing octets in the key", rawCSR{spki: append(slices.Clone(spki), 0)}.sign(t, key))
	refused(t, "another key's signature", rawCSR{spki: spki}.sign(t, newTestKey(t, "ec256").(*ecdsa.PrivateKey)))
	refused(t, "explicit parameters", rawCSR{spki: explicitCurve(key)}.sign(t, key))
	for _, kind := range kinds {
		if _, err := ParseCSR(newCSR(t, newTestKey(t, kind), "a.example")); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := ParseCSR(signWith(rsaKey(), x509.SHA384WithRSAPSS)); err != nil {
		t.Errorf("PSS signature: %v", err)
	}
	refused(t, "SHA-1", sha1CSR(t))
}

func compressed(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	point, err := key.PublicKey.Bytes()
	check(t, err)
	short := append([]byte{2 | point[64]&1}, point[1:33]...)
	return ecSPKI([]byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, short)
}

func explicitCurve(key *ecdsa.PrivateKey) []byte {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil
	}
	return ecSPKI([]byte{0x30, 0x03, 0x02, 0x01, 0x01}, point) // SpecifiedECDomain begins with a version
}

func ecSPKI(parameters, point []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1})
			b.AddBytes(parameters)
		})
		b.AddASN1BitString(point)
	})
	return b.BytesOrPanic()
}

// sha1CSR is signed with ECDSA on SHA-1, which crypto/x509 no longer makes.
func sha1CSR(t *testing.T) []byte {
	t.Helper()
	good := newCSR(t, newTestKey(t, "ec256"), "a.example")
	tbs, signature, ok := unwrapSigned(good)
	if !ok {
		t.Fatal("not a signed object")
	}
	der, err := wrapSigned(tbs, []byte{0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01}, signature)
	check(t, err)
	return der
}

func TestCSRIsCopied(t *testing.T) {
	der := newCSR(t, newTestKey(t, "ec256"), "a.example")
	csr, err := ParseCSR(der)
	check(t, err)
	clear(der)
	if _, err := ParseCSR(csr.Raw()); err != nil {
		t.Errorf("the request changed with its caller's octets: %v", err)
	}
}

func FuzzParseCSR(f *testing.F) {
	key := newTestKey(f, "ec256").(*ecdsa.PrivateKey)
	f.Add(newCSR(f, key, "a.example", "192.0.2.1"))
	f.Add(newCSR(f, newTestKey(f, "ed25519"), "*.a.example"))
	f.Add(newCSR(f, rsaKey(), "a.example"))
	f.Add(signCSR(f, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.example"}, URIs: []*url.URL{{Scheme: "a", Host: "b"}}}))
	f.Add(asking(san(0x82, "a.example"), ext{oidBasicConstraints, []byte{0x30, 3, 1, 1, 0xff}}).sign(f, key))
	f.Fuzz(func(t *testing.T, der []byte) {
		csr, err := ParseCSR(der)
		if err != nil {
			wantRefusal(t, err, BadCSR)
			return
		}
		if len(csr.Names()) == 0 || !bytes.Equal(csr.Raw(), der) {
			t.Fatalf("%x gave names %v", der, csr.Names())
		}
	})
}

// FuzzCSRNames reaches the readers behind the signature, which a fuzzer can't make.
func FuzzCSRNames(f *testing.F) {
	f.Add(san(0x82, "a.example", 0x87, "\x7f\x00\x00\x01").value, emptyName, attributes(attribute(oidExtensionRequest, extensions(san(0x82, "a")))))
	f.Fuzz(func(t *testing.T, names, subject, attributes []byte) {
		if found, err := parseSAN(names); err == nil && len(found) > maxNames {
			t.Fatalf("%d names", len(found))
		}
		if _, err := commonName(subject); err != nil {
			wantRefusal(t, err, BadCSR)
		}
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes([]byte{2, 1, 0, 0x30, 0, 0x30, 0})
			b.AddBytes(attributes)
		})
		tbs, err := b.Bytes()
		if err != nil {
			return
		}
		extensions, err := requestedExtensions(tbs)
		if err != nil {
			wantRefusal(t, err, BadCSR)
		}
		for _, e := range extensions {
			if err := checkRequested(e); err != nil {
				wantRefusal(t, err, BadCSR)
			}
		}
	})
}
