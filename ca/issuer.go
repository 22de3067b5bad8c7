package ca

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// IssuerConfig is what NewIssuer needs.
type IssuerConfig struct {
	// Chain is the issuer's certificate, then that of its issuer and so on,
	// with or without the root at its end.
	Chain []*x509.Certificate
	// Alternates are other chains, each from a certificate of the same
	// subject and key upwards (RFC 8555 section 7.4.2).
	Alternates [][]*x509.Certificate
	// Key signs; its public half must be the certificate's.
	Key crypto.Signer
	// PublishURL is the publish listener's, "http://host:port" without a
	// slash behind it. The pointers in certificates are made from it.
	PublishURL string
}

// maxChain bounds a chain: each certificate in it costs every client at every handshake.
const maxChain = 8

// Issuer is a CA certificate with its key: it signs what package ca prepared,
// CRLs and OCSP responses, and nothing else. It is safe for concurrent use if
// its key is.
type Issuer struct {
	chain      []*x509.Certificate
	key        crypto.Signer
	algorithm  algorithm
	id         string
	publishURL string
	pems       [][]byte // of each chain, without the leaf and without the root
	names      constraints
	keyHash    []byte // SHA-1 of the public key's bits: responderID of OCSP
}

// NewIssuer checks that the certificates are a CA's, form chains, and belong
// to the key. It does not look at the clock: see Authority.Verify.
func NewIssuer(c IssuerConfig) (*Issuer, error) {
	if len(c.Chain) == 0 || c.Key == nil {
		return nil, errors.New("issuer: certificate and key are needed")
	}
	cert := c.Chain[0]
	i := &Issuer{chain: slices.Clone(c.Chain), key: c.Key, publishURL: c.PublishURL}
	if err := checkIssuerCertificate(cert); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", quote(cert.Subject.String()), err)
	}
	if err := matchKey(cert, c.Key); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", quote(cert.Subject.String()), err)
	}
	i.algorithm = algorithms[keyKind(c.Key.Public())]
	i.id = IssuerID(cert)
	if err := checkPublishURL(c.PublishURL); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", quote(cert.Subject.String()), err)
	}
	for n, chain := range append([][]*x509.Certificate{c.Chain}, c.Alternates...) {
		encoded, err := i.encodeChain(chain)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: chain %d: %w", quote(cert.Subject.String()), n, err)
		}
		i.pems = append(i.pems, encoded)
	}
	var err error
	if i.names, err = newConstraints(c.Chain); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", quote(cert.Subject.String()), err)
	}
	bits, err := publicKeyBits(cert.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(bits) // an identifier that RFC 6960 section 4.2.1 fixes, no protection
	i.keyHash = sum[:]
	return i, nil
}

// checkIssuerCertificate says whether it is one that may issue and sign CRLs
// (RFC 5280 sections 4.2.1.3 and 4.2.1.9).
func checkIssuerCertificate(cert *x509.Certificate) error {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return errors.New("its certificate is no CA certificate (basicConstraints)")
	case cert.KeyUsage&x509.KeyUsageCertSign == 0 || cert.KeyUsage&x509.KeyUsageCRLSign == 0:
		return errors.New("its certificate lacks keyCertSign or cRLSign (keyUsage)")
	case len(cert.SubjectKeyId) < 8:
		return errors.New("its certificate has no subjectKeyIdentifier of at least 8 octets")
	case len(cert.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("its certificate has the critical extension %s, which is not known here", cert.UnhandledCriticalExtensions[0])
	case bytes.Equal(cert.RawSubject, emptyName):
		return errors.New("its certificate has an empty subject")
	}
	return nil
}

func matchKey(cert *x509.Certificate, key crypto.Signer) error {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("its key: %w", err)
	}
	if !bytes.Equal(spki, cert.RawSubjectPublicKeyInfo) {
		return errors.New("its certificate is for another key than the one that was opened")
	}
	if err := CheckKey(key.Public()); err != nil {
		return fmt.Errorf("its key: %w", err)
	}
	return nil
}

// checkPublishURL: http, because HTTPS would need the very certificates that
// are being checked (RFC 5280 section 8); BR 7.1.2.11.2 too.
func checkPublishURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http":
		return fmt.Errorf("publish URL %s is not of the form http://host[:port]", quote(s))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || len(s) > 512:
		return fmt.Errorf("publish URL %s has more than a host, or is too long", quote(s))
	case !isASCII(s) || s[len(s)-1] == '/':
		return fmt.Errorf("publish URL %s ends with a slash or is not ASCII", quote(s))
	}
	return nil
}

// encodeChain checks a chain and writes the part of it that clients get behind
// the leaf: without a root, which they have (RFC 8555 section 9.1).
func (i *Issuer) encodeChain(chain []*x509.Certificate) ([]byte, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("has %d certificates; 1 to %d are possible", len(chain), maxChain)
	}
	first := chain[0]
	if !bytes.Equal(first.RawSubjectPublicKeyInfo, i.chain[0].RawSubjectPublicKeyInfo) || !bytes.Equal(first.RawSubject, i.chain[0].RawSubject) ||
		!bytes.Equal(first.SubjectKeyId, i.chain[0].SubjectKeyId) {
		return nil, errors.New("does not begin with a certificate of the issuer's subject and key")
	}
	var out bytes.Buffer
	for n, cert := range chain {
		if n+1 < len(chain) {
			if err := cert.CheckSignatureFrom(chain[n+1]); err != nil {
				return nil, fmt.Errorf("certificate %d is not signed by the next: %w", n, err)
			}
		}
		if bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			continue
		}
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// ID is the first 16 hexadecimal digits of the subject key identifier, lower case.
func (i *Issuer) ID() string { return i.id }

// Certificate is its certificate.
func (i *Issuer) Certificate() *x509.Certificate { return i.chain[0] }

// Chain is its certificate and those above it, as configured.
func (i *Issuer) Chain() []*x509.Certificate { return slices.Clone(i.chain) }

// CRLURL is where the CRL of a shard is published. Shard 0 is the whole
// issuer's as long as there is only one.
func (i *Issuer) CRLURL(shard int) string {
	if shard == 0 {
		return i.publishURL + "/crl/" + i.id + ".crl"
	}
	return fmt.Sprintf("%s/crl/%s/%d.crl", i.publishURL, i.id, shard)
}

// OCSPURL is the OCSP responder's.
func (i *Issuer) OCSPURL() string { return i.publishURL + "/ocsp" }

// CAIssuersURL is where its certificate is published in DER.
func (i *Issuer) CAIssuersURL() string { return i.publishURL + "/issuer/" + i.id + ".der" }

// SignatureAlgorithm is the DER of the AlgorithmIdentifier that goes into a
// TBSCertList or a BasicOCSPResponse that it signs.
func (i *Issuer) SignatureAlgorithm() []byte { return bytes.Clone(i.algorithm.id) }

// SignCRL signs a whole TBSCertList (RFC 5280 section 5.1.2) and returns the
// CertificateList. It refuses what is no CRL of this issuer: the octets must
// begin with version 2, the issuer's algorithm, and the issuer's name, so that
// no certificate can be signed this way.
func (i *Issuer) SignCRL(tbs []byte) (der []byte, err error) {
	input := cryptobyte.String(tbs)
	var list, algorithm, name cryptobyte.String
	var version int64
	switch {
	case !input.ReadASN1(&list, cbasn1.SEQUENCE) || !input.Empty() || !list.ReadASN1Integer(&version) || version != 1 ||
		!list.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) || !list.ReadASN1Element(&name, cbasn1.SEQUENCE):
		return nil, errors.New("sign CRL: not a TBSCertList of version 2")
	case !bytes.Equal(algorithm, i.algorithm.id):
		return nil, errors.New("sign CRL: its signature algorithm is not the issuer's")
	case !bytes.Equal(name, i.chain[0].RawSubject):
		return nil, errors.New("sign CRL: its issuer is another one")
	}
	signature, err := i.algorithm.sign(i.key, nil, tbs)
	if err != nil {
		return nil, fmt.Errorf("CRL: %w", err)
	}
	return wrapSigned(tbs, i.algorithm.id, signature)
}

// SignOCSP signs a ResponseData (RFC 6960 section 4.2.1) and returns the
// signature's octets. It refuses octets that do not begin with this issuer as
// responderID: a certificate or CRL has an INTEGER there.
func (i *Issuer) SignOCSP(tbsResponseData []byte) (signature []byte, err error) {
	input := cryptobyte.String(tbsResponseData)
	var data, responder, id cryptobyte.String
	var tag cbasn1.Tag
	version := cbasn1.Tag(0).ContextSpecific().Constructed()
	if !input.ReadASN1(&data, cbasn1.SEQUENCE) || !input.Empty() || !data.SkipOptionalASN1(version) || !data.ReadAnyASN1(&responder, &tag) {
		return nil, errors.New("sign OCSP: not a ResponseData")
	}
	own := false
	switch tag {
	case cbasn1.Tag(1).ContextSpecific().Constructed(): // byName
		own = bytes.Equal(responder, i.chain[0].RawSubject)
	case cbasn1.Tag(2).ContextSpecific().Constructed(): // byKey
		own = responder.ReadASN1(&id, cbasn1.OCTET_STRING) && responder.Empty() && bytes.Equal(id, i.keyHash)
	}
	var producedAt, responses cryptobyte.String
	if !own || !data.ReadASN1(&producedAt, cbasn1.GeneralizedTime) || !data.ReadASN1(&responses, cbasn1.SEQUENCE) {
		return nil, errors.New("sign OCSP: not a ResponseData of this issuer")
	}
	signature, err = i.algorithm.sign(i.key, nil, tbsResponseData)
	if err != nil {
		return nil, fmt.Errorf("OCSP response: %w", err)
	}
	return signature, nil
}
