package validate

import (
	"bytes"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidACMEIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31} // RFC 8737 section 6.1
	oidAltName        = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// checkChallenge decides about a finished handshake (RFC 8737 section 3). Its
// errors continue "192.0.2.7:443 ...".
func checkChallenge(state tls.ConnectionState, id ca.Identifier, want [32]byte) error {
	switch {
	case state.NegotiatedProtocol != alpnProtocol:
		return fmt.Errorf("did not choose the ALPN protocol %s", alpnProtocol)
	case state.Version < tls.VersionTLS12 || state.DidResume:
		return errors.New("did not do a full handshake of TLS 1.2 or newer")
	case len(state.PeerCertificates) != 1:
		return fmt.Errorf("sent %d certificates (want one, self-signed)", len(state.PeerCertificates))
	}
	return checkCertificate(state.PeerCertificates[0], id, want)
}

// checkCertificate checks the challenge certificate. Its validity is of no
// meaning to the RFC and not looked at. That it is self-signed adds nothing to
// the proof, since the handshake has shown that the peer holds its key, but
// the RFC says so, an honest client's is, and the check costs one signature of
// a bounded key.
func checkCertificate(c *x509.Certificate, id ca.Identifier, want [32]byte) error {
	if !bytes.Equal(c.RawIssuer, c.RawSubject) || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		return errors.New("sent a certificate that is not self-signed")
	}
	if err := checkAltName(c, id); err != nil {
		return err
	}
	ext, n := extension(c, oidACMEIdentifier)
	switch {
	case n != 1:
		return fmt.Errorf("sent a certificate with %d acmeIdentifier extensions (want one; the server may not know the challenge)", n)
	case !ext.Critical:
		return errors.New("sent a certificate whose acmeIdentifier extension is not critical")
	}
	// Authorization ::= OCTET STRING (SIZE (32)), and nothing after it.
	var digest cryptobyte.String
	value := cryptobyte.String(ext.Value)
	if !value.ReadASN1(&digest, cryptobyteasn1.OCTET_STRING) || !value.Empty() || len(digest) != len(want) {
		return errors.New("sent a certificate whose acmeIdentifier extension is no OCTET STRING of 32 bytes")
	}
	if subtle.ConstantTimeCompare(digest, want[:]) != 1 {
		return fmt.Errorf("sent a certificate for another key authorization (SHA-256 %x, want %x)", []byte(digest), want)
	}
	return nil
}

// checkAltName wants exactly one subjectAltName entry, the identifier. It
// reads the bytes itself, because crypto/x509 passes over kinds of names that
// it does not know.
func checkAltName(c *x509.Certificate, id ca.Identifier) error {
	ext, n := extension(c, oidAltName)
	if n != 1 {
		return fmt.Errorf("sent a certificate with %d subjectAltName extensions (want one)", n)
	}
	var names, name cryptobyte.String
	var tag cryptobyteasn1.Tag
	value := cryptobyte.String(ext.Value)
	if !value.ReadASN1(&names, cryptobyteasn1.SEQUENCE) || !value.Empty() || !names.ReadAnyASN1(&name, &tag) || !names.Empty() {
		return fmt.Errorf("sent a certificate whose subjectAltName is not exactly one entry (want %s)", id)
	}
	ok := false
	switch {
	case id.Type() == ca.DNS && tag == cryptobyteasn1.Tag(2).ContextSpecific(): // dNSName
		ok = strings.EqualFold(string(name), id.Value()) && printable(string(name)) // EqualFold folds beyond ASCII
	case id.Type() == ca.IP && tag == cryptobyteasn1.Tag(7).ContextSpecific(): // iPAddress: 4 or 16 bytes (RFC 8738 section 6)
		addr, valid := netip.AddrFromSlice(name)
		ok = valid && addr == id.Addr()
	}
	if !ok {
		return fmt.Errorf("sent a certificate for %s (want %s)", excerpt(string(name)), id)
	}
	return nil
}

// extension finds an extension and counts how often it is there.
func extension(c *x509.Certificate, oid asn1.ObjectIdentifier) (found pkix.Extension, n int) {
	for _, e := range c.Extensions {
		if e.Id.Equal(oid) {
			found = e
			n++
		}
	}
	return found, n
}
