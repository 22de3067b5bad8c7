package app

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// maxSecretSize bounds a secret's file: a passphrase or a DSN, never more.
const maxSecretSize = 4 << 10

// Secret is a reference to a secret, never the secret itself, so that a
// configuration can be printed, copied and kept in version control.
type Secret struct {
	File string // path, absolute once the configuration is read
	Env  string // name of an environment variable
}

// IsZero says whether nothing was referred to.
func (s Secret) IsZero() bool { return s == Secret{} }

func (s Secret) String() string {
	if s.Env != "" {
		return "{env: " + s.Env + "}"
	}
	return "{file: " + s.File + "}"
}

// Read fetches the secret. One newline at its end is no part of it (editors
// and `echo` add one). An empty secret, or a file that everybody may read or
// others may write, is an error; no error ever has the secret in it.
func (s Secret) Read(lookup func(string) (string, bool)) ([]byte, error) {
	if s.Env != "" {
		v, ok := lookup(s.Env)
		if !ok || v == "" {
			return nil, fmt.Errorf("the environment variable %s is not set or empty", s.Env)
		}
		return []byte(v), nil
	}
	if s.File == "" {
		return nil, errors.New("refers to nothing; write {file: PATH} or {env: NAME}")
	}
	st, err := os.Stat(s.File)
	if err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	// Group-readable is let through: it is how orchestrators hand secrets to a
	// process that is not root.
	if mode := st.Mode().Perm(); mode&0o027 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so that others may read or change it; chmod 600 it", s.File, mode)
	}
	b, err := readBounded(s.File, maxSecretSize)
	if err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", s.File)
	}
	return b, nil
}

// under makes a path relative to dir absolute.
func under(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
