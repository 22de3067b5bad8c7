package ca

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// template is everything that stands in a TBSCertificate (RFC 5280 section
// 4.1). The encoder is our own, so that what is linted, reserved, signed and
// compared is one string of octets that no library made anew in between.
type template struct {
	serial    []byte // content octets of a positive INTEGER
	algorithm []byte // DER of the AlgorithmIdentifier
	issuer    []byte // DER of the issuer's Name, as its certificate has it
	notBefore time.Time
	notAfter  time.Time
	subject   []byte // DER of a Name
	spki      []byte // DER

	isCA       bool
	maxPath    int // of a CA: pathLenConstraint; negative: none
	keyUsage   keyUsage
	extUsages  []asn1.ObjectIdentifier
	authority  []byte // keyIdentifier of the issuer
	names      []Identifier
	ocspURL    string // the URLs may be empty: no pointer
	issuersURL string
	crlURL     string
	policies   []asn1.ObjectIdentifier
}

// keyUsage is a set of bits of RFC 5280 section 4.2.1.3.
type keyUsage int

const (
	digitalSignature keyUsage = 1 << 0
	keyEncipherment  keyUsage = 1 << 2
	keyCertSign      keyUsage = 1 << 5
	cRLSign          keyUsage = 1 << 6
)

var emptyName = []byte{0x30, 0x00} // a Name without parts

// encode makes the DER of the TBSCertificate.
func (t *template) encode() ([]byte, error) {
	ski, err := keyIdentifier(t.spki)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1Int64(2) // v3
		})
		b.AddASN1(cbasn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(t.serial) })
		b.AddBytes(t.algorithm)
		b.AddBytes(t.issuer)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, t.notBefore)
			addTime(b, t.notAfter)
		})
		b.AddBytes(t.subject)
		b.AddBytes(t.spki)
		b.AddASN1(cbasn1.Tag(3).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { t.addExtensions(b, ski) })
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("to-be-signed certificate: %w", err)
	}
	return der, nil
}

// addTime: UTCTime through 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5).
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

// The sequence of extensions is that of crypto/x509, which tests compare with.
func (t *template) addExtensions(b *cryptobyte.Builder, ski []byte) {
	addExtension(b, oidKeyUsage, true, t.addKeyUsage)
	if len(t.extUsages) > 0 {
		addExtension(b, oidExtKeyUsage, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, id := range t.extUsages {
					b.AddASN1ObjectIdentifier(id)
				}
			})
		})
	}
	addExtension(b, oidBasicConstraints, true, t.addBasicConstraints)
	addExtension(b, oidSubjectKeyID, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(ski) })
	if len(t.authority) > 0 {
		addExtension(b, oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { // keyIdentifier only (BR 7.1.2.11.1)
				b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(t.authority) })
			})
		})
	}
	if t.ocspURL != "" || t.issuersURL != "" {
		addExtension(b, oidAuthorityInfo, false, t.addAuthorityInfo)
	}
	if len(t.names) > 0 {
		// Critical iff the subject is empty (RFC 5280 section 4.1.2.6).
		addExtension(b, oidSubjectAltName, string(t.subject) == string(emptyName), t.addNames)
	}
	if len(t.policies) > 0 {
		addExtension(b, oidPolicies, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, id := range t.policies {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(id) })
				}
			})
		})
	}
	if t.crlURL != "" {
		addExtension(b, oidCRLDistribution, false, t.addCRLDistribution)
	}
}

func addExtension(b *cryptobyte.Builder, id asn1.ObjectIdentifier, critical bool, value cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(id)
		if critical { // FALSE is the default, which DER leaves out
			b.AddASN1Boolean(true)
		}
		b.AddASN1(cbasn1.OCTET_STRING, value)
	})
}

// addKeyUsage: a named bit list, in DER without trailing zero bits (X.690 section 11.2.2).
func (t *template) addKeyUsage(b *cryptobyte.Builder) {
	var bits, unused byte // all usages that are given here fit one octet
	unused = 8
	for n, left := 0, byte(7); n < 8; n, left = n+1, left-1 {
		if t.keyUsage>>n&1 == 1 {
			bits |= 0x80 >> n
			unused = left
		}
	}
	b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) {
		b.AddUint8(unused)
		b.AddUint8(bits)
	})
}

// addBasicConstraints: for an end entity an empty SEQUENCE, 3000 (BR 7.1.2.7.8).
func (t *template) addBasicConstraints(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if !t.isCA {
			return
		}
		b.AddASN1Boolean(true)
		if t.maxPath >= 0 {
			b.AddASN1Int64(int64(t.maxPath))
		}
	})
}

func (t *template) addAuthorityInfo(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		add := func(method asn1.ObjectIdentifier, url string) {
			if url == "" {
				return
			}
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(method)
				addURL(b, url)
			})
		}
		add(oidAccessOCSP, t.ocspURL)
		add(oidAccessCAIssuers, t.issuersURL)
	})
}

func addURL(b *cryptobyte.Builder, url string) {
	b.AddASN1(cbasn1.Tag(6).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(url)) })
}

func (t *template) addNames(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, id := range t.names {
			if id.typ == IP {
				b.AddASN1(tagIPAddress, func(b *cryptobyte.Builder) { b.AddBytes(id.Addr().AsSlice()) })
			} else {
				b.AddASN1(tagDNSName, func(b *cryptobyte.Builder) { b.AddBytes([]byte(id.value)) })
			}
		}
	})
}

// addCRLDistribution: one point with one full name (RFC 5280 section 4.2.1.13).
func (t *template) addCRLDistribution(b *cryptobyte.Builder) {
	explicit := cbasn1.Tag(0).ContextSpecific().Constructed()
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(explicit, func(b *cryptobyte.Builder) { // distributionPoint
				b.AddASN1(explicit, func(b *cryptobyte.Builder) { addURL(b, t.crlURL) }) // fullName
			})
		})
	})
}

// keyIdentifier is method 1 of RFC 7093 section 2: the leftmost 160 bits of
// the SHA-256 of the subjectPublicKey's bits.
func keyIdentifier(spki []byte) ([]byte, error) {
	bits, err := publicKeyBits(spki)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}

// publicKeyBits are the octets in the BIT STRING of a SubjectPublicKeyInfo.
func publicKeyBits(spki []byte) ([]byte, error) {
	input := cryptobyte.String(spki)
	var info cryptobyte.String
	var bits []byte
	if !input.ReadASN1(&info, cbasn1.SEQUENCE) || !input.Empty() || !info.SkipASN1(cbasn1.SEQUENCE) ||
		!info.ReadASN1BitStringAsBytes(&bits) || !info.Empty() {
		return nil, errors.New("public key: not a SubjectPublicKeyInfo in DER")
	}
	return bits, nil
}

// subjectName is the DER of a Name with this commonName and, unless empty,
// this organization in front of it.
func subjectName(organization, commonName string) ([]byte, error) {
	name := pkix.Name{CommonName: commonName}
	if organization != "" {
		name.Organization = []string{organization}
	}
	der, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	return der, nil
}

// wrapSigned wraps signed octets (RFC 5280 section 4.1.1; a CertificateList
// of section 5.1.1 has the same shape).
func wrapSigned(tbs, algorithm, signature []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("signed object: %w", err)
	}
	return der, nil
}

// unwrapSigned takes apart what wrapSigned made: DER, nothing behind it.
func unwrapSigned(der []byte) (tbs, signature []byte, ok bool) {
	input := cryptobyte.String(der)
	var outer, t, algorithm cryptobyte.String
	if !input.ReadASN1(&outer, cbasn1.SEQUENCE) || !input.Empty() ||
		!outer.ReadASN1Element(&t, cbasn1.SEQUENCE) || !outer.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!outer.ReadASN1BitStringAsBytes(&signature) || !outer.Empty() {
		return nil, nil, false
	}
	return t, signature, true
}
