package ca

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"flag"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// reference lets crypto/x509 encode the same certificate.
func reference(t *testing.T, tmpl *template, parent *x509.Certificate, key crypto.Signer, public crypto.PublicKey) []byte {
	t.Helper()
	ski, err := keyIdentifier(tmpl.spki)
	check(t, err)
	usage := x509.KeyUsageDigitalSignature
	if tmpl.keyUsage&keyEncipherment != 0 {
		usage |= x509.KeyUsageKeyEncipherment
	}
	var subject pkix.RDNSequence
	_, err = asn1.Unmarshal(tmpl.subject, &subject)
	check(t, err)
	want := &x509.Certificate{
		SerialNumber: Serial(tmpl.serial).BigInt(), NotBefore: tmpl.notBefore, NotAfter: tmpl.notAfter, RawSubject: tmpl.subject,
		KeyUsage: usage, BasicConstraintsValid: true, SubjectKeyId: ski,
		AuthorityKeyId: parent.SubjectKeyId, SignatureAlgorithm: algorithms[keyKind(key.Public())].name,
	}
	for _, id := range tmpl.extUsages {
		if id.Equal(oidServerAuth) {
			want.ExtKeyUsage = append(want.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		} else {
			want.ExtKeyUsage = append(want.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		}
	}
	for _, id := range tmpl.names {
		if id.Type() == IP {
			want.IPAddresses = append(want.IPAddresses, net.IP(id.Addr().AsSlice()))
		} else {
			want.DNSNames = append(want.DNSNames, id.Value())
		}
	}
	for _, id := range tmpl.policies {
		policy, err := x509.ParseOID(id.String())
		check(t, err)
		want.Policies = append(want.Policies, policy)
	}
	for _, p := range []struct {
		url  string
		into *[]string
	}{{tmpl.ocspURL, &want.OCSPServer}, {tmpl.issuersURL, &want.IssuingCertificateURL}, {tmpl.crlURL, &want.CRLDistributionPoints}} {
		if p.url != "" {
			*p.into = []string{p.url}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, want, parent, public, key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert.RawTBSCertificate
}

// TestEncodeAgainstStandardLibrary compares our encoder octet by octet with
// crypto/x509, over all kinds of keys and random templates.
func TestEncodeAgainstStandardLibrary(t *testing.T) {
	for _, issuerKind := range kinds {
		h := newHouse(t, issuerKind)
		for _, kind := range kinds {
			key := newTestKey(t, kind)
			for range 20 {
				compareEncoding(t, h, key)
			}
		}
	}
}

func compareEncoding(t *testing.T, h *house, key crypto.Signer) {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	p := DefaultProfile()
	coin := func() bool { return mathrand.IntN(2) == 0 }
	p.OCSP, p.CRL, p.CAIssuers, p.KeyEncipherment = coin(), coin(), coin(), coin()
	if coin() {
		p.ExtKeyUsages = []string{ServerAuth, ClientAuth}
	}
	if coin() {
		p.CommonName = CommonNameFirst
	}
	if coin() {
		p.Policies = []string{"2.23.140.1.2.1", "1.3.6.1.4.1.99999.1"}
	}
	// crypto/x509 writes DNS names before addresses.
	names := ids(t, "*.a.example", "b.example", "192.0.2.1", "2001:db8::1")[mathrand.IntN(3):]
	serial, err := NewSerial(noon, rand.Reader)
	check(t, err)
	from := noon.Add(time.Duration(mathrand.IntN(25*365)) * day)
	cert := &Certificate{Serial: serial, Names: names, NotBefore: from, NotAfter: from.Add(90*day - time.Second)}
	tmpl, err := newTemplate(h.issuer, &p, cert, &CSR{spki: spki, key: key.Public()})
	check(t, err)
	got, err := tmpl.encode()
	check(t, err)
	if want := reference(t, tmpl, h.issuer.Certificate(), h.key, key.Public()); !bytes.Equal(got, want) {
		t.Fatalf("profile %+v\ngot  %x\nwant %x", p, got, want)
	}
}

// TestGolden pins the octets of a certificate of the default profile: whoever
// changes them does so knowingly (go test -run Golden -update).
func TestGolden(t *testing.T) {
	spki, err := hex.DecodeString("3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
	check(t, err)
	public, err := x509.ParsePKIXPublicKey(spki) // the base point
	check(t, err)
	issuer := &Issuer{id: "0011223344556677", publishURL: publishURL, algorithm: algorithms["ec256"], chain: []*x509.Certificate{{SubjectKeyId: bytes.Repeat([]byte{0x11}, 20)}}}
	issuer.chain[0].RawSubject, err = subjectName("Example", "Example Intermediate CA")
	check(t, err)
	serial, err := NewSerial(noon, bytes.NewReader(make([]byte, 10)))
	check(t, err)
	for _, kind := range []string{CommonNameNone, CommonNameFirst} {
		p := DefaultProfile()
		p.CommonName = kind
		cert := &Certificate{Serial: serial, Names: ids(t, "a.example", "*.b.example", "192.0.2.1", "2001:db8::1"), NotBefore: noon, NotAfter: noon.Add(90*day - time.Second)}
		tmpl, err := newTemplate(issuer, &p, cert, &CSR{spki: spki, key: public})
		check(t, err)
		got, err := tmpl.encode()
		check(t, err)
		file := filepath.Join("testdata", "server-cn-"+kind+".tbs.der")
		if *update {
			check(t, os.WriteFile(file, got, 0o644)) //nolint:gosec // test data is for all to read
		}
		want, err := os.ReadFile(file)
		check(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got %x", file, got)
		}
	}
}

// TestTimes: UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5).
func TestTimes(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	p := DefaultProfile()
	for _, from := range []time.Time{
		time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2100, 2, 28, 23, 59, 59, 0, time.UTC),
		time.Date(2026, 11, 22, 13, 0, 0, 0, time.FixedZone("", 3600)),
	} {
		cert := &Certificate{Serial: Serial{1}, Names: ids(t, "a.example"), NotBefore: from, NotAfter: from.Add(day - time.Second)}
		tmpl, err := newTemplate(h.issuer, &p, cert, &CSR{spki: spki, key: key.Public()})
		check(t, err)
		got, err := tmpl.encode()
		check(t, err)
		if !bytes.Equal(got, reference(t, tmpl, h.issuer.Certificate(), h.key, key.Public())) {
			t.Errorf("%s: differs from crypto/x509", from)
		}
	}
}

func TestPublicKeyBits(t *testing.T) {
	for _, spki := range [][]byte{nil, {0x30, 0}, {0x30, 3, 0x30, 0, 5}, {0x30, 7, 0x30, 0, 3, 3, 1, 2, 2}, {0x30, 6, 0x30, 0, 3, 2, 0, 1, 0}} {
		if _, err := keyIdentifier(spki); err == nil {
			t.Errorf("%x has a key identifier", spki)
		}
	}
}
