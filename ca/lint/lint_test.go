package lint_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/ca/lint"

	zlint "github.com/zmap/zlint/v3/lint"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// made is a server certificate after a change.
func made(t testing.TB, change func(c *x509.Certificate)) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	serial := new(big.Int).SetBytes([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	parent := &x509.Certificate{Subject: pkix.Name{Organization: []string{"Example"}, CommonName: "Example CA"}, SubjectKeyId: make([]byte, 20)}
	c := &x509.Certificate{
		SerialNumber: serial, NotBefore: now, NotAfter: now.Add(90*24*time.Hour - time.Second), DNSNames: []string{"service.internal"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		SubjectKeyId: []byte{1, 2, 3}, OCSPServer: []string{"http://ca.internal/ocsp"}, CRLDistributionPoints: []string{"http://ca.internal/crl"},
		IssuingCertificateURL: []string{"http://ca.internal/ca.der"},
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), caKey)
	check(t, err)
	return der
}

func forbidden(t testing.TB, der []byte) []string {
	t.Helper()
	findings, err := lint.Check(der)
	check(t, err)
	var names []string
	for _, f := range findings {
		if f.Forbids() {
			names = append(names, f.Lint)
		}
		if f.Source == "" || f.Detail == "" {
			t.Errorf("the finding %+v does not say enough", f)
		}
	}
	return names
}

func TestCheck(t *testing.T) {
	if bad := forbidden(t, made(t, func(*x509.Certificate) {})); len(bad) > 0 {
		t.Errorf("a good certificate was refused: %q", bad)
	}
	raw := func(id asn1.ObjectIdentifier, value []byte) func(c *x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: id, Value: value}} }
	}
	for want, change := range map[string]func(c *x509.Certificate){
		"e_ext_san_missing":                          func(c *x509.Certificate) { c.DNSNames = nil },
		"e_ext_san_rfc822_name_present":              func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.example"} },
		"e_dnsname_bad_character_in_label":           func(c *x509.Certificate) { c.DNSNames = []string{"a b.internal"} },
		"e_dnsname_empty_label":                      func(c *x509.Certificate) { c.DNSNames = []string{"a..internal"} },
		"e_sub_cert_eku_missing":                     func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"e_validity_time_not_positive":               func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(-time.Hour) },
		"e_crl_distrib_points_not_http":              func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"ldap://ca.internal/"} },
		"e_aia_ocsp_must_have_http_only":             func(c *x509.Certificate) { c.OCSPServer = []string{"https://ca.internal/"} },
		"e_subject_common_name_not_exactly_from_san": func(c *x509.Certificate) { c.Subject.CommonName = "other.internal" },
		"e_ext_freshest_crl_marked_critical": func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 46}, Critical: true, Value: []byte{0x30, 0}}}
		},
		"e_ext_name_constraints_not_in_ca": raw(asn1.ObjectIdentifier{2, 5, 29, 30}, []byte{0x30, 0}),
	} {
		if bad := forbidden(t, made(t, change)); !slices.Contains(bad, want) {
			t.Errorf("%s was not found, but %q", want, bad)
		}
	}
}

func TestNotACertificate(t *testing.T) {
	good := made(t, func(*x509.Certificate) {})
	for _, der := range [][]byte{nil, []byte("garbage"), {0x30, 0}, good[:len(good)-1], append(slices.Clone(good), 0)} {
		if _, err := lint.Check(der); err == nil {
			t.Errorf("%.20x was linted", der)
		}
	}
}

// TestDisabled: each rule that is off exists, and says why.
func TestDisabled(t *testing.T) {
	seen := map[string]bool{}
	for _, off := range lint.Disabled() {
		if off.Why == "" || seen[off.Lint] {
			t.Errorf("%s has no reason, or is there twice", off.Lint)
		}
		seen[off.Lint] = true
		if strings.HasPrefix(off.Lint, "source:") {
			continue
		}
		if zlint.GlobalRegistry().CertificateLints().ByName(off.Lint) == nil {
			t.Errorf("there is no lint %s", off.Lint)
		}
	}
}

func TestText(t *testing.T) {
	f := lint.Finding{Lint: "e_a", Level: lint.Error, Detail: "b", Source: "RFC5280"}
	if f.String() != "e_a: b (RFC5280)" || !f.Forbids() || (lint.Finding{Level: lint.Warning}).Forbids() || lint.Fatal.String() != "fatal" {
		t.Errorf("text %s", f)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(made(f, func(*x509.Certificate) {}))
	f.Fuzz(func(t *testing.T, der []byte) {
		findings, err := lint.Check(der)
		if err != nil && findings != nil {
			t.Fatal("findings beside an error")
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	der := made(b, func(*x509.Certificate) {})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := lint.Check(der); err != nil {
			b.Fatal(err)
		}
	}
}
