package acme

import "crypto"

// Key is an account's public key in its one normal form, made only by
// ParseKey. The zero Key is no key.
type Key struct {
	public crypto.PublicKey
	jwk    string   // canonical JSON of the required members (RFC 7638 section 3.2)
	spki   [32]byte // SHA-256 of the SubjectPublicKeyInfo's DER
}
