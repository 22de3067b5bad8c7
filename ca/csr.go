package ca

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds of requests.
const (
	maxCSR            = 64 << 10 // octets; 100 names of 253 characters and an RSA-8192 key are under 30 KiB
	maxNames          = 100      // of one certificate; what public CAs allow
	maxCSRAttributes  = 16       // real requests have at most four
	maxCSRExtensions  = 32
	maxSubjectEntries = 32
)

var (
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14} // RFC 2985 section 5.4.2
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidAnyEKU           = asn1.ObjectIdentifier{2, 5, 29, 37, 0}
	oidOCSPSigning      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 9}
)

// CSR is a certification request that was parsed and whose own signature was
// verified. Only ParseCSR makes one.
type CSR struct {
	raw   []byte
	spki  []byte // DER
	key   crypto.PublicKey
	names []Identifier
}

// Raw is the request's DER.
func (c *CSR) Raw() []byte { return c.raw }

// SPKI is the DER of its SubjectPublicKeyInfo.
func (c *CSR) SPKI() []byte { return c.spki }

// SPKIHash is the SHA-256 of SPKI.
func (c *CSR) SPKIHash() [32]byte { return sha256.Sum256(c.spki) }

// PublicKey is the key to be certified. It passed CheckKey.
func (c *CSR) PublicKey() crypto.PublicKey { return c.key }

// Names are the names that it asks for, each once, sorted. The caller must
// not change the slice.
func (c *CSR) Names() []Identifier { return c.names }

// csrSignatures are the algorithms that may have signed a request: none on SHA-1 or MD5.
var csrSignatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
	x509.PureEd25519,
}

// ParseCSR parses a PKCS #10 request (RFC 2986) in DER of at most 64 KiB and
// verifies its signature. Of what it asks for, only the key and the names
// count; what would make a CA, or a signer of OCSP responses, is refused, and
// all other extensions are left to the profile. The error is a *Refusal with
// BadCSR, for a key that CheckKey turns down too (RFC 8555 section 6.7).
func ParseCSR(der []byte) (*CSR, error) {
	if len(der) > maxCSR {
		return nil, badCSR("the CSR has %d octets, at most %d are accepted", len(der), maxCSR)
	}
	der = bytes.Clone(der) // what was checked can't change afterwards
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, badCSR("the CSR can't be parsed as PKCS #10 in DER (RFC 2986): %s", parseReason(err))
	}
	if req.Version != 0 { // RFC 2986 section 4.1
		return nil, badCSR("the CSR has version %d, not 0", req.Version)
	}
	// One encoding for each key (BR 7.1.3.1): no named parameters spelt out,
	// no RSASSA-PSS keys, no missing NULL. So equal keys have equal octets.
	canonical, err := x509.MarshalPKIXPublicKey(req.PublicKey)
	if err != nil || !bytes.Equal(canonical, req.RawSubjectPublicKeyInfo) {
		return nil, badCSR("the CSR's public key is of a kind that is not served, or in an unusual encoding; use RSA, ECDSA on P-256, P-384 or P-521 as a named curve, or Ed25519")
	}
	if err := CheckKey(req.PublicKey); err != nil { // before the costly signature
		return nil, badCSR("the CSR's key can't be certified: %s", err) // section 6.7: badCSR, "e.g., due to a short key"
	}
	if !slices.Contains(csrSignatures, req.SignatureAlgorithm) {
		return nil, badCSR("the CSR is signed with %s; sign it with SHA-256 or better", req.SignatureAlgorithm)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, badCSR("the CSR's signature is not by its own key")
	}
	names, err := csrNames(req)
	if err != nil {
		return nil, err
	}
	return &CSR{raw: der, spki: canonical, key: req.PublicKey, names: names}, nil
}

func badCSR(format string, args ...any) error {
	return &Refusal{Code: BadCSR, Detail: fmt.Sprintf(format, args...)}
}

// parseReason bounds what crypto/x509 says, which may repeat outside text.
func parseReason(err error) string {
	s := strings.TrimPrefix(err.Error(), "x509: ")
	return strings.Trim(quote(s), `"`)
}

// csrNames reads the names from the octets themselves: the fields of
// x509.CertificateRequest leave out what they don't know.
func csrNames(req *x509.CertificateRequest) ([]Identifier, error) {
	extensions, err := requestedExtensions(req.RawTBSCertificateRequest)
	if err != nil {
		return nil, err
	}
	var names []Identifier
	for _, ext := range extensions {
		if ext.id.Equal(oidSubjectAltName) {
			if names, err = parseSAN(ext.value); err != nil {
				return nil, err
			}
		} else if err := checkRequested(ext); err != nil {
			return nil, err
		}
	}
	if names, err = addCommonName(req.RawSubject, names); err != nil {
		return nil, err
	}
	switch {
	case len(names) == 0:
		return nil, badCSR("the CSR asks for no name; put the names into its subjectAltName")
	case len(names) > maxNames:
		return nil, badCSR("the CSR asks for %d names, at most %d are accepted", len(names), maxNames)
	}
	slices.SortFunc(names, compareIdentifiers)
	return slices.Compact(names), nil
}

// compareIdentifiers sorts by type, then by value.
func compareIdentifiers(a, b Identifier) int {
	if c := strings.Compare(string(a.typ), string(b.typ)); c != 0 {
		return c
	}
	return strings.Compare(a.value, b.value)
}

type extension struct {
	id       asn1.ObjectIdentifier
	critical bool
	value    []byte
}

var errDER = errors.New("not DER")

// requestedExtensions finds the extensions of the one extensionRequest
// attribute of a CertificationRequestInfo (RFC 2986 section 4.1).
func requestedExtensions(tbs []byte) ([]extension, error) {
	attributes, ok := readAttributes(tbs)
	if !ok {
		return nil, badCSR("the CSR's certificationRequestInfo is not DER")
	}
	var found []extension
	seen := false
	for n := 0; !attributes.Empty(); n++ {
		id, values, ok := readAttribute(&attributes)
		if !ok || n == maxCSRAttributes {
			return nil, badCSR("the CSR's attributes are not DER, or more than %d", maxCSRAttributes)
		}
		if !id.Equal(oidExtensionRequest) {
			continue // challengePassword and the like ask for nothing that is in a certificate
		}
		if seen {
			return nil, badCSR("the CSR has two extensionRequest attributes")
		}
		seen = true
		var err error
		if found, err = readExtensions(&values); err != nil || !values.Empty() {
			return nil, badCSR("the CSR's extensionRequest is not one list of at most %d different extensions", maxCSRExtensions)
		}
	}
	return found, nil
}

// readAttributes are the contents of the [0] of a CertificationRequestInfo;
// some programs leave it out when it is empty.
func readAttributes(tbs []byte) (attributes cryptobyte.String, ok bool) {
	input := cryptobyte.String(tbs)
	var info cryptobyte.String
	var present bool
	ok = input.ReadASN1(&info, cbasn1.SEQUENCE) && input.Empty() &&
		info.SkipASN1(cbasn1.INTEGER) && info.SkipASN1(cbasn1.SEQUENCE) && info.SkipASN1(cbasn1.SEQUENCE) &&
		info.ReadOptionalASN1(&attributes, &present, cbasn1.Tag(0).ContextSpecific().Constructed()) && info.Empty()
	return attributes, ok
}

// readAttribute takes one Attribute off s: its type, and what its SET holds.
func readAttribute(s *cryptobyte.String) (id asn1.ObjectIdentifier, values cryptobyte.String, ok bool) {
	var attribute cryptobyte.String
	ok = s.ReadASN1(&attribute, cbasn1.SEQUENCE) && attribute.ReadASN1ObjectIdentifier(&id) &&
		attribute.ReadASN1(&values, cbasn1.SET) && attribute.Empty()
	return id, values, ok
}

// readExtensions takes one Extensions off s (RFC 5280 section 4.1). A second
// extension of the same OID is an error (section 4.2).
func readExtensions(s *cryptobyte.String) ([]extension, error) {
	var list cryptobyte.String
	if !s.ReadASN1(&list, cbasn1.SEQUENCE) {
		return nil, errDER
	}
	var found []extension
	for !list.Empty() {
		var one, value cryptobyte.String
		var ext extension
		if len(found) == maxCSRExtensions || !list.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&ext.id) ||
			one.PeekASN1Tag(cbasn1.BOOLEAN) && !one.ReadASN1Boolean(&ext.critical) ||
			!one.ReadASN1(&value, cbasn1.OCTET_STRING) || !one.Empty() {
			return nil, errDER
		}
		ext.value = value
		if slices.ContainsFunc(found, func(e extension) bool { return e.id.Equal(ext.id) }) {
			return nil, errDER
		}
		found = append(found, ext)
	}
	return found, nil
}

// General names' tags (RFC 5280 section 4.2.1.6).
const (
	tagDNSName   = cbasn1.Tag(2) | 0x80
	tagIPAddress = cbasn1.Tag(7) | 0x80
)

var generalNames = map[cbasn1.Tag]string{
	0xa0: "an otherName", 0x81: "an rfc822Name", 0xa3: "an x400Address", 0xa4: "a directoryName",
	0xa5: "an ediPartyName", 0x86: "a URI", 0x88: "a registeredID",
}

func parseSAN(value []byte) ([]Identifier, error) {
	input := cryptobyte.String(value)
	var list cryptobyte.String
	if !input.ReadASN1(&list, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, badCSR("the CSR's subjectAltName is not DER")
	}
	var names []Identifier
	for !list.Empty() {
		var content cryptobyte.String
		var tag cbasn1.Tag
		if !list.ReadAnyASN1(&content, &tag) {
			return nil, badCSR("the CSR's subjectAltName is not DER")
		}
		if len(names) == maxNames {
			return nil, badCSR("the CSR asks for more than %d names", maxNames)
		}
		var id Identifier
		var err error
		switch tag {
		case tagDNSName:
			id, err = ParseIdentifier(string(DNS), string(content))
		case tagIPAddress:
			id, err = ipFromOctets(content)
		default:
			what, ok := generalNames[tag]
			if !ok {
				what = "a name of an unknown type"
			}
			return nil, badCSR("the CSR's subjectAltName has %s; only dNSName and iPAddress are served", what)
		}
		if err != nil {
			return nil, badCSR("the CSR's subjectAltName: %s", err)
		}
		names = append(names, id)
	}
	return names, nil
}

// ipFromOctets takes the 4 or 16 octets of an iPAddress (RFC 5280 section
// 4.2.1.6). The mapped form of IPv4 in IPv6 is refused as ParseIdentifier does.
func ipFromOctets(b []byte) (Identifier, error) {
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return Identifier{}, fmt.Errorf("an iPAddress of %d octets", len(b))
	}
	return ParseIdentifier(string(IP), addr.String())
}

// addCommonName adds the subject's commonName when the CSR has no
// subjectAltName, as old programs make them. Beside a subjectAltName the
// commonName must be one of its names. Other parts of the subject are ignored.
func addCommonName(rawSubject []byte, names []Identifier) ([]Identifier, error) {
	cn, err := commonName(rawSubject)
	if err != nil || cn == "" {
		return names, err
	}
	// An address in a commonName is a name too (BR 7.1.4.3), which
	// ParseIdentifier's "dns" would turn down.
	typ := DNS
	if _, err := netip.ParseAddr(cn); err == nil {
		typ = IP
	}
	id, err := ParseIdentifier(string(typ), cn)
	if err != nil {
		return nil, badCSR("the CSR's commonName is none of the names that it may be: %s", err)
	}
	if len(names) == 0 {
		return []Identifier{id}, nil
	}
	if !slices.Contains(names, id) {
		return nil, badCSR("the CSR's commonName %s is not in its subjectAltName", quote(cn))
	}
	return names, nil
}

// commonName finds the one commonName of a Name, "" without one.
func commonName(rawSubject []byte) (string, error) {
	input := cryptobyte.String(rawSubject)
	var subject cryptobyte.String
	if !input.ReadASN1(&subject, cbasn1.SEQUENCE) || !input.Empty() {
		return "", badCSR("the CSR's subject is not DER")
	}
	cn, seen := "", false
	for n := 0; !subject.Empty(); n++ {
		var rdn cryptobyte.String
		if n == maxSubjectEntries || !subject.ReadASN1(&rdn, cbasn1.SET) {
			return "", badCSR("the CSR's subject is not DER, or has more than %d parts", maxSubjectEntries)
		}
		for !rdn.Empty() {
			id, text, tag, ok := readNamePart(&rdn)
			if !ok {
				return "", badCSR("the CSR's subject is not DER")
			}
			if !id.Equal(oidCommonName) {
				continue
			}
			if seen {
				return "", badCSR("the CSR has two commonNames")
			}
			if !slices.Contains(nameStrings, tag) {
				return "", badCSR("the CSR's commonName is a string of a type that no name is written in")
			}
			cn, seen = string(text), true
		}
	}
	return cn, nil
}

// nameStrings are the types of strings in which programs write a name.
var nameStrings = []cbasn1.Tag{cbasn1.UTF8String, cbasn1.PrintableString, cbasn1.IA5String, cbasn1.T61String}

// readNamePart takes one AttributeTypeAndValue off s (RFC 5280 section 4.1.2.4).
func readNamePart(s *cryptobyte.String) (id asn1.ObjectIdentifier, text cryptobyte.String, tag cbasn1.Tag, ok bool) {
	var pair cryptobyte.String
	ok = s.ReadASN1(&pair, cbasn1.SEQUENCE) && pair.ReadASN1ObjectIdentifier(&id) && pair.ReadAnyASN1(&text, &tag) && pair.Empty()
	return id, text, tag, ok
}

// checkRequested refuses extensions whose wish shows that something else than
// an end-entity certificate is meant. What is left is for the profile to
// decide, and ignored when it does not know it (RFC 8555 section 7.4).
func checkRequested(ext extension) error {
	value := cryptobyte.String(ext.value)
	switch {
	case ext.id.Equal(oidBasicConstraints):
		var fields cryptobyte.String
		var isCA bool
		if !value.ReadASN1(&fields, cbasn1.SEQUENCE) || !value.Empty() || fields.PeekASN1Tag(cbasn1.BOOLEAN) && !fields.ReadASN1Boolean(&isCA) {
			return badCSR("the CSR's basicConstraints are not DER")
		}
		if isCA {
			return badCSR("the CSR asks for a CA certificate (basicConstraints)")
		}
	case ext.id.Equal(oidKeyUsage):
		var bits asn1.BitString
		if !value.ReadASN1BitString(&bits) || !value.Empty() {
			return badCSR("the CSR's keyUsage is not DER")
		}
		if bits.At(5) != 0 || bits.At(6) != 0 { // RFC 5280 section 4.2.1.3
			return badCSR("the CSR asks for keyCertSign or cRLSign, which are a CA's")
		}
	case ext.id.Equal(oidExtKeyUsage):
		return checkRequestedEKU(value)
	case ext.id.Equal(oidNameConstraints):
		return badCSR("the CSR asks for nameConstraints, which are a CA's")
	}
	return nil
}

func checkRequestedEKU(value cryptobyte.String) error {
	var list cryptobyte.String
	if !value.ReadASN1(&list, cbasn1.SEQUENCE) || !value.Empty() {
		return badCSR("the CSR's extKeyUsage is not DER")
	}
	for !list.Empty() {
		var id asn1.ObjectIdentifier
		if !list.ReadASN1ObjectIdentifier(&id) {
			return badCSR("the CSR's extKeyUsage is not DER")
		}
		if id.Equal(oidAnyEKU) || id.Equal(oidOCSPSigning) {
			return badCSR("the CSR asks for the extKeyUsage %s, which is not given to anybody", id)
		}
	}
	return nil
}
