package ca

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Validity of CA certificates, and limits of it (BR 7.1.2.1.1 has 8 to 25
// years for roots).
const (
	rootValidity         = 20 * 365 * day
	intermediateValidity = 8 * 365 * day
	maxCAValidity        = 25 * 366 * day
	rootCRLValidity      = 365 * day // the root is offline: BR 7.2.1 allows 12 months for a CRL of CAs
	// caBackdate: leaves are backdated a little, and must not begin before
	// their issuer does. R25 allows a day for CA certificates.
	caBackdate = time.Hour
	// maxCAName leaves room for " Intermediate CA" in the 64 characters of a
	// commonName.
	maxCAName = 40
)

// RootSpec is what NewRoot needs.
type RootSpec struct {
	Name     string        // of the CA, 1 to 40 characters, e.g. "Example"
	Key      crypto.Signer // of the root
	Now      time.Time
	Validity time.Duration // zero: 20 years
	Random   io.Reader     // nil: crypto/rand
}

// NewRoot makes a self-signed root certificate: subject "O=NAME, CN=NAME Root
// CA", critical basicConstraints without path length and keyUsage, and no
// extKeyUsage, which limits no root (BR 7.1.2.1.2). Linted before signing.
func NewRoot(spec RootSpec) (*x509.Certificate, error) {
	if spec.Key == nil {
		return nil, errors.New("root: a key is needed")
	}
	t, err := caTemplate(caSpec{spec.Name, "Root CA", spec.Key.Public(), spec.Now, spec.Validity, rootValidity, spec.Random})
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	t.maxPath = -1
	t.issuer = t.subject
	if t.authority, err = keyIdentifier(t.spki); err != nil { // BR 7.1.2.1.3: recommended, equal to the subject's
		return nil, fmt.Errorf("root: %w", err)
	}
	return signCA(t, spec.Key, spec.Random)
}

// IntermediateSpec is what NewIntermediate needs.
type IntermediateSpec struct {
	Name       string            // of the CA, as of the root
	Public     crypto.PublicKey  // of the intermediate
	Root       *x509.Certificate // that issues it
	RootKey    crypto.Signer
	PublishURL string // where the root's certificate and CRL are published, as IssuerConfig's
	Now        time.Time
	Validity   time.Duration // zero: 8 years, or the rest of the root's
	Random     io.Reader     // nil: crypto/rand
}

// NewIntermediate makes the certificate of a CA that issues to end entities
// only: path length 0, extKeyUsage serverAuth and clientAuth. With it a lost
// intermediate can't sign code or e-mail; another purpose gets another
// intermediate. It points to the root's certificate at
// PublishURL/issuer/ROOT.der and to its CRL at PublishURL/crl/ROOT.crl, ROOT
// being IssuerID of the root. Linted before signing.
func NewIntermediate(spec IntermediateSpec) (*x509.Certificate, error) {
	if spec.Root == nil || spec.RootKey == nil {
		return nil, errors.New("intermediate: the root's certificate and key are needed")
	}
	if err := checkIssuerCertificate(spec.Root); err != nil {
		return nil, fmt.Errorf("intermediate: the root: %w", err)
	}
	if err := matchKey(spec.Root, spec.RootKey); err != nil {
		return nil, fmt.Errorf("intermediate: the root: %w", err)
	}
	if err := checkPublishURL(spec.PublishURL); err != nil {
		return nil, fmt.Errorf("intermediate: %w", err)
	}
	t, err := caTemplate(caSpec{spec.Name, "Intermediate CA", spec.Public, spec.Now, spec.Validity, intermediateValidity, spec.Random})
	if err != nil {
		return nil, fmt.Errorf("intermediate: %w", err)
	}
	if t.notAfter.After(spec.Root.NotAfter) {
		if spec.Validity != 0 {
			return nil, fmt.Errorf("intermediate: it would end after the root, at %s", stamp(spec.Root.NotAfter))
		}
		t.notAfter = spec.Root.NotAfter.UTC()
	}
	if t.notBefore.Before(spec.Root.NotBefore) {
		t.notBefore = spec.Root.NotBefore.UTC()
	}
	t.issuer = spec.Root.RawSubject
	t.authority = spec.Root.SubjectKeyId
	t.extUsages = []asn1.ObjectIdentifier{oidServerAuth, oidClientAuth}
	t.issuersURL = spec.PublishURL + "/issuer/" + IssuerID(spec.Root) + ".der"
	t.crlURL = spec.PublishURL + "/crl/" + IssuerID(spec.Root) + ".crl"
	return signCA(t, spec.RootKey, spec.Random)
}

// IssuerID is the ID of the issuer with this certificate: the first 16
// hexadecimal digits of its subject key identifier, or "" without one.
func IssuerID(cert *x509.Certificate) string {
	if len(cert.SubjectKeyId) < 8 {
		return ""
	}
	return fmt.Sprintf("%x", cert.SubjectKeyId[:8])
}

type caSpec struct {
	name, role string
	public     crypto.PublicKey
	now        time.Time
	validity   time.Duration
	standard   time.Duration
	random     io.Reader
}

func caTemplate(s caSpec) (*template, error) {
	if err := checkCAName(s.name); err != nil {
		return nil, err
	}
	if err := CheckKey(s.public); err != nil {
		return nil, err
	}
	if s.validity == 0 {
		s.validity = s.standard
	}
	if s.validity < day || s.validity > maxCAValidity || s.validity%time.Second != 0 {
		return nil, fmt.Errorf("validity %s is not between a day and 25 years, in whole seconds", s.validity)
	}
	spki, err := x509.MarshalPKIXPublicKey(s.public)
	if err != nil {
		return nil, err
	}
	if s.random == nil {
		s.random = rand.Reader
	}
	serial, err := NewSerial(s.now, s.random)
	if err != nil {
		return nil, err
	}
	subject, err := subjectName(s.name, s.name+" "+s.role)
	if err != nil {
		return nil, err
	}
	from := s.now.UTC().Truncate(time.Second).Add(-caBackdate)
	return &template{
		serial:    serial[:],
		notBefore: from,
		notAfter:  from.Add(s.validity - time.Second), // both ends count
		subject:   subject,
		spki:      spki,
		isCA:      true,
		keyUsage:  keyCertSign | cRLSign,
	}, nil
}

func checkCAName(name string) error {
	if !utf8.ValidString(name) || utf8.RuneCountInString(name) < 1 || utf8.RuneCountInString(name) > maxCAName || strings.TrimSpace(name) != name {
		return fmt.Errorf("name %s is not of 1 to %d characters, without blanks around them", quote(name), maxCAName)
	}
	for _, r := range name {
		// These would need escapes in the texts that programs make of a Name.
		if r < ' ' || r == 0x7f || strings.ContainsRune(`<>&"\,+;=#`, r) {
			return fmt.Errorf("name %s has the character %+q, which names of CAs do without", quote(name), r)
		}
	}
	return nil
}

// signCA lints and signs the certificate of a CA (I40: the same gate as for leaves).
func signCA(t *template, key crypto.Signer, random io.Reader) (*x509.Certificate, error) {
	alg, ok := algorithms[keyKind(key.Public())]
	if !ok {
		return nil, fmt.Errorf("sign: no algorithm for a key of type %T", key.Public())
	}
	t.algorithm = alg.id
	tbs, err := t.encode()
	if err != nil {
		return nil, err
	}
	dummy, err := dummySignature(key.Public())
	if err != nil {
		return nil, err
	}
	lintDER, err := wrapSigned(tbs, alg.id, dummy)
	if err != nil {
		return nil, err
	}
	if err := lintRefusal(lintDER); err != nil {
		return nil, err
	}
	signature, err := alg.sign(key, random, tbs)
	if err != nil {
		return nil, err
	}
	der, err := wrapSigned(tbs, alg.id, signature)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(cert.RawTBSCertificate, tbs) {
		return nil, errors.New("sign: what was signed is not what was linted; nothing was issued")
	}
	return cert, checkIssuerCertificate(cert)
}

// RootCRL signs a CRL of the root that revokes nothing, for the time in which
// the root's key is away: thisUpdate is now, nextUpdate lies validity (zero: a
// year) later. number must grow from one CRL of this root to the next (RFC
// 5280 section 5.2.3).
func RootCRL(root *x509.Certificate, key crypto.Signer, number int64, now time.Time, validity time.Duration) ([]byte, error) {
	if validity == 0 {
		validity = rootCRLValidity
	}
	if number < 1 || validity < time.Hour || validity > rootCRLValidity {
		return nil, fmt.Errorf("root CRL: number %d is below 1, or validity %s is not between an hour and a year", number, validity)
	}
	if err := checkIssuerCertificate(root); err != nil {
		return nil, fmt.Errorf("root CRL: %w", err)
	}
	if err := matchKey(root, key); err != nil {
		return nil, fmt.Errorf("root CRL: %w", err)
	}
	alg := algorithms[keyKind(key.Public())]
	tbs, err := emptyCRL(root, alg, number, now.UTC().Truncate(time.Second), validity)
	if err != nil {
		return nil, err
	}
	signature, err := alg.sign(key, nil, tbs)
	if err != nil {
		return nil, fmt.Errorf("root CRL: %w", err)
	}
	return wrapSigned(tbs, alg.id, signature)
}

// emptyCRL is a TBSCertList (RFC 5280 section 5.1.2) without entries: the list
// itself is then absent (section 5.1.2.6).
func emptyCRL(root *x509.Certificate, alg algorithm, number int64, now time.Time, validity time.Duration) ([]byte, error) {
	crlNumber := asn1.ObjectIdentifier{2, 5, 29, 20}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1) // v2
		b.AddBytes(alg.id)
		b.AddBytes(root.RawSubject)
		addTime(b, now)
		addTime(b, now.Add(validity))
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addExtension(b, oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(root.SubjectKeyId) })
					})
				})
				addExtension(b, crlNumber, false, func(b *cryptobyte.Builder) { b.AddASN1Int64(number) })
			})
		})
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("root CRL: %w", err)
	}
	return tbs, nil
}
