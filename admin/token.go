package admin

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	tokenSize    = 32 // octets of randomness (SAFETY R70 asks for 16)
	minTokenText = 32
	maxTokenFile = 1 << 10
)

// CreateToken makes a bearer token and writes it to a new file that only its
// owner may read. It never overwrites.
func CreateToken(path string) (string, error) {
	raw := make([]byte, tokenSize)
	_, _ = rand.Read(raw) // never fails: crypto/rand aborts the process instead
	token := base64.RawURLEncoding.EncodeToString(raw)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator's own directory
	if err != nil {
		return "", fmt.Errorf("creating the admin token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("writing the admin token: %w", err)
	}
	return token, nil
}

// ReadToken reads the bearer token. A file that others may read or write is
// refused: what stands in it is no secret any more.
func ReadToken(path string) (string, error) {
	f, err := os.Open(path) // #nosec G304 -- the operator's own directory
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("admin token %s is not a regular file", path)
	}
	if loose := info.Mode().Perm() & fs.FileMode(0o077); loose != 0 {
		return "", fmt.Errorf("admin token %s has mode %04o, so others may have read it; delete it, let `chancery serve` make another one, or chmod 600 it if you know better", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	token := strings.TrimRight(string(text), "\r\n")
	if err := checkToken(token); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return token, nil
}

// checkToken wants what fits a header and can't be guessed.
func checkToken(token string) error {
	if len(token) < minTokenText || len(token) > maxTokenFile {
		return fmt.Errorf("the admin token has %d characters, it must have %d to %d", len(token), minTokenText, maxTokenFile)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return fmt.Errorf("the admin token has a character at position %d that is not printable ASCII", i)
		}
	}
	return nil
}
