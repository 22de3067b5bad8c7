// Package keystore opens signing keys. A key is a [Key]: a crypto.Signer with
// an ID, found by a URI whose scheme says where it is kept:
//
//	file:PATH  PKCS #8 in PEM, encrypted (PBES2), in a file that only its owner can read
//
// Private keys never leave this package: there is no way to export one, and no
// error holds a passphrase or part of a key. Each kind of store passes the
// suite in keystoretest.
package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Key is a signing key in its store. It is safe for concurrent use.
type Key interface {
	crypto.Signer
	ID() string // lower-case hexadecimal of the first 16 octets of SHA-256(SubjectPublicKeyInfo)
}

// KeyKind is a kind of key that Create can make.
type KeyKind string

// The kinds of keys. EC256 is the default of Chancery.
const (
	EC256   KeyKind = "ec256" // ECDSA on P-256, and so on
	EC384   KeyKind = "ec384"
	EC521   KeyKind = "ec521"
	RSA2048 KeyKind = "rsa2048"
	RSA3072 KeyKind = "rsa3072"
	RSA4096 KeyKind = "rsa4096"
	Ed25519 KeyKind = "ed25519" // RFC 8032
)

// Kinds are all kinds of keys, the default first.
func Kinds() []KeyKind {
	return []KeyKind{EC256, EC384, EC521, RSA2048, RSA3072, RSA4096, Ed25519}
}

// ParseKeyKind reads the name of a kind, as it stands in configurations.
func ParseKeyKind(s string) (KeyKind, error) {
	if kind := KeyKind(s); slices.Contains(Kinds(), kind) {
		return kind, nil
	}
	return "", fmt.Errorf("key kind %.20q is unknown; known are %q", s, Kinds())
}

// ErrPassphrase says that a key could not be decrypted: the passphrase is
// wrong, or the file is damaged; the encryption can't tell which.
var ErrPassphrase = errors.New("wrong passphrase, or the key is damaged")

// A backend is one kind of store; rest is what stands behind "scheme:".
type backend struct {
	open   func(rest string, passphrase []byte) (crypto.Signer, error)
	create func(rest string, kind KeyKind, passphrase []byte) (crypto.Signer, error)
}

var backends = map[string]backend{
	"file": {openFile, createFile},
}

// Open opens the key at a URI. An error that there is none is fs.ErrNotExist.
func Open(uri string, passphrase []byte) (Key, error) {
	b, rest, err := find(uri)
	if err != nil {
		return nil, err
	}
	signer, err := b.open(rest, passphrase)
	if err != nil {
		return nil, fmt.Errorf("open key %.200q: %w", uri, err)
	}
	return newKey(uri, signer)
}

// Create makes a new key at a URI and opens it. It never overwrites: where
// there is anything already, the error is fs.ErrExist.
func Create(uri string, kind KeyKind, passphrase []byte) (Key, error) {
	b, rest, err := find(uri)
	if err != nil {
		return nil, err
	}
	if _, err := ParseKeyKind(string(kind)); err != nil {
		return nil, err
	}
	signer, err := b.create(rest, kind, passphrase)
	if err != nil {
		return nil, fmt.Errorf("create key %.200q: %w", uri, err)
	}
	return newKey(uri, signer)
}

func find(uri string) (backend, string, error) {
	scheme, rest, ok := strings.Cut(uri, ":")
	b, known := backends[scheme]
	if !ok || !known || rest == "" {
		return backend{}, "", fmt.Errorf("key %.200q: not a place for keys that is served here; use file:PATH", uri)
	}
	return b, rest, nil
}

type key struct {
	crypto.Signer
	id string
}

func (k *key) ID() string { return k.id }

// String keeps the private key out of whatever prints a Key.
func (k *key) String() string { return "key " + k.id }

// GoString is for %#v.
func (k *key) GoString() string { return k.String() }

func newKey(uri string, signer crypto.Signer) (Key, error) {
	id, err := ID(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("key %.200q: %w", uri, err)
	}
	return &key{signer, id}, nil
}

// ID is the identifier of a public key, as Key.ID gives it.
func ID(pub crypto.PublicKey) (string, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:16]), nil
}

// generate makes a key in the memory of this process.
func generate(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case EC256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EC384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case EC521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case Ed25519:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("key kind %.20q is unknown", kind)
}
