package ca

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds of what comes from outside to be looked up.
const (
	maxCertificate = 64 << 10 // octets of a certificate; ours are under 8 KiB
	// maxCertID: a keyIdentifier and a serial number are 20 octets each, 27
	// characters; some CAs have identifiers of 32 octets.
	maxCertID = 256
)

// Chains are the certificate's chains in PEM: the default one first, then the
// alternates. Each is the certificate and what lies between it and the root
// (RFC 8555 section 7.4.2), and holds CERTIFICATE blocks only (section 11.4).
func (a *Authority) Chains(c *Certificate) ([][]byte, error) {
	issuer := a.issuer(c.Issuer)
	if issuer == nil {
		return nil, fmt.Errorf("chains of %s: issuer %s is not configured", c.Serial, c.Issuer)
	}
	if len(c.DER) == 0 {
		return nil, fmt.Errorf("chains of %s: it is not signed", c.Serial)
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER})
	chains := make([][]byte, 0, len(issuer.pems))
	for _, rest := range issuer.pems {
		chains = append(chains, slices.Concat(leaf, rest))
	}
	return chains, nil
}

// Own finds the certificate in the ledger whose DER this is, byte for byte.
// Anything else, malformed bytes too, is ErrNotFound.
func (a *Authority) Own(ctx context.Context, der []byte) (*Certificate, error) {
	notOurs := func(why string) (*Certificate, error) {
		return nil, fmt.Errorf("%s: %w", why, ErrNotFound)
	}
	if len(der) > maxCertificate {
		return notOurs("certificate of too many octets")
	}
	serial, ok := serialOf(der)
	if !ok {
		return notOurs("certificate with a serial number of another form")
	}
	c, err := a.Ledger.Certificate(ctx, serial)
	if err != nil {
		return nil, err
	}
	if len(c.DER) == 0 || !bytes.Equal(c.DER, der) {
		return notOurs("certificate with one of our serial numbers and other contents")
	}
	return c, nil
}

// serialOf reads the serial number of a certificate in DER.
func serialOf(der []byte) (Serial, bool) {
	tbs, _, ok := unwrapSigned(der)
	if !ok {
		return Serial{}, false
	}
	input := cryptobyte.String(tbs)
	var fields, number cryptobyte.String
	if !input.ReadASN1(&fields, cbasn1.SEQUENCE) || !fields.SkipOptionalASN1(cbasn1.Tag(0).ContextSpecific().Constructed()) ||
		!fields.ReadASN1(&number, cbasn1.INTEGER) {
		return Serial{}, false
	}
	return serialFromBytes(number)
}

// CertID is the certificate's identifier for renewal information:
// base64url(keyIdentifier of the issuer) "." base64url(serial number's octets)
// (RFC 9773 section 4.1).
func (a *Authority) CertID(c *Certificate) (string, error) {
	issuer := a.issuer(c.Issuer)
	if issuer == nil {
		return "", fmt.Errorf("certID of %s: issuer %s is not configured", c.Serial, c.Issuer)
	}
	return encode64(issuer.Certificate().SubjectKeyId) + "." + encode64(c.Serial[:]), nil
}

// ByCertID finds the issued certificate that a certID names. A text that is no
// certID is a *Refusal with MalformedIdentifier; one of another issuer, or of
// no certificate that was issued, is ErrNotFound.
func (a *Authority) ByCertID(ctx context.Context, certID string) (*Certificate, error) {
	keyID, number, err := parseCertID(certID)
	if err != nil {
		return nil, err
	}
	notFound := fmt.Errorf("certID %s: %w", quote(certID), ErrNotFound)
	n := slices.IndexFunc(a.Issuers, func(i *Issuer) bool { return bytes.Equal(i.Certificate().SubjectKeyId, keyID) })
	serial, ok := serialFromBytes(number)
	if n < 0 || !ok {
		return nil, notFound
	}
	c, err := a.Ledger.Certificate(ctx, serial)
	if err != nil {
		return nil, err
	}
	if c.Issuer != a.Issuers[n].id || len(c.DER) == 0 {
		return nil, notFound
	}
	return c, nil
}

// parseCertID is strict, so that each certificate has one certID: unpadded
// base64url with zero trailing bits, and the serial number in the one DER form.
func parseCertID(certID string) (keyID, serial []byte, err error) {
	malformed := func(why string) ([]byte, []byte, error) {
		return nil, nil, &Refusal{
			Code:   MalformedIdentifier,
			Detail: fmt.Sprintf("certID %s %s (RFC 9773 section 4.1)", quote(certID), why),
		}
	}
	if len(certID) > maxCertID {
		return malformed("is too long")
	}
	left, right, ok := strings.Cut(certID, ".")
	if !ok {
		return malformed("has no dot between key identifier and serial number")
	}
	keyID, ok1 := decode64(left)
	serial, ok2 := decode64(right)
	switch {
	case !ok1 || !ok2:
		return malformed("is not in base64url without padding")
	case len(keyID) == 0 || len(serial) == 0:
		return malformed("has an empty half")
	case serial[0] >= 0x80:
		return malformed("has a negative serial number")
	case len(serial) > 1 && serial[0] == 0 && serial[1] < 0x80:
		return malformed("has a serial number with needless zeros")
	}
	return keyID, serial, nil
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode64 takes only what encode64 writes: the decoder alone would skip line ends.
func decode64(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && encode64(b) == s
}

// mayAsk are the reasons that a revocation may have: those of BR 7.2.2, so no
// certificateHold (nothing comes back here), and none that are for CAs, for
// attribute certificates, or for delta CRLs.
var mayAsk = []Reason{Unspecified, KeyCompromise, AffiliationChanged, Superseded, CessationOfOperation, PrivilegeWithdrawn}

// Revoke makes a revocation durable. Who may revoke what, and who may claim
// keyCompromise (I46), is the caller's decision. *Refusal with
// BadRevocationReason; ErrNotFound and ErrAlreadyRevoked from the Ledger.
func (a *Authority) Revoke(ctx context.Context, r Revocation) error {
	if !slices.Contains(mayAsk, r.Reason) {
		return &Refusal{Code: BadRevocationReason, Detail: fmt.Sprintf(
			"reason %d can't be asked for; use 0 (unspecified), 1 (keyCompromise), 3 (affiliationChanged), 4 (superseded) or 5 (cessationOfOperation)", r.Reason)}
	}
	// The CA decides that a subscriber lost a privilege, not the subscriber (BR
	// 7.2.2, SAFETY R41).
	if r.Reason == PrivilegeWithdrawn && r.By.Kind != ActorOperator && r.By.Kind != ActorSystem {
		return &Refusal{Code: BadRevocationReason, Detail: "reason 9 (privilegeWithdrawn) is for this CA's operators to give"}
	}
	if r.At.IsZero() {
		return fmt.Errorf("revoke %s: no instant was given", r.Serial)
	}
	if !r.Serial.wellFormed() {
		return fmt.Errorf("revoke: serial number %s: %w", r.Serial, ErrNotFound)
	}
	return a.Ledger.Revoke(ctx, r)
}
