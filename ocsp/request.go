package ocsp

import (
	"encoding/asn1"
	"errors"
	"slices"

	"chancery/ca"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds of a request.
const (
	// maxRequest is the size of one in DER. One certificate with a nonce of the
	// longest kind needs 300 octets; the rest is room for a requestor's name and
	// for the signature and certificates of signed requests.
	maxRequest = 4096
	// maxNonce is the longest nonce (RFC 9654 section 2.1).
	maxNonce = 128
	// maxExtensions bounds the look for doubles. Seven are defined.
	maxExtensions = 16
)

var (
	oidNonce  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	oidSHA1   = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

// Request is a question about one certificate. Only ParseRequest makes one.
type Request struct {
	certID   []byte // DER of the CertID, as it was asked
	hash     hashKind
	name     []byte // hash of the issuer's name
	key      []byte // hash of the issuer's key
	serial   ca.Serial
	possible bool   // whether the serial number is of the form that is used here
	nonce    []byte // nil without
}

// hashKind says how a CertID names the issuer.
type hashKind int

const (
	hashOther hashKind = iota // well-formed, and nothing that is served
	hashSHA1
	hashSHA256
)

// errMalformed is the one error of ParseRequest: OCSP has no words for more,
// and whoever sends such bytes has the RFC.
var errMalformed = errors.New("not an OCSP request for one certificate")

// ParseRequest reads the DER of an OCSPRequest (RFC 6960 section 4.1.1). It
// takes exactly one certificate per request (RFC 5019 section 2.1.1). A
// signature is allowed, and not looked at: who asks does not change the answer.
// Extensions that are not known are ignored unless they are critical.
func ParseRequest(der []byte) (*Request, error) {
	if len(der) > maxRequest {
		return nil, errMalformed
	}
	in := cryptobyte.String(der)
	var outer, tbs cryptobyte.String
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		return nil, errMalformed
	}
	// optionalSignature [0] EXPLICIT Signature
	if !skipOptional(&outer, explicit(0), cbasn1.SEQUENCE) || !outer.Empty() {
		return nil, errMalformed
	}
	r := new(Request)
	if !readVersion(&tbs) || !skipOptional(&tbs, explicit(1), 0) || !r.readList(&tbs) {
		return nil, errMalformed
	}
	nonce, ok := readExtensions(&tbs, explicit(2))
	if !ok || !tbs.Empty() {
		return nil, errMalformed
	}
	if nonce != nil {
		if r.nonce, ok = readNonce(*nonce); !ok {
			return nil, errMalformed
		}
	}
	return r, nil
}

// explicit is the tag of [n] EXPLICIT.
func explicit(n uint8) cbasn1.Tag { return cbasn1.Tag(n).Constructed().ContextSpecific() }

// skipOptional skips an optional [n] EXPLICIT that holds exactly one element,
// of the type inner unless that is 0.
func skipOptional(in *cryptobyte.String, tag, inner cbasn1.Tag) bool {
	if !in.PeekASN1Tag(tag) {
		return true
	}
	var content, element cryptobyte.String
	var found cbasn1.Tag
	return in.ReadASN1(&content, tag) && content.ReadAnyASN1(&element, &found) && content.Empty() &&
		(inner == 0 || found == inner)
}

// readVersion takes v1 only. DER leaves a default value out, but one that is
// spelled out says the same.
func readVersion(tbs *cryptobyte.String) bool {
	if !tbs.PeekASN1Tag(explicit(0)) {
		return true
	}
	var content cryptobyte.String
	var version int
	return tbs.ReadASN1(&content, explicit(0)) && content.ReadASN1Integer(&version) && content.Empty() && version == 0
}

// readList reads requestList, with its one element.
func (r *Request) readList(tbs *cryptobyte.String) bool {
	var list, one cryptobyte.String
	if !tbs.ReadASN1(&list, cbasn1.SEQUENCE) || !list.ReadASN1(&one, cbasn1.SEQUENCE) || !list.Empty() {
		return false
	}
	var id cryptobyte.String
	if !one.ReadASN1Element(&id, cbasn1.SEQUENCE) || !r.readCertID(id) {
		return false
	}
	// singleRequestExtensions: a nonce has no meaning here, it is ignored.
	_, ok := readExtensions(&one, explicit(0))
	return ok && one.Empty()
}

// readCertID reads a CertID (RFC 6960 section 4.1.1). A hash or a serial number
// that is not used here is no mistake of the sender's: it may ask everybody.
func (r *Request) readCertID(id cryptobyte.String) bool {
	r.certID = slices.Clone(id)
	var content, algorithm cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !id.ReadASN1(&content, cbasn1.SEQUENCE) || !content.ReadASN1(&algorithm, cbasn1.SEQUENCE) ||
		!algorithm.ReadASN1ObjectIdentifier(&oid) {
		return false
	}
	var name, key, serial cryptobyte.String
	if !content.ReadASN1(&name, cbasn1.OCTET_STRING) || !content.ReadASN1(&key, cbasn1.OCTET_STRING) {
		return false
	}
	if !readInteger(&content, &serial) || !content.Empty() {
		return false
	}
	size := 0
	switch {
	case oid.Equal(oidSHA1):
		r.hash, size = hashSHA1, 20
	case oid.Equal(oidSHA256):
		r.hash, size = hashSHA256, 32
	}
	if r.hash != hashOther && (!noParameters(algorithm) || len(name) != size || len(key) != size) {
		return false
	}
	r.name, r.key = slices.Clone(name), slices.Clone(key)
	// Ours have one length; SerialFromBig turns negative ones down.
	if len(serial) == len(r.serial) {
		r.serial, r.possible = ca.SerialFromBig(ca.Serial(serial).BigInt())
	}
	return true
}

// readInteger reads the content octets of an INTEGER of any size and sign in
// its shortest form (X.690 section 8.3.2).
func readInteger(in, content *cryptobyte.String) bool {
	if !in.ReadASN1(content, cbasn1.INTEGER) || content.Empty() {
		return false
	}
	c := *content
	return len(c) == 1 || !(c[0] == 0 && c[1] < 0x80) && !(c[0] == 0xff && c[1] >= 0x80)
}

// noParameters: hash algorithms have absent parameters or NULL (RFC 5754 section 2).
func noParameters(rest cryptobyte.String) bool {
	if rest.Empty() {
		return true
	}
	var null cryptobyte.String
	return rest.ReadASN1(&null, cbasn1.NULL) && null.Empty() && rest.Empty()
}

// readExtensions reads optional Extensions. It returns the value of the nonce
// extension, nil if there is none, and false for a critical extension that is
// not known, an extension that is there twice, and bytes that are none.
func readExtensions(in *cryptobyte.String, tag cbasn1.Tag) (nonce *cryptobyte.String, ok bool) {
	if !in.PeekASN1Tag(tag) {
		return nil, true
	}
	var content, list cryptobyte.String
	if !in.ReadASN1(&content, tag) || !content.ReadASN1(&list, cbasn1.SEQUENCE) || !content.Empty() || list.Empty() {
		return nil, false
	}
	var seen []asn1.ObjectIdentifier
	for !list.Empty() {
		e, ok := readExtension(&list)
		if !ok || len(seen) == maxExtensions || slices.ContainsFunc(seen, e.oid.Equal) {
			return nil, false
		}
		seen = append(seen, e.oid)
		switch {
		case e.oid.Equal(oidNonce):
			nonce = &e.value
		case e.critical: // RFC 6960 section 4.4: "unless they have the critical flag set"
			return nil, false
		}
	}
	return nonce, true
}

type requestExtension struct {
	oid      asn1.ObjectIdentifier
	critical bool
	value    cryptobyte.String
}

// readExtension reads one Extension (RFC 5280 section 4.1).
func readExtension(list *cryptobyte.String) (e requestExtension, ok bool) {
	var in cryptobyte.String
	if !list.ReadASN1(&in, cbasn1.SEQUENCE) || !in.ReadASN1ObjectIdentifier(&e.oid) {
		return e, false
	}
	if in.PeekASN1Tag(cbasn1.BOOLEAN) && !in.ReadASN1Boolean(&e.critical) {
		return e, false
	}
	return e, in.ReadASN1(&e.value, cbasn1.OCTET_STRING) && in.Empty()
}

// readNonce reads Nonce ::= OCTET STRING (SIZE(1..128)). Other sizes MUST be
// rejected as malformed (RFC 9654 section 2.1); all of these are echoed.
func readNonce(value cryptobyte.String) ([]byte, bool) {
	var nonce cryptobyte.String
	if !value.ReadASN1(&nonce, cbasn1.OCTET_STRING) || !value.Empty() {
		return nil, false
	}
	if len(nonce) == 0 || len(nonce) > maxNonce {
		return nil, false
	}
	return slices.Clone(nonce), true
}
