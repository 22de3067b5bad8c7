package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"

	"chancery/acme/strict"
	"chancery/ca"
)

// Key is an account's public key in its one normal form, made only by
// ParseKey and RestoreKey. The zero Key is no key.
type Key struct {
	public crypto.PublicKey
	jwk    string   // canonical JSON of the required members (RFC 7638 section 3.2)
	spki   [32]byte // SHA-256 of the SubjectPublicKeyInfo's DER
}

// maxJWK bounds the text of a JWK, in octets: an RSA key of 16,384 bits, which
// deserves to be told that it is too long, has 2,800.
const maxJWK = 8192

// ParseKey reads a JWK (RFC 7517) from outside and checks that the key may be
// used here, by the rules that certificates' keys are under (ca.CheckKey).
// What is no public JWK in its one spelling is a *Problem of kind Malformed,
// and what is one but may not be used, of kind BadPublicKey.
func ParseKey(jwk []byte) (Key, error) {
	k, err := readKey(string(jwk))
	if err != nil {
		return Key{}, err
	}
	if err := ca.CheckKey(k.public); err != nil {
		if refusal, ok := errors.AsType[*ca.Refusal](err); ok {
			return Key{}, Problemf(BadPublicKey, "The account key may not be used: %s", refusal.Detail)
		}
		return Key{}, err
	}
	return k, nil
}

// RestoreKey reads what JWK returned, as a store kept it: without the rules of
// ca.CheckKey, which it passed at the door, so that an account stays readable
// when the rules grow stricter (and each request is spared their cost).
func RestoreKey(jwk string) (Key, error) { return readKey(jwk) }

// Public is an *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey.
func (k Key) Public() crypto.PublicKey { return k.public }

// JWK is the canonical text: only the required members, in order, no space
// (RFC 7638 section 3).
func (k Key) JWK() string { return k.jwk }

// Thumbprint is the base64url SHA-256 of JWK (RFC 7638), as key authorizations
// hold it (RFC 8555 section 8.1).
func (k Key) Thumbprint() string {
	sum := sha256.Sum256([]byte(k.jwk))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// SPKI is the SHA-256 of the SubjectPublicKeyInfo's DER, by which stores find keys.
func (k Key) SPKI() [32]byte { return k.spki }

// IsZero says that there is no key.
func (k Key) IsZero() bool { return k.public == nil }

func malformedKey(format string, args ...any) error {
	return Problemf(Malformed, "The JWK is not usable: "+format, args...)
}

func badKey(format string, args ...any) error {
	return Problemf(BadPublicKey, "The account key may not be used: "+format, args...)
}

func readKey(jwk string) (Key, error) {
	if len(jwk) > maxJWK {
		return Key{}, malformedKey("it has %d octets, at most %d are read.", len(jwk), maxJWK)
	}
	v, err := strict.ParseObject(jwk)
	if err != nil {
		return Key{}, malformedKey("%v.", err)
	}
	kty, err := v.StringOf("kty")
	if err != nil {
		return Key{}, malformedKey("%v.", err)
	}
	if kty == "oct" {
		return Key{}, badKey("a symmetric key (oct) can't be an account's; send an EC, RSA or Ed25519 public key.")
	}
	// RFC 7518 sections 6.2.2 and 6.3.2. Who sends one of these has told us a
	// secret; a client that does so must be stopped, not served.
	for _, private := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if v.Member(private) != nil {
			return Key{}, malformedKey("member %q belongs to a private key; send the public part only, and make a new key.", private)
		}
	}
	var k Key
	switch kty {
	case "EC":
		k.public, k.jwk, err = readEC(&v)
	case "RSA":
		k.public, k.jwk, err = readRSA(&v)
	case "OKP":
		k.public, k.jwk, err = readOKP(&v)
	default:
		err = badKey("key type %.20q is not served; EC, RSA and OKP are.", kty)
	}
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return Key{}, badKey("it can't be written as a SubjectPublicKeyInfo.")
	}
	k.spki = sha256.Sum256(der)
	return k, nil
}

// octets is a member that holds base64url of exactly size octets, of any
// number if size is 0, with its text.
func octets(v *strict.Value, name string, size int) ([]byte, string, error) {
	text, err := v.StringOf(name)
	if err != nil {
		return nil, "", malformedKey("%v.", err)
	}
	b, err := strict.Base64URL(text)
	if err != nil {
		return nil, "", malformedKey("member %q is %v.", name, err)
	}
	if size != 0 && len(b) != size {
		return nil, "", malformedKey("member %q has %d octets, it must have %d.", name, len(b), size)
	}
	return b, text, nil
}

// readEC reads an elliptic curve key. The coordinates always have the full
// length of the field (RFC 7518 section 6.2.1.2), so that a key has one JWK.
func readEC(v *strict.Value) (crypto.PublicKey, string, error) {
	crv, err := v.StringOf("crv")
	if err != nil {
		return nil, "", malformedKey("%v.", err)
	}
	var curve elliptic.Curve
	switch crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, "", badKey("curve %.20q is not served; P-256, P-384 and P-521 are.", crv)
	}
	size := (curve.Params().BitSize + 7) / 8
	x, xText, err := octets(v, "x", size)
	if err != nil {
		return nil, "", err
	}
	y, yText, err := octets(v, "y", size)
	if err != nil {
		return nil, "", err
	}
	point := make([]byte, 0, 1+2*size)
	point = append(append(append(point, 4), x...), y...) // SEC 1 section 2.3.3, uncompressed
	// It checks that both are below p and the point is on the curve; infinity
	// has no such form. The curves have prime order, so nothing more is needed.
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, "", badKey("x and y are no point of curve %s.", crv)
	}
	return public, `{"crv":"` + crv + `","kty":"EC","x":"` + xText + `","y":"` + yText + `"}`, nil
}

// readRSA reads an RSA key. Its numbers have no leading zero octets
// (Base64urlUInt, RFC 7518 section 2), so that a key has one JWK.
func readRSA(v *strict.Value) (crypto.PublicKey, string, error) {
	n, nText, err := octets(v, "n", 0)
	if err != nil {
		return nil, "", err
	}
	e, eText, err := octets(v, "e", 0)
	if err != nil {
		return nil, "", err
	}
	if len(n) == 0 || n[0] == 0 || len(e) == 0 || e[0] == 0 {
		return nil, "", malformedKey("n and e must not be empty nor begin with a zero octet.")
	}
	if len(e) > 4 {
		return nil, "", badKey("its RSA exponent has more than 32 bits; 65537 is what clients use.")
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	for _, octet := range e {
		public.E = public.E<<8 | int(octet)
	}
	return public, `{"e":"` + eText + `","kty":"RSA","n":"` + nText + `"}`, nil
}

// readOKP reads an Ed25519 key (RFC 8037 section 2).
func readOKP(v *strict.Value) (crypto.PublicKey, string, error) {
	crv, err := v.StringOf("crv")
	if err != nil {
		return nil, "", malformedKey("%v.", err)
	}
	if crv != "Ed25519" {
		return nil, "", badKey("curve %.20q is not served; Ed25519 is.", crv)
	}
	x, text, err := octets(v, "x", ed25519.PublicKeySize)
	if err != nil {
		return nil, "", err
	}
	return ed25519.PublicKey(x), `{"crv":"Ed25519","kty":"OKP","x":"` + text + `"}`, nil
}
