package app

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Modes of what lies in the directory.
const (
	modeDir    = 0o700
	modeSecret = 0o600
	modePublic = 0o644
)

// writeFile puts a file in place whole: a reader, and a start after a crash,
// see the old content or the new, never a part.
func writeFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already when all went well
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's own path
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// randomText is a secret of 256 bits in base64url.
func randomText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func certificatesPEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// ErrInUse says that another process has the directory open.
var ErrInUse = errors.New("another chancery has this directory open")

const lockFile = ".lock"

// lock takes the directory's lock for this process; it is gone with the
// process, however it ends. An exclusive lock is for one store in one process
// (SQLite); replicas on one PostgreSQL may share a directory.
func lock(dir string, exclusive bool) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, modeSecret) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, fmt.Errorf("taking the lock of %s: %w", dir, err)
	}
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB) //nolint:gosec // a file descriptor fits an int
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: %s (stop it first, or give this one another --dir)", ErrInUse, dir)
	}
	return nil, fmt.Errorf("taking the lock of %s: %w", dir, err)
}

// share turns an exclusive lock into a shared one.
func share(held *os.File) error {
	return syscall.Flock(int(held.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) //nolint:gosec // a file descriptor fits an int
}
