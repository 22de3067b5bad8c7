package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"chancery/acme/strict"
)

// This file reads the public key out of whatever somebody reports a
// compromised key in. Keys are compared by the SHA-256 of their one
// SubjectPublicKeyInfo, so that all forms of a key are one key (I45). What is
// read here names a key; nothing that is read here is trusted or signed.

// Bounds of a report.
const (
	maxKeyReport  = 1 << 20 // octets: a bundle of some hundred certificates
	maxReportKeys = 1000
	maxReportBits = 16384 // of an RSA modulus: above, a report is a mistake or a trap
)

// SPKIHash is the SHA-256 of a public key's SubjectPublicKeyInfo in DER.
func SPKIHash(key crypto.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(der), nil
}

// ParseSPKIHash reads a hash as people write it: 64 hexadecimal digits in lower case.
func ParseSPKIHash(text string) (hash [32]byte, ok bool) {
	if len(text) != hex.EncodedLen(len(hash)) {
		return hash, false
	}
	_, err := hex.Decode(hash[:], []byte(text))
	return hash, err == nil && hex.EncodeToString(hash[:]) == text
}

// ReadKeyReport finds the keys in a report and returns their SPKI hashes, each
// once. It takes certificates, CSRs, public and private keys (PKCS #1, PKCS #8,
// SEC 1, OpenSSH) in PEM or DER, SSH public keys, JWKs and JWK sets, and plain
// SPKI hashes, one a line. It takes a report whole or not at all: a part that
// can't be read is an error, because a key that was passed over in silence
// stays in use (I27).
func ReadKeyReport(report []byte) ([][32]byte, error) {
	if len(report) > maxKeyReport {
		return nil, fmt.Errorf("the report has %d octets, at most %d are read", len(report), maxKeyReport)
	}
	var keys [][32]byte
	var err error
	switch text := bytes.TrimSpace(report); {
	case len(text) == 0:
		return nil, errors.New("the report is empty")
	case bytes.Contains(text, []byte("-----BEGIN ")):
		keys, err = readPEM(text)
	case text[0] == '{':
		keys, err = readJWKs(string(text))
	case isPrintable(text):
		keys, err = readKeyLines(report)
	default:
		keys, err = keysOf(readDER(report))
	}
	if err != nil {
		return nil, err
	}
	return unique(keys)
}

func unique(keys [][32]byte) ([][32]byte, error) {
	seen := make(map[[32]byte]bool, len(keys))
	var out [][32]byte
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	if len(out) > maxReportKeys {
		return nil, fmt.Errorf("the report has %d keys, at most %d are taken at once", len(out), maxReportKeys)
	}
	return out, nil
}

func isPrintable(text []byte) bool {
	for _, c := range text {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// keysOf hashes the one key of a reader's answer.
func keysOf(key crypto.PublicKey, err error) ([][32]byte, error) {
	if err != nil {
		return nil, err
	}
	hash, err := SPKIHash(key)
	if err != nil {
		return nil, fmt.Errorf("a key of type %T is not served here, so none can be in use", key)
	}
	return [][32]byte{hash}, nil
}

func readPEM(text []byte) ([][32]byte, error) {
	var keys [][32]byte
	for n := 1; len(text) > 0; n++ {
		if !bytes.HasPrefix(text, []byte("-----BEGIN ")) {
			return nil, fmt.Errorf("before PEM block %d stands text that is none; remove it", n)
		}
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("PEM block %d can't be decoded", n)
		}
		// Decode passes over a block that is broken and takes the next one.
		if at := bytes.Index(text[1:], []byte("-----BEGIN ")); at >= 0 && len(text)-len(rest) > at+1 {
			return nil, fmt.Errorf("PEM block %d can't be decoded", n)
		}
		text = bytes.TrimSpace(rest)
		if block.Type == "EC PARAMETERS" { // stands before an EC PRIVATE KEY that OpenSSL made
			continue
		}
		found, err := keysOf(readBlock(block))
		if err != nil {
			return nil, fmt.Errorf("PEM block %d, %s: %w", n, quote(block.Type), err)
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 {
		return nil, errors.New("the report has no key in it")
	}
	return keys, nil
}

func readBlock(block *pem.Block) (crypto.PublicKey, error) {
	switch {
	case block.Type == "OPENSSH PRIVATE KEY":
		return readOpenSSH(block.Bytes)
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, errors.New("the key is encrypted; send its public half")
	}
	return readDER(block.Bytes)
}

// readDER tries each structure that holds a key. They differ in their first
// elements, so at most one of them is what the octets are.
func readDER(der []byte) (crypto.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, nil
	}
	if cert, err := x509.ParseCertificate(der); err == nil {
		return cert.PublicKey, nil
	}
	if csr, err := x509.ParseCertificateRequest(der); err == nil {
		return csr.PublicKey, nil
	}
	var private any
	var err error
	if private, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if private, err = x509.ParsePKCS1PrivateKey(der); err != nil {
			private, err = x509.ParseECPrivateKey(der)
		}
	}
	if err != nil {
		return nil, errors.New("it is no certificate, CSR, public or private key")
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T is not served here", private)
	}
	return signer.Public(), nil
}

// readJWKs reads one JWK (RFC 7517 section 4), or a set of them (section 5).
func readJWKs(text string) ([][32]byte, error) {
	v, err := strict.ParseObject(text)
	if err != nil {
		return nil, fmt.Errorf("the report begins like a JWK: %w", err)
	}
	set := []strict.Value{v}
	if list := v.Member("keys"); list != nil {
		set = list.Items()
	}
	var keys [][32]byte
	for i := range set {
		found, err := keysOf(readJWK(&set[i]))
		if err != nil {
			return nil, fmt.Errorf("JWK %d: %w", i+1, err)
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWK set is empty")
	}
	return keys, nil
}

// readJWK reads the public half of a JWK; a private half is not looked at.
func readJWK(v *strict.Value) (crypto.PublicKey, error) {
	number := func(name string) ([]byte, error) {
		text, err := v.StringOf(name)
		if err != nil {
			return nil, err
		}
		b, err := strict.Base64URL(text)
		if err != nil {
			return nil, fmt.Errorf("member %q is %w", name, err)
		}
		return b, nil
	}
	kty, err := v.StringOf("kty")
	if err != nil {
		return nil, err
	}
	crv, err := v.OptionalString("crv")
	if err != nil {
		return nil, err
	}
	switch {
	case kty == "RSA":
		n, err1 := number("n")
		e, err2 := number("e")
		return rsaFrom(n, e, errors.Join(err1, err2))
	case kty == "EC":
		x, err1 := number("x")
		y, err2 := number("y")
		return pointFrom(curveNames[crv], x, y, errors.Join(err1, err2))
	case kty == "OKP" && crv == "Ed25519":
		x, err := number("x")
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.Join(err, errors.New("it is no Ed25519 key"))
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("key type %s is not served here", quote(kty))
}

var curveNames = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

func rsaFrom(n, e []byte, err error) (crypto.PublicKey, error) {
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	exponent := new(big.Int).SetBytes(e)
	switch {
	case err != nil:
		return nil, err
	case key.N.BitLen() < 2 || key.N.BitLen() > maxReportBits || exponent.BitLen() < 1 || exponent.BitLen() > 31:
		return nil, errors.New("it is no RSA key that is served anywhere")
	}
	key.E = int(exponent.Int64())
	return key, nil
}

func pointFrom(curve elliptic.Curve, x, y []byte, err error) (crypto.PublicKey, error) {
	if err != nil {
		return nil, err
	}
	if curve == nil {
		return nil, errors.New("its curve is not served here")
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return nil, fmt.Errorf("its coordinates must have %d octets each", size)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
}

// readKeyLines reads SSH public keys and SPKI hashes, one a line.
func readKeyLines(report []byte) ([][32]byte, error) {
	var keys [][32]byte
	err := eachLine(report, func(line string) error {
		if hash, ok := ParseSPKIHash(line); ok {
			keys = append(keys, hash)
			return nil
		}
		found, err := keysOf(readSSHLine(line))
		keys = append(keys, found...)
		return err
	})
	return keys, err
}

// readSSHLine reads a line of OpenSSH's public key files: type, base64, and
// perhaps a comment.
func readSSHLine(line string) (crypto.PublicKey, error) {
	kind, rest, _ := strings.Cut(line, " ")
	text, _, _ := strings.Cut(rest, " ")
	blob, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || text == "" {
		return nil, errors.New("neither an SSH public key nor 64 lower-case hexadecimal digits of an SPKI's SHA-256")
	}
	inner := cryptobyte.String(blob)
	var name []byte
	if !readSSHString(&inner, &name) || string(name) != kind {
		return nil, errors.New("the SSH key's type is not the one that stands in front of it")
	}
	return readSSHKey(blob)
}

// readSSHKey reads a public key as it goes over the wire (RFC 4253 section
// 6.6, RFC 5656 section 3.1, RFC 8709 section 4).
func readSSHKey(blob []byte) (crypto.PublicKey, error) {
	s := cryptobyte.String(blob)
	var kind, a, b []byte
	if !readSSHString(&s, &kind) || !readSSHString(&s, &a) {
		return nil, errors.New("it is no SSH public key")
	}
	if string(kind) == "ssh-ed25519" && s.Empty() && len(a) == ed25519.PublicKeySize {
		return ed25519.PublicKey(a), nil
	}
	if !readSSHString(&s, &b) || !s.Empty() {
		return nil, fmt.Errorf("SSH keys of type %s are not served here", quote(string(kind)))
	}
	curves := map[string]elliptic.Curve{
		"ecdsa-sha2-nistp256": elliptic.P256(), "ecdsa-sha2-nistp384": elliptic.P384(), "ecdsa-sha2-nistp521": elliptic.P521(),
	}
	switch curve, ok := curves[string(kind)]; {
	case string(kind) == "ssh-rsa": // exponent first
		return rsaFrom(b, a, nil)
	case ok && "ecdsa-sha2-"+string(a) == string(kind):
		return ecdsa.ParseUncompressedPublicKey(curve, b)
	}
	return nil, fmt.Errorf("SSH keys of type %s are not served here", quote(string(kind)))
}

func readSSHString(s *cryptobyte.String, out *[]byte) bool {
	var n uint32
	return s.ReadUint32(&n) && n <= maxKeyReport && s.ReadBytes(out, int(n))
}

// readOpenSSH reads the public key that stands in clear in OpenSSH's private
// key files, encrypted or not (PROTOCOL.key of OpenSSH).
func readOpenSSH(b []byte) (crypto.PublicKey, error) {
	s := cryptobyte.String(b)
	var magic, cipher, kdf, options, public []byte
	var count uint32
	if !s.ReadBytes(&magic, len(openSSHMagic)) || string(magic) != openSSHMagic ||
		!readSSHString(&s, &cipher) || !readSSHString(&s, &kdf) || !readSSHString(&s, &options) ||
		!s.ReadUint32(&count) || count != 1 || !readSSHString(&s, &public) {
		return nil, errors.New("it is no private key of OpenSSH")
	}
	return readSSHKey(public)
}

const openSSHMagic = "openssh-key-v1\x00"
