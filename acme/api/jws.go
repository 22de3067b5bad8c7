package api

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"
	"slices"

	"chancery/acme"
	"chancery/acme/strict"
)

// jws is a JWS in flattened JSON serialization (RFC 7515 section 7.2.2) that
// was read and not verified.
type jws struct {
	header    header
	payload   string // decoded
	input     []byte // what is signed: protected "." payload, as they were sent
	signature []byte
}

// header is the protected header (RFC 8555 section 6.2). Exactly one of kid
// and jwk is set.
type header struct {
	alg, url string
	nonce    string
	hasNonce bool
	kid      string
	jwk      string // JSON
}

func malformed(format string, args ...any) error {
	return acme.Problemf(acme.Malformed, format, args...)
}

// readJWS reads the members of a JWS. Members that are not known are ignored
// (RFC 7515 section 7.2.1); the ones that make it another form than RFC 8555
// section 6.2 takes are refused.
func readJWS(v *strict.Value) (*jws, error) {
	if v.Kind() != strict.Object {
		return nil, malformed("A JWS must be a JSON object (flattened serialization, RFC 8555 section 6.2); it is %s.", v.Kind())
	}
	for _, name := range [...]string{"signatures", "header"} {
		if v.Member(name) != nil {
			return nil, malformed("The JWS has a member %q; it must have one signature and no unprotected header (RFC 8555 section 6.2).", name)
		}
	}
	var texts [3]string
	var decoded [3][]byte
	for i, name := range [...]string{"protected", "payload", "signature"} {
		var err error
		if texts[i], err = v.StringOf(name); err != nil {
			return nil, malformed("The JWS is not usable: %v.", err)
		}
		if decoded[i], err = strict.Base64URL(texts[i]); err != nil {
			return nil, malformed("Member %q of the JWS is %v.", name, err)
		}
	}
	h, err := readHeader(string(decoded[0]))
	if err != nil {
		return nil, err
	}
	input := make([]byte, 0, len(texts[0])+1+len(texts[1]))
	input = append(append(append(input, texts[0]...), '.'), texts[1]...)
	return &jws{header: h, payload: string(decoded[1]), input: input, signature: decoded[2]}, nil
}

func readHeader(text string) (header, error) {
	var h header
	v, err := strict.ParseObject(text)
	if err != nil {
		return h, malformed("The protected header is not usable: %v.", err)
	}
	// "crit" names extensions that a reader must understand (RFC 7515 section
	// 4.1.11); we understand none. "b64" changes what is signed (RFC 7797).
	// jku, x5u, x5c, zip and whatever else are never looked at.
	for _, name := range [...]string{"crit", "b64"} {
		if v.Member(name) != nil {
			return h, malformed("The protected header has %q, which is not supported.", name)
		}
	}
	if h.alg, err = v.StringOf("alg"); err != nil {
		return h, malformed("The protected header is not usable: %v.", err)
	}
	if h.url, err = v.StringOf("url"); err != nil {
		return h, malformed("The protected header is not usable: %v (RFC 8555 section 6.4).", err)
	}
	if err := h.readNonce(&v); err != nil {
		return h, err
	}
	return h, h.readSigner(&v)
}

func (h *header) readNonce(v *strict.Value) error {
	if v.Member("nonce") == nil {
		return nil
	}
	h.hasNonce = true
	var err error
	if h.nonce, err = v.StringOf("nonce"); err != nil {
		return malformed("The protected header is not usable: %v.", err)
	}
	// RFC 8555 section 6.5.2: what is not base64url is malformed, not badNonce.
	if _, err := strict.Base64URL(h.nonce); err != nil || h.nonce == "" || len(h.nonce) > maxNonce {
		return malformed("The nonce in the protected header must be base64url of at most %d characters.", maxNonce)
	}
	return nil
}

// readSigner reads jwk or kid; both or neither is malformed (section 6.2).
func (h *header) readSigner(v *strict.Value) error {
	jwk, kid := v.Member("jwk"), v.Member("kid")
	if (jwk == nil) == (kid == nil) {
		return malformed("The protected header must have exactly one of \"jwk\" and \"kid\" (RFC 8555 section 6.2).")
	}
	if kid != nil {
		var err error
		if h.kid, err = v.StringOf("kid"); err != nil {
			return malformed("The protected header is not usable: %v.", err)
		}
		if h.kid == "" {
			return malformed("The \"kid\" in the protected header is empty.")
		}
		return nil
	}
	if jwk.Kind() != strict.Object {
		return malformed("The \"jwk\" in the protected header must be an object, it is %s.", jwk.Kind())
	}
	h.jwk = jwk.Raw()
	return nil
}

// algorithms are the signature algorithms that are served, the ones of RFC
// 8555 section 6.2 first. The list stands in every badSignatureAlgorithm.
var algorithms = []string{"ES256", "EdDSA", "RS256", "ES384", "ES512"}

func checkAlgorithm(alg string) error {
	if slices.Contains(algorithms, alg) {
		return nil
	}
	p := acme.Problemf(acme.BadSignatureAlgorithm, "Requests can't be signed with %.20q here; use one of %q.", alg, algorithms)
	p.Algorithms = algorithms
	return p
}

// verify checks the signature with the key, whose kind and size must be the
// algorithm's own: the header never chooses what a key is used for.
func (m *jws) verify(key crypto.PublicKey) error {
	good, fits := false, false
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		fits = m.header.alg == curveAlgorithms[key.Params().BitSize]
		good = fits && verifyECDSA(key, m.header.alg, m.input, m.signature)
	case *rsa.PublicKey:
		fits = m.header.alg == "RS256"
		if fits {
			digest := sha256.Sum256(m.input)
			good = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], m.signature) == nil
		}
	case ed25519.PublicKey:
		fits = m.header.alg == "EdDSA"
		good = fits && len(m.signature) == ed25519.SignatureSize && ed25519.Verify(key, m.input, m.signature)
	}
	switch {
	case !fits:
		return malformed("Algorithm %.20q does not fit the key (RFC 7518 section 3.4: ES256 is for P-256, ES384 for P-384, ES512 for P-521; RS256 for RSA; EdDSA for Ed25519).", m.header.alg)
	case !good:
		return malformed("The signature does not verify with the key; sign \"protected.payload\" exactly as they are sent.")
	}
	return nil
}

// curveAlgorithms are the algorithms of the curves' sizes (RFC 7518 section 3.4).
var curveAlgorithms = map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}

// verifyECDSA checks a signature that is r and s one behind the other, each as
// long as the curve's order (RFC 7518 section 3.4), not DER.
func verifyECDSA(key *ecdsa.PublicKey, alg string, input, signature []byte) bool {
	size := (key.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	var digest []byte
	switch alg {
	case "ES256":
		d := sha256.Sum256(input)
		digest = d[:]
	case "ES384":
		d := sha512.Sum384(input)
		digest = d[:]
	default:
		d := sha512.Sum512(input)
		digest = d[:]
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	return ecdsa.Verify(key, digest, r, s) // refuses 0 and what is not below the order
}
