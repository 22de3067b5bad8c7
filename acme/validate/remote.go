package validate

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// CA and remote perspective know each other by their public keys and by
// nothing else (SAFETY A12): no name, no CA, no date stands between a key that
// was pinned and one that is believed, so nobody who can issue certificates or
// answer for a name can step in between.

// Pin is the SHA-256 of a key's SubjectPublicKeyInfo. The zero Pin is nobody's.
type Pin [sha256.Size]byte

const pinPrefix = "sha256:"

// ParsePin reads "sha256:" and 64 hexadecimal digits in lower case.
func ParsePin(s string) (Pin, error) {
	var p Pin
	digits, ok := strings.CutPrefix(s, pinPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(p)) || digits != strings.ToLower(digits) {
		return Pin{}, fmt.Errorf("%s is no pin; write sha256: and 64 hexadecimal digits in lower case, as `chancery perspective` prints it", excerpt(s))
	}
	if _, err := hex.Decode(p[:], []byte(digits)); err != nil || p == (Pin{}) {
		return Pin{}, fmt.Errorf("%s is no pin; not all are hexadecimal digits, or all are zero", excerpt(s))
	}
	return p, nil
}

func (p Pin) String() string { return pinPrefix + hex.EncodeToString(p[:]) }

func pinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// Identity is how one end proves to the other who it is.
type Identity struct {
	Pin         Pin
	certificate tls.Certificate
}

// identityLife is long, since nobody looks at it: TLS wants a certificate, the
// pin is on its key, and it is made anew at each start.
const identityLife = 10 * 365 * 24 * time.Hour

// NewIdentity makes a certificate around the key, for TLS between a CA and its
// perspectives. It signs itself, says no name, and is good for nothing else.
func NewIdentity(key crypto.Signer, now time.Time) (Identity, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Identity{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "Chancery perspective"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(identityLife),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Identity{}, fmt.Errorf("making the certificate of a perspective's key: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Pin: pinOf(leaf), certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}, nil
}

var errOtherPin = errors.New("the other end has another key than the one that is pinned")

// meets makes the check of the other end: its key is one of these. It runs
// after the handshake proved that the other end has the key, on each
// connection (there is no resumption).
func meets(pins []Pin) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errOtherPin
		}
		got := pinOf(state.PeerCertificates[0])
		for _, p := range pins {
			if subtle.ConstantTimeCompare(p[:], got[:]) == 1 && p != (Pin{}) {
				return nil
			}
		}
		return errOtherPin
	}
}

// clientTLS is the CA's end.
func (i Identity) clientTLS(remote Pin) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		Certificates:       []tls.Certificate{i.certificate},
		InsecureSkipVerify: true, // #nosec G402 -- VerifyConnection compares the key itself, which is stricter than any chain
		VerifyConnection:   meets([]Pin{remote}),
	}
}

// ServerTLS is the remote's end: only who has one of these keys gets through
// the handshake.
func (i Identity) ServerTLS(peers []Pin) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		Certificates:           []tls.Certificate{i.certificate},
		ClientAuth:             tls.RequireAnyClientCert,
		VerifyConnection:       meets(peers),
		SessionTicketsDisabled: true,
	}
}
