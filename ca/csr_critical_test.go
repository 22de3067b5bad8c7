package ca

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
)

// TestCriticalExtensions: `openssl req` and others mark extensions critical in
// their requests. A critical one is read as any other; one that asks for a CA
// is refused for that and not for its encoding.
func TestCriticalExtensions(t *testing.T) {
	key := newTestKey(t, "ec256")
	request := func(extra ...pkix.Extension) []byte {
		t.Helper()
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example"}, ExtraExtensions: extra}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	keyUsage := pkix.Extension{Id: oidKeyUsage, Critical: true, Value: []byte{3, 2, 7, 0x80}}
	notCA := pkix.Extension{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 0}}
	csr, err := ParseCSR(request(keyUsage, notCA))
	if err != nil {
		t.Fatalf("critical keyUsage and basicConstraints: %v", err)
	}
	if names := csr.Names(); len(names) != 1 || names[0].Value() != "a.example" {
		t.Errorf("names %v", names)
	}
	for _, critical := range []bool{true, false} {
		isCA := pkix.Extension{Id: oidBasicConstraints, Critical: critical, Value: []byte{0x30, 3, 1, 1, 0xff}}
		if _, err := ParseCSR(request(isCA)); err == nil || strings.Contains(err.Error(), "DER") || !strings.Contains(err.Error(), "CA") {
			t.Errorf("cA TRUE, critical %v: %v", critical, err)
		}
	}
}
