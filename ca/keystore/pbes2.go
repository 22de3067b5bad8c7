package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/scrypt"
)

// This file is PBES2 of PKCS #5 (RFC 8018 section 6.2) around PKCS #8 (RFC 5958
// section 3). It writes PBKDF2 with HMAC-SHA-256 and AES-256-CBC, which
// OpenSSL, GnuTLS and Python's cryptography read. It also reads scrypt (RFC
// 7914) and the other lengths of AES, because `openssl pkcs8` can write them.
// The standard library has no PBES2, and the module that has it panics on odd
// lengths of files.

const (
	iterations = 600_000 // OWASP's figure of 2023 for PBKDF2 with HMAC-SHA-256: about 0.2 s
	saltLength = 16

	// Bounds of what a file may ask of this process.
	maxIterations = 5_000_000 // a second or two
	maxSalt       = 1024
	maxScryptCost = 1 << 20 // N; with r = 8 that is a gibibyte of memory
	maxScryptMem  = 1 << 30 // 128 N r
	maxScryptP    = 16
)

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidHMACSHA1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidHMACSHA384 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}
	oidHMACSHA512 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}
	oidAES128CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES192CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// encrypt makes an EncryptedPrivateKeyInfo.
func encrypt(plain, passphrase []byte) ([]byte, error) {
	var salt [saltLength]byte
	var iv [aes.BlockSize]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, err
	}
	if _, err := rand.Read(iv[:]); err != nil {
		return nil, err
	}
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt[:], iterations, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize // RFC 8018 section 6.1.1 step 4
	padded := make([]byte, len(plain)+pad)
	copy(padded, plain)
	for i := len(plain); i < len(padded); i++ {
		padded[i] = byte(pad)
	}
	cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(padded, padded)
	return encodePBES2(salt[:], iv[:], padded, iterations)
}

func encodePBES2(salt, iv, encrypted []byte, count int64) ([]byte, error) {
	algorithm := func(b *cryptobyte.Builder, id asn1.ObjectIdentifier, parameters cryptobyte.BuilderContinuation) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			parameters(b)
		})
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		algorithm(b, oidPBES2, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				algorithm(b, oidPBKDF2, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1OctetString(salt)
						b.AddASN1Int64(count)
						algorithm(b, oidHMACSHA256, func(b *cryptobyte.Builder) { b.AddASN1NULL() })
					})
				})
				algorithm(b, oidAES256CBC, func(b *cryptobyte.Builder) { b.AddASN1OctetString(iv) })
			})
		})
		b.AddASN1OctetString(encrypted)
	})
	return b.Bytes()
}

var errShape = errors.New("the encrypted key is not an EncryptedPrivateKeyInfo in DER (RFC 5958 section 3)")

// encryptedKey is an EncryptedPrivateKeyInfo under PBES2, taken apart.
type encryptedKey struct {
	kdf, scheme cryptobyte.String
	data        []byte
}

func parseEncrypted(der []byte) (*encryptedKey, error) {
	input := cryptobyte.String(der)
	var k encryptedKey
	var info, algorithm, parameters, data cryptobyte.String
	var id asn1.ObjectIdentifier
	if !input.ReadASN1(&info, cbasn1.SEQUENCE) || !input.Empty() ||
		!info.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !info.ReadASN1(&data, cbasn1.OCTET_STRING) || !info.Empty() ||
		!algorithm.ReadASN1ObjectIdentifier(&id) {
		return nil, errShape
	}
	if !id.Equal(oidPBES2) {
		return nil, fmt.Errorf("the key is encrypted with %s, not with PBES2; encrypt it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc", id)
	}
	if !algorithm.ReadASN1(&parameters, cbasn1.SEQUENCE) || !algorithm.Empty() ||
		!parameters.ReadASN1(&k.kdf, cbasn1.SEQUENCE) || !parameters.ReadASN1(&k.scheme, cbasn1.SEQUENCE) || !parameters.Empty() {
		return nil, errShape
	}
	k.data = data
	return &k, nil
}

// decrypt undoes encrypt, and what `openssl pkcs8 -topk8 -v2` writes.
func decrypt(der, passphrase []byte) ([]byte, error) {
	k, err := parseEncrypted(der)
	if err != nil {
		return nil, err
	}
	length, iv, err := parseScheme(k.scheme)
	if err != nil {
		return nil, err
	}
	if len(k.data) == 0 || len(k.data)%aes.BlockSize != 0 {
		return nil, errShape
	}
	key, err := derive(k.kdf, passphrase, length)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(k.data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, k.data)
	return unpad(plain)
}

// unpad need not be constant in time: whoever has the file can try passphrases
// by himself, and nobody else asks.
func unpad(plain []byte) ([]byte, error) {
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, ErrPassphrase
	}
	for _, b := range plain[len(plain)-pad:] {
		if int(b) != pad {
			return nil, ErrPassphrase
		}
	}
	return plain[:len(plain)-pad], nil
}

// parseScheme reads the encryptionScheme: AES in CBC mode (RFC 8018 appendix B.2.5).
func parseScheme(s cryptobyte.String) (keyLength int, iv []byte, err error) {
	var id asn1.ObjectIdentifier
	var octets cryptobyte.String
	if !s.ReadASN1ObjectIdentifier(&id) {
		return 0, nil, errShape
	}
	switch {
	case id.Equal(oidAES256CBC):
		keyLength = 32
	case id.Equal(oidAES192CBC):
		keyLength = 24
	case id.Equal(oidAES128CBC):
		keyLength = 16
	default:
		return 0, nil, fmt.Errorf("the key is encrypted with the cipher %s, not with AES-CBC", id)
	}
	if !s.ReadASN1(&octets, cbasn1.OCTET_STRING) || !s.Empty() || len(octets) != aes.BlockSize {
		return 0, nil, errShape
	}
	return keyLength, octets, nil
}

func derive(kdf cryptobyte.String, passphrase []byte, length int) ([]byte, error) {
	var id asn1.ObjectIdentifier
	var parameters, salt cryptobyte.String
	if !kdf.ReadASN1ObjectIdentifier(&id) || !kdf.ReadASN1(&parameters, cbasn1.SEQUENCE) || !kdf.Empty() ||
		!parameters.ReadASN1(&salt, cbasn1.OCTET_STRING) || len(salt) > maxSalt {
		return nil, errShape
	}
	switch {
	case id.Equal(oidPBKDF2):
		return derivePBKDF2(parameters, salt, passphrase, length)
	case id.Equal(oidScrypt):
		return deriveScrypt(parameters, salt, passphrase, length)
	}
	return nil, fmt.Errorf("the key's passphrase goes through %s, neither PBKDF2 nor scrypt", id)
}

// derivePBKDF2: RFC 8018 appendix A.2; the salt is read already.
func derivePBKDF2(p cryptobyte.String, salt, passphrase []byte, length int) ([]byte, error) {
	var count, keyLength int
	if !p.ReadASN1Integer(&count) {
		return nil, errShape
	}
	if p.PeekASN1Tag(cbasn1.INTEGER) && (!p.ReadASN1Integer(&keyLength) || keyLength != length) {
		return nil, errShape
	}
	if count < 1 || count > maxIterations {
		return nil, fmt.Errorf("the key asks for %d iterations of PBKDF2; at most %d are made", count, maxIterations)
	}
	newHash := sha1.New // the default of the RFC; HMAC with SHA-1 is not broken
	if !p.Empty() {
		var prf cryptobyte.String
		var id asn1.ObjectIdentifier
		if !p.ReadASN1(&prf, cbasn1.SEQUENCE) || !p.Empty() || !prf.ReadASN1ObjectIdentifier(&id) {
			return nil, errShape
		}
		if newHash = hmacHash(id); newHash == nil {
			return nil, fmt.Errorf("the key's passphrase goes through PBKDF2 with %s, which is not served", id)
		}
	}
	return pbkdf2.Key(newHash, string(passphrase), salt, count, length)
}

func hmacHash(id asn1.ObjectIdentifier) func() hash.Hash {
	switch {
	case id.Equal(oidHMACSHA1):
		return sha1.New
	case id.Equal(oidHMACSHA256):
		return sha256.New
	case id.Equal(oidHMACSHA384):
		return sha512.New384
	case id.Equal(oidHMACSHA512):
		return sha512.New
	}
	return nil
}

// deriveScrypt: RFC 7914 section 7; the salt is read already.
func deriveScrypt(p cryptobyte.String, salt, passphrase []byte, length int) ([]byte, error) {
	var n, r, parallel, keyLength int
	if !p.ReadASN1Integer(&n) || !p.ReadASN1Integer(&r) || !p.ReadASN1Integer(&parallel) {
		return nil, errShape
	}
	if !p.Empty() && (!p.ReadASN1Integer(&keyLength) || keyLength != length || !p.Empty()) {
		return nil, errShape
	}
	if n < 2 || n > maxScryptCost || r < 1 || r > maxScryptMem/128/n || parallel < 1 || parallel > maxScryptP {
		return nil, fmt.Errorf("the key asks for scrypt with N=%d, r=%d, p=%d, which is out of bounds", n, r, parallel)
	}
	return scrypt.Key(passphrase, salt, n, r, parallel, length)
}
