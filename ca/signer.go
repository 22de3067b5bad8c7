package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// algorithm is how a CA key signs. The hash is tied to the kind of key, and
// the identifiers are the exact octets of BR 7.1.3.2.
type algorithm struct {
	id   []byte // DER of the AlgorithmIdentifier
	name x509.SignatureAlgorithm
	hash crypto.Hash // 0: the key hashes by itself
}

// algorithms of CA keys, by kind.
var algorithms = map[string]algorithm{
	// RFC 4055 section 5: parameters NULL.
	"rsa": {[]byte{0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00}, x509.SHA256WithRSA, crypto.SHA256},
	// RFC 5758 section 3.2: no parameters.
	"ec256": {[]byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}, x509.ECDSAWithSHA256, crypto.SHA256},
	"ec384": {[]byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}, x509.ECDSAWithSHA384, crypto.SHA384},
	"ec521": {[]byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04}, x509.ECDSAWithSHA512, crypto.SHA512},
	// RFC 8410 section 3: no parameters.
	"ed25519": {[]byte{0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70}, x509.PureEd25519, 0},
}

// sign signs octets and verifies the signature before anybody gets it: a
// faulty key store must not hand out a bad one, nor one by another key.
func (a algorithm) sign(key crypto.Signer, random io.Reader, octets []byte) ([]byte, error) {
	digest := octets
	if a.hash != 0 {
		h := a.hash.New()
		h.Write(octets)
		digest = h.Sum(nil)
	}
	if random == nil {
		random = rand.Reader
	}
	signature, err := key.Sign(random, digest, a.hash)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if err := a.verify(key.Public(), digest, signature); err != nil {
		return nil, err
	}
	return signature, nil
}

var errWrongSignature = errors.New("sign: the key store returned a signature that does not verify; nothing was issued")

// verify checks a signature over a digest (Ed25519: over the octets).
func (a algorithm) verify(pub crypto.PublicKey, digest, signature []byte) error {
	ok := false
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, digest, signature)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(pub, a.hash, digest, signature) == nil
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, digest, signature)
	}
	if !ok {
		return errWrongSignature
	}
	return nil
}

// dummySignature has the shape of a signature by this key, for linting.
func dummySignature(pub crypto.PublicKey) ([]byte, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return make([]byte, pub.Size()), nil
	case ed25519.PublicKey:
		return make([]byte, ed25519.SignatureSize), nil
	case *ecdsa.PublicKey:
		half := make([]byte, (pub.Curve.Params().BitSize+7)/8)
		half[0] = 1 // positive, and of full length
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for range 2 {
				b.AddASN1(cbasn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(half) })
			}
		})
		return b.Bytes()
	}
	return nil, fmt.Errorf("sign: no algorithm for a key of type %T", pub)
}
