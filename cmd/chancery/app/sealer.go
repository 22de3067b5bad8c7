package app

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// sealer keeps the secrets of external account keys encrypted in the store
// (acme.Sealer): AES-256-GCM under a key that HKDF-SHA256 (RFC 5869) draws
// from the passphrase of the key files. Who has the database alone has no MAC
// key. There is no stretching, because the passphrase that Chancery generates
// has 256 random bits; who chooses an own one needs one as strong.
//
// Sealed form: version octet, 12 octets nonce, ciphertext with tag. The context
// is authenticated, so that a sealed secret can't be moved to another row.
// Nonces are random: 2^32 secrets under one key stay far below the bound of
// NIST SP 800-38D section 8.3, and there is a bound of 10,000 keys.
type sealer struct{ aead cipher.AEAD }

const (
	sealVersion = 1
	sealInfo    = "chancery external account keys v1"
)

func newSealer(passphrase []byte) (*sealer, error) {
	key, err := hkdf.Key(sha256.New, passphrase, nil, sealInfo, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the key for sealed secrets: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead}, nil
}

// Seal implements acme.Sealer.
func (s *sealer) Seal(secret []byte, context string) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails: crypto/rand aborts the process instead
	out := append([]byte{sealVersion}, nonce...)
	return s.aead.Seal(out, nonce, secret, []byte(context)), nil
}

// Open implements acme.Sealer.
func (s *sealer) Open(sealed []byte, context string) ([]byte, error) {
	head := 1 + s.aead.NonceSize()
	if len(sealed) < head || sealed[0] != sealVersion {
		return nil, errors.New("a sealed secret has a form that is not known")
	}
	secret, err := s.aead.Open(nil, sealed[1:head], sealed[head:], []byte(context))
	if err != nil {
		return nil, errors.New("a sealed secret can't be opened: it was sealed under another passphrase, or changed")
	}
	return secret, nil
}
