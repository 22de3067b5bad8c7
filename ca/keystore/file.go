package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxFile bounds a key file; RSA-4096 takes 3.4 KB.
const maxFile = 64 << 10

var errNoPassphrase = errors.New("the passphrase is empty; keys are kept encrypted")

// openFile reads an encrypted key. Symbolic links are followed, as mounted
// secrets need; what is judged is the file that was opened.
func openFile(path string, passphrase []byte) (crypto.Signer, error) {
	if len(passphrase) == 0 {
		return nil, errNoPassphrase
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // NONBLOCK: a pipe must not hang the start
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	if err := checkFile(f); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("the file has more than %d octets, which is no key", maxFile)
	}
	return parsePEM(text, passphrase)
}

// checkFile refuses keys that others could have read or written.
func checkFile(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if loose := st.Mode().Perm() & 0o077; loose != 0 {
		return fmt.Errorf("the file's mode is %04o: group or others may use it; set it with chmod 600", st.Mode().Perm())
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("the file belongs to user %d, and this process runs as %d", sys.Uid, os.Geteuid())
	}
	return nil
}

func parsePEM(text, passphrase []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("the file holds no PEM block")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("the file holds more than one PEM block")
	case block.Type == "PRIVATE KEY" || block.Type == "EC PRIVATE KEY" || block.Type == "RSA PRIVATE KEY":
		return nil, errors.New("the key is not encrypted; encrypt it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 600000 -in OLD -out NEW")
	case block.Type != "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("the file holds a %.40q, not an ENCRYPTED PRIVATE KEY (PKCS #8)", block.Type)
	}
	plain, err := decrypt(block.Bytes, passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, ErrPassphrase // the parser's own words could hold parts of the key
	}
	switch k := private.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("a key of type %T does not sign", private)
}

// createFile makes a key and its file. The file comes into being whole, under
// a temporary name, and is then linked to its own, which fails if that exists.
func createFile(path string, kind KeyKind, passphrase []byte) (crypto.Signer, error) {
	if len(passphrase) == 0 {
		return nil, errNoPassphrase
	}
	if _, err := os.Lstat(path); err == nil { // before the work; os.Link decides
		return nil, fs.ErrExist
	}
	signer, err := generate(kind)
	if err != nil {
		return nil, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	der, err := encrypt(plain, passphrase)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
	if err := writeNew(path, text); err != nil {
		return nil, err
	}
	return signer, nil
}

// writeNew writes a new file of mode 0600, durable when it returns nil.
func writeNew(path string, text []byte) error {
	var suffix [8]byte
	if _, err := rand.Read(suffix[:]); err != nil {
		return err
	}
	temporary := path + ".new-" + hex.EncodeToString(suffix[:])
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temporary) //nolint:errcheck // a leftover is encrypted and harmless
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
