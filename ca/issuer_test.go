package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/ca/lint"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestNewIssuerRefuses(t *testing.T) {
	h := newHouse(t, "ec256")
	cert := h.issuer.Certificate()
	leaf, err := h.authority.Issue(t.Context(), h.request(t, "o", newTestKey(t, "ec256"), "a.example"))
	check(t, err)
	leafCert := h.verify(t, leaf, "a.example")
	other := newHouse(t, "ec256")
	made := func(change func(c *x509.Certificate)) *x509.Certificate {
		c := *cert
		change(&c)
		return &c
	}
	good := func() IssuerConfig {
		return IssuerConfig{Chain: []*x509.Certificate{cert, h.root}, Key: h.key, PublishURL: publishURL}
	}
	for what, change := range map[string]func(c *IssuerConfig){
		"no chain":    func(c *IssuerConfig) { c.Chain = nil },
		"no key":      func(c *IssuerConfig) { c.Key = nil },
		"another key": func(c *IssuerConfig) { c.Key = newTestKey(t, "ec256") },
		"a leaf":      func(c *IssuerConfig) { c.Chain[0] = leafCert },
		"no CRL signing": func(c *IssuerConfig) {
			c.Chain[0] = made(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
		},
		"no cert signing": func(c *IssuerConfig) {
			c.Chain[0] = made(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
		},
		"no identifier": func(c *IssuerConfig) { c.Chain[0] = made(func(c *x509.Certificate) { c.SubjectKeyId = nil }) },
		"no subject":    func(c *IssuerConfig) { c.Chain[0] = made(func(c *x509.Certificate) { c.RawSubject = emptyName }) },
		"unknown critical": func(c *IssuerConfig) {
			c.Chain[0] = made(func(c *x509.Certificate) {
				c.UnhandledCriticalExtensions = append(c.UnhandledCriticalExtensions, oidPolicies)
			})
		},
		"foreign root":       func(c *IssuerConfig) { c.Chain[1] = other.root },
		"endless chain":      func(c *IssuerConfig) { c.Chain = append(c.Chain, make([]*x509.Certificate, 10)...) },
		"foreign alternate":  func(c *IssuerConfig) { c.Alternates = [][]*x509.Certificate{{other.issuer.Certificate()}} },
		"empty alternate":    func(c *IssuerConfig) { c.Alternates = [][]*x509.Certificate{{}} },
		"no URL":             func(c *IssuerConfig) { c.PublishURL = "" },
		"https URL":          func(c *IssuerConfig) { c.PublishURL = "https://ca.example" },
		"ldap URL":           func(c *IssuerConfig) { c.PublishURL = "ldap://ca.example" },
		"URL with a slash":   func(c *IssuerConfig) { c.PublishURL += "/" },
		"URL with a query":   func(c *IssuerConfig) { c.PublishURL += "?a" },
		"URL with a user":    func(c *IssuerConfig) { c.PublishURL = "http://a:b@ca.example" },
		"URL with fragments": func(c *IssuerConfig) { c.PublishURL += "#a" },
		"URL not in ASCII":   func(c *IssuerConfig) { c.PublishURL = "http://ca.exämple" },
	} {
		c := good()
		change(&c)
		if _, err := NewIssuer(c); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	i, err := NewIssuer(good())
	check(t, err)
	if len(i.ID()) != 16 || !strings.HasPrefix(i.CRLURL(0), publishURL) || i.CRLURL(1) == i.CRLURL(0) || len(i.Chain()) != 2 || i.ID() != IssuerID(cert) {
		t.Errorf("issuer %s, %s", i.ID(), i.CRLURL(0))
	}
	if IssuerID(&x509.Certificate{}) != "" {
		t.Error("a certificate without identifier has an ID")
	}
}

// standardCRL lets crypto/x509 make a CRL, and returns its TBS.
func standardCRL(t *testing.T, h *house) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: noon, NextUpdate: noon.Add(day), RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(5), RevocationTime: noon}},
	}, h.issuer.Certificate(), h.key)
	check(t, err)
	tbs, _, ok := unwrapSigned(der)
	if !ok {
		t.Fatal("no signed object")
	}
	return tbs
}

func TestSignCRL(t *testing.T) {
	for _, kind := range kinds {
		h, other := newHouse(t, kind), newHouse(t, "ec384")
		tbs := standardCRL(t, h)
		der, err := h.issuer.SignCRL(tbs)
		check(t, err)
		list, err := x509.ParseRevocationList(der)
		check(t, err)
		check(t, list.CheckSignatureFrom(h.issuer.Certificate()))
		if kind != "ec384" {
			if _, err := other.issuer.SignCRL(tbs); err == nil {
				t.Error("another issuer's CRL was signed")
			}
		}
		if !bytes.Contains(tbs, h.issuer.SignatureAlgorithm()) {
			t.Error("the CRL has another algorithm than the issuer's")
		}
	}
}

// responseData is the beginning of a ResponseData, as far as the signer looks.
func responseData(responder []byte, tag cbasn1.Tag) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tag.ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddBytes(responder) })
		b.AddASN1GeneralizedTime(noon)
		b.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {})
	})
	return b.BytesOrPanic()
}

func TestSignOCSP(t *testing.T) {
	for _, kind := range kinds {
		h := newHouse(t, kind)
		byKey := append([]byte{4, 20}, h.issuer.keyHash...)
		for _, tbs := range [][]byte{responseData(byKey, 2), responseData(h.issuer.Certificate().RawSubject, 1)} {
			signature, err := h.issuer.SignOCSP(tbs)
			check(t, err)
			check(t, h.issuer.Certificate().CheckSignature(h.issuer.algorithm.name, tbs, signature))
		}
	}
}

// TestNoCrossSigning: neither door signs what belongs to another, above all no
// certificate.
func TestNoCrossSigning(t *testing.T) {
	h := newHouse(t, "ec256")
	serial, certificate := begun(t, h, newTestKey(t, "ec256"))
	crl := standardCRL(t, h)
	ocsp := responseData(h.issuer.Certificate().RawSubject, 1)
	for what, octets := range map[string][]byte{
		"nothing": nil, "garbage": []byte("garbage"), "empty sequence": {0x30, 0}, "certificate " + serial.String(): certificate,
		"behind": append(bytes.Clone(crl), 0), "version 1": {0x30, 3, 2, 1, 0},
		"foreign responder": responseData(h.root.RawSubject, 1), "foreign key": responseData(append([]byte{4, 20}, make([]byte, 20)...), 2),
		"unknown responder": responseData(h.issuer.Certificate().RawSubject, 3),
	} {
		if _, err := h.issuer.SignCRL(octets); err == nil {
			t.Errorf("%s: signed as a CRL", what)
		}
		if _, err := h.issuer.SignOCSP(octets); err == nil {
			t.Errorf("%s: signed as an OCSP response", what)
		}
	}
	if _, err := h.issuer.SignCRL(ocsp); err == nil {
		t.Error("an OCSP response was signed as a CRL")
	}
	if _, err := h.issuer.SignOCSP(crl); err == nil {
		t.Error("a CRL was signed as an OCSP response")
	}
	h.issuer.key = faulty{h.key, nil}
	if _, err := h.issuer.SignCRL(crl); err == nil {
		t.Error("a faulty signature of a CRL was returned")
	}
	if _, err := h.issuer.SignOCSP(ocsp); err == nil {
		t.Error("a faulty signature of an OCSP response was returned")
	}
}

func TestHierarchy(t *testing.T) {
	for _, rootKind := range kinds {
		for _, kind := range []string{"ec256", "ed25519"} {
			rootKey, key := newTestKey(t, rootKind), newTestKey(t, kind)
			root, err := NewRoot(RootSpec{Name: "Example", Key: rootKey, Now: noon})
			check(t, err)
			check(t, root.CheckSignatureFrom(root))
			cert, err := NewIntermediate(IntermediateSpec{Name: "Example", Public: key.Public(), Root: root, RootKey: rootKey, PublishURL: publishURL, Now: noon})
			check(t, err)
			check(t, cert.CheckSignatureFrom(root))
			if !cert.MaxPathLenZero || root.MaxPathLen != -1 || root.Subject.CommonName != "Example Root CA" || cert.CRLDistributionPoints[0] != publishURL+"/crl/"+IssuerID(root)+".crl" {
				t.Errorf("root %s, intermediate %s, %q", root.Subject, cert.Subject, cert.CRLDistributionPoints)
			}
			der, err := RootCRL(root, rootKey, 1, noon, 0)
			check(t, err)
			list, err := x509.ParseRevocationList(der)
			check(t, err)
			check(t, list.CheckSignatureFrom(root))
			if list.Number.Int64() != 1 || !list.NextUpdate.Equal(noon.Add(rootCRLValidity)) || !bytes.Equal(list.AuthorityKeyId, root.SubjectKeyId) {
				t.Errorf("CRL %+v", list)
			}
		}
	}
}

func TestHierarchyRefuses(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	for what, spec := range map[string]RootSpec{
		"no key":       {Name: "Example", Now: noon},
		"no name":      {Key: key, Now: noon},
		"long name":    {Name: strings.Repeat("a", 41), Key: key, Now: noon},
		"blank":        {Name: " a", Key: key, Now: noon},
		"line end":     {Name: "a\nb", Key: key, Now: noon},
		"comma":        {Name: "a,b", Key: key, Now: noon},
		"not UTF-8":    {Name: "a\xff", Key: key, Now: noon},
		"no clock":     {Name: "Example", Key: key},
		"an hour":      {Name: "Example", Key: key, Now: noon, Validity: time.Hour},
		"a century":    {Name: "Example", Key: key, Now: noon, Validity: 100 * 365 * day},
		"fractions":    {Name: "Example", Key: key, Now: noon, Validity: 365*day + 1},
		"faulty key":   {Name: "Example", Key: faulty{key, nil}, Now: noon},
		"broken clock": {Name: "Example", Key: key, Now: time.Unix(0, 0)},
	} {
		if _, err := NewRoot(spec); err == nil {
			t.Errorf("root, %s: made", what)
		}
	}
	good := IntermediateSpec{Name: "Example", Public: key.Public(), Root: h.root, RootKey: h.rootKey, PublishURL: publishURL, Now: noon}
	for what, change := range map[string]func(s *IntermediateSpec){
		"no root":          func(s *IntermediateSpec) { s.Root = nil },
		"no root key":      func(s *IntermediateSpec) { s.RootKey = nil },
		"other root key":   func(s *IntermediateSpec) { s.RootKey = key },
		"below a leaf":     func(s *IntermediateSpec) { s.Root = &x509.Certificate{} },
		"no URL":           func(s *IntermediateSpec) { s.PublishURL = "" },
		"no public key":    func(s *IntermediateSpec) { s.Public = nil },
		"beyond the root":  func(s *IntermediateSpec) { s.Validity = 21 * 365 * day },
		"root has expired": func(s *IntermediateSpec) { s.Now = noon.Add(30 * 365 * day) },
	} {
		s := good
		change(&s)
		if c, err := NewIntermediate(s); err == nil {
			t.Errorf("intermediate, %s: made until %s", what, c.NotAfter)
		}
	}
	late := good
	late.Now = noon.Add(15 * 365 * day)
	c, err := NewIntermediate(late)
	if err != nil || !c.NotAfter.Equal(h.root.NotAfter) {
		t.Errorf("an intermediate shortly before the root's end: %v", err)
	}
	for what, make := range map[string]func() ([]byte, error){
		"number 0":  func() ([]byte, error) { return RootCRL(h.root, h.rootKey, 0, noon, 0) },
		"two years": func() ([]byte, error) { return RootCRL(h.root, h.rootKey, 1, noon, 2*365*day) },
		"other key": func() ([]byte, error) { return RootCRL(h.root, key, 1, noon, 0) },
		"a leaf":    func() ([]byte, error) { return RootCRL(&x509.Certificate{}, key, 1, noon, 0) },
	} {
		if _, err := make(); err == nil {
			t.Errorf("root CRL, %s: made", what)
		}
	}
}

// need finds an external program, whose absence is a failure (make test says
// which package has it).
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is needed by this test and is not installed: %v", program, err)
	}
	return path
}

func writePEM(t *testing.T, dir, name, kind string, ders ...[]byte) string {
	t.Helper()
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	path := filepath.Join(dir, name)
	check(t, os.WriteFile(path, out, 0o600))
	return path
}

// TestOtherPrograms: OpenSSL and GnuTLS verify chains of all kinds of issuers,
// with the CRL of the root.
func TestOtherPrograms(t *testing.T) {
	openssl, certtool := need(t, "openssl"), need(t, "certtool")
	now := time.Now() // certtool knows no other time
	for _, kind := range kinds {
		h := newHouseAt(t, kind, now)
		r := h.request(t, "o", newTestKey(t, "ec256"), "a.example", "192.0.2.1")
		c, err := h.authority.Issue(t.Context(), r.proven(now))
		check(t, err)
		rootCRL, err := RootCRL(h.root, h.rootKey, 1, now, 0)
		check(t, err)
		empty, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(day)}, h.issuer.Certificate(), h.key)
		check(t, err)
		dir := t.TempDir()
		root := writePEM(t, dir, "root.pem", "CERTIFICATE", h.root.Raw)
		middle := writePEM(t, dir, "middle.pem", "CERTIFICATE", h.issuer.Certificate().Raw)
		leaf := writePEM(t, dir, "leaf.pem", "CERTIFICATE", c.DER)
		crls := writePEM(t, dir, "crls.pem", "X509 CRL", rootCRL, empty)
		run(t, openssl, "verify", "-x509_strict", "-crl_check_all", "-purpose", "sslserver",
			"-CAfile", root, "-CRLfile", crls, "-untrusted", middle, "-verify_hostname", "a.example", leaf)
		run(t, openssl, "verify", "-x509_strict", "-CAfile", root, "-untrusted", middle, "-verify_ip", "192.0.2.1", leaf)
		chain := writePEM(t, dir, "chain.pem", "CERTIFICATE", c.DER, h.issuer.Certificate().Raw)
		run(t, certtool, "--verify", "--load-ca-certificate", root, "--verify-hostname", "a.example", "--infile", chain)
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(program), args[0], err, out)
	}
	return string(out)
}

// TestNoFindings: what is made here does not even earn a warning, with and
// without a commonName, and for all kinds of keys.
func TestNoFindings(t *testing.T) {
	for _, issuerKind := range kinds {
		h := newHouse(t, issuerKind)
		ders := [][]byte{h.root.Raw, h.issuer.Certificate().Raw}
		for _, kind := range []string{"ec256", "ec384", "ec521", "ed25519", "rsa"} {
			if kind == issuerKind {
				continue // there is one RSA key in a run
			}
			r := h.request(t, "", newTestKey(t, kind), "*.a.internal", "localhost", "10.0.0.1", "::1")
			c, err := h.authority.Issue(t.Context(), r)
			check(t, err)
			ders = append(ders, c.DER)
		}
		h.authority.Profiles["server"].CommonName = CommonNameFirst
		c, err := h.authority.Issue(t.Context(), h.request(t, "", newTestKey(t, "ec256"), "a.internal"))
		check(t, err)
		for _, der := range append(ders, c.DER) {
			findings, err := lint.Check(der)
			check(t, err)
			for _, f := range findings {
				t.Errorf("issuer %s: %s %s", issuerKind, f.Level, f)
			}
		}
	}
}
