package ocsp

import (
	"encoding/asn1"
	"time"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// ResponseStatus is OCSPResponseStatus (RFC 6960 section 4.2.1).
type ResponseStatus uint8

// The statuses that are given. Only Successful is signed.
const (
	Successful       ResponseStatus = 0
	MalformedRequest ResponseStatus = 1
	TryLater         ResponseStatus = 3
	Unauthorized     ResponseStatus = 6 // nothing is known here of this issuer (RFC 5019 section 2.2.3)
)

var oidBasic = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}

// failure is a whole OCSPResponse without responseBytes.
func failure(s ResponseStatus) []byte { return []byte{0x30, 0x03, 0x0a, 0x01, byte(s)} }

// kind is the CHOICE of CertStatus.
type kind uint8

const (
	good kind = iota
	revoked
	unknown
)

func (k kind) String() string { return [...]string{"good", "revoked", "unknown"}[k] }

// status is what is known of one certificate. It is comparable, so that two
// answers about the same facts can be told.
type status struct {
	kind   kind
	at     int64 // of the revocation: Unix seconds
	reason ca.Reason
}

func statusOf(c *ca.Certificate) status {
	if c.Revocation == nil {
		return status{kind: good}
	}
	return status{kind: revoked, at: c.Revocation.At.Unix(), reason: c.Revocation.Reason}
}

// answer is what one SingleResponse says, and for how long.
type answer struct {
	certID     []byte // DER, byte for byte as it was asked
	status     status
	thisUpdate time.Time
	nextUpdate time.Time
	producedAt time.Time
	nonce      []byte // nil: none
}

// responder is who signs: a key and, once it is not the issuer's own, the
// certificate by which the issuer delegated (RFC 6960 section 4.2.2.2).
type responder struct {
	keyHash   []byte                                    // SHA-1 of the signer's public key, for ResponderID byKey
	algorithm []byte                                    // DER of the AlgorithmIdentifier
	certs     [][]byte                                  // sent along; empty when the issuer itself signs
	sign      func(responseData []byte) ([]byte, error) // signs and verifies
}

// respond makes a whole, signed OCSPResponse.
func (r *responder) respond(a answer) ([]byte, error) {
	tbs, err := r.responseData(a)
	if err != nil {
		return nil, err
	}
	signature, err := r.sign(tbs)
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(signature)+128))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(int64(Successful))
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasic)
				b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) { r.addBasic(b, tbs, signature) })
			})
		})
	})
	return b.Bytes()
}

// addBasic writes a BasicOCSPResponse.
func (r *responder) addBasic(b *cryptobyte.Builder, tbs, signature []byte) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(r.algorithm)
		b.AddASN1BitString(signature)
		if len(r.certs) > 0 {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					for _, c := range r.certs {
						b.AddBytes(c)
					}
				})
			})
		}
	})
}

// responseData makes what is signed (RFC 6960 section 4.2.1). The version is
// v1, which DER leaves out; all times are GeneralizedTime without fractions.
func (r *responder) responseData(a answer) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 256+len(a.certID)))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.keyHash) })
		b.AddASN1GeneralizedTime(a.producedAt.UTC())
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(a.certID)
				a.status.add(b)
				b.AddASN1GeneralizedTime(a.thisUpdate.UTC())
				b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(a.nextUpdate.UTC()) })
			})
		})
		if a.nonce != nil {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { addNonce(b, a.nonce) })
		}
	})
	return b.Bytes()
}

// add writes the CertStatus. Its alternatives are IMPLICIT. The reason
// unspecified is left out, as it is in CRLs (RFC 5280 section 5.3.1).
func (s status) add(b *cryptobyte.Builder) {
	switch s.kind {
	case good:
		b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(*cryptobyte.Builder) {})
	case unknown:
		b.AddASN1(cbasn1.Tag(2).ContextSpecific(), func(*cryptobyte.Builder) {})
	case revoked:
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1GeneralizedTime(time.Unix(s.at, 0).UTC())
			if s.reason != ca.Unspecified {
				b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(s.reason)) })
			}
		})
	}
}

// addNonce writes Extensions with the nonce (RFC 9654 section 2.1).
func addNonce(b *cryptobyte.Builder, nonce []byte) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidNonce)
			b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
		})
	})
}
