// Package keystoretest is the suite that every kind of key store passes. A new
// backend calls [Run] in its test with a way to make a fresh place for a key.
package keystoretest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"chancery/ca/keystore"
)

// Backend is a kind of key store under test.
type Backend struct {
	Kinds      []keystore.KeyKind        // that it can make
	Passphrase []byte                    // that it is opened with
	NewURI     func(t *testing.T) string // a place where there is no key yet
}

// Run checks what keystore.Key, Open and Create promise.
func Run(t *testing.T, b Backend) {
	for _, kind := range b.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			uri := b.NewURI(t)
			created, err := keystore.Create(uri, kind, b.Passphrase)
			if err != nil {
				t.Fatal(err)
			}
			checkID(t, created)
			checkSignatures(t, created)
			opened, err := keystore.Open(uri, b.Passphrase)
			if err != nil {
				t.Fatal(err)
			}
			if opened.ID() != created.ID() || !samePublic(opened, created) {
				t.Errorf("opened key %s, created %s", opened.ID(), created.ID())
			}
			checkTogether(t, opened)
			checkSilent(t, opened, b.Passphrase)
			checkNoOverwrite(t, b, uri, kind, opened)
		})
	}
	t.Run("missing", func(t *testing.T) {
		if _, err := keystore.Open(b.NewURI(t), b.Passphrase); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening a key that is not there: %v", err)
		}
	})
	t.Run("wrong passphrase", func(t *testing.T) {
		uri := b.NewURI(t)
		if _, err := keystore.Create(uri, b.Kinds[0], b.Passphrase); err != nil {
			t.Fatal(err)
		}
		wrong := []byte("Wr0ng-passphrase")
		_, err := keystore.Open(uri, wrong)
		if !errors.Is(err, keystore.ErrPassphrase) {
			t.Errorf("a wrong passphrase: %v", err)
		} else if strings.Contains(err.Error(), string(wrong)) {
			t.Errorf("the error repeats the passphrase: %v", err)
		}
	})
}

func samePublic(a, b keystore.Key) bool {
	pub, ok := a.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && pub.Equal(b.Public())
}

// checkID computes the ID as its definition says.
func checkID(t *testing.T, k keystore.Key) {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	if want := hex.EncodeToString(sum[:16]); k.ID() != want {
		t.Errorf("ID %s, want %s", k.ID(), want)
	}
}

// checkSignatures makes signatures with each hash that CAs use with the key.
func checkSignatures(t *testing.T, k keystore.Key) {
	t.Helper()
	message := []byte("to be signed")
	sha2 := map[crypto.Hash][]byte{}
	s256, s384, s512 := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	sha2[crypto.SHA256], sha2[crypto.SHA384], sha2[crypto.SHA512] = s256[:], s384[:], s512[:]
	if _, ok := k.Public().(ed25519.PublicKey); ok {
		sha2 = map[crypto.Hash][]byte{0: message}
	}
	for hash, digest := range sha2 {
		signature, err := k.Sign(rand.Reader, digest, hash)
		if err != nil {
			t.Errorf("sign with %v: %v", hash, err)
			continue
		}
		if !verifies(k.Public(), hash, digest, signature) {
			t.Errorf("the signature with %v does not verify", hash)
		}
	}
}

func verifies(pub crypto.PublicKey, hash crypto.Hash, digest, signature []byte) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, digest, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, hash, digest, signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(pub, digest, signature)
	}
	return false
}

// checkTogether uses the key from several goroutines.
func checkTogether(t *testing.T, k keystore.Key) {
	t.Helper()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { checkSignatures(t, k) })
	}
	wg.Wait()
}

// checkSilent: what prints a key prints no secret.
func checkSilent(t *testing.T, k keystore.Key, passphrase []byte) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(verb, k)
		if len(text) > 100 || !strings.Contains(text, k.ID()) || bytes.Contains([]byte(text), passphrase) {
			t.Errorf("%s prints %q", verb, text)
		}
	}
}

func checkNoOverwrite(t *testing.T, b Backend, uri string, kind keystore.KeyKind, before keystore.Key) {
	t.Helper()
	if _, err := keystore.Create(uri, kind, b.Passphrase); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating a key where there is one: %v", err)
	}
	after, err := keystore.Open(uri, b.Passphrase)
	if err != nil || after.ID() != before.ID() {
		t.Errorf("the key did not survive a second creation: %v", err)
	}
}
