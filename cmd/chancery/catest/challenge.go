package catest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/miekg/dns"
)

// acmeIdentifier is id-pe-acmeIdentifier (RFC 8737 section 6.1).
var acmeIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

// ChallengeCertificate makes the self-signed certificate that answers
// tls-alpn-01 for a DNS name or an IP address (RFC 8737 section 3).
func ChallengeCertificate(identifier, keyAuthorization string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("challenge key: %w", err)
	}
	digest := sha256.Sum256([]byte(keyAuthorization))
	value, err := asn1.Marshal(digest[:])
	if err != nil {
		return nil, fmt.Errorf("acmeIdentifier: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		Subject:         pkix.Name{CommonName: "ACME challenge"},
		NotBefore:       time.Now().Add(-time.Hour),
		NotAfter:        time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: acmeIdentifier, Critical: true, Value: value}},
	}
	if ip := net.ParseIP(identifier); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{identifier}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("challenge certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// ServerName is what a validator sends as SNI for an identifier: the name
// itself, for an IP address its reverse name (RFC 8738 section 6).
func ServerName(identifier string) string {
	if net.ParseIP(identifier) == nil {
		return identifier
	}
	reverse, err := dns.ReverseAddr(identifier)
	if err != nil {
		return identifier
	}
	return reverse[:len(reverse)-1]
}
