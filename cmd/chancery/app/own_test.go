package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOwnCertificateOverAYear runs the renewal loop for a year of virtual
// time: whenever it is looked at, the certificate is valid and has a third of
// its life left.
func TestOwnCertificateOverAYear(t *testing.T) {
	dir, founding := newDir(t), time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(founding)) // virtual time begins in 2000
		set := []string{"storage.dsn=sqlite::memory:"}
		c, err := ReadConfig(dir, set, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := openParts(t.Context(), c, urls{acme: c.ACME.URL, publish: c.Publish.URL}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		o, err := openOwn(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.ensure(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.run(ctx, time.Now)
		}()
		renewals, last := 0, o.current.Load().Leaf
		for range 365 {
			time.Sleep(day)
			leaf, now := o.current.Load().Leaf, time.Now()
			if now.Before(leaf.NotBefore) || now.After(renewAt(leaf).Add(2*ownEvery)) {
				t.Errorf("%s: in use is a certificate from %s to %s", now, leaf.NotBefore, leaf.NotAfter)
			}
			if !leaf.Equal(last) {
				renewals, last = renewals+1, leaf
			}
		}
		cancel()
		<-done
		if renewals != 6 { // every 60 days
			t.Errorf("renewed %d times", renewals)
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOwnCertificateIsReplacedWhen(t *testing.T) {
	dir := newDir(t)
	a := open(t, dir)
	for name, spoil := range map[string]func() error{
		"there is none yet":     func() error { return os.Remove(a.own.path) },
		"no certificate in PEM": func() error { return os.WriteFile(a.own.path, []byte("noise"), modePublic) },
		"for another key": func() error {
			b, err := os.ReadFile(filepath.Join(dir, "issuer.pem"))
			return errors.Join(err, os.WriteFile(a.own.path, b, modePublic))
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := a.own.load(time.Now()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if err := a.own.ensure(t.Context(), time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLocks: SQLite's directory is one process's, PostgreSQL's replicas share.
func TestLocks(t *testing.T) {
	dir := t.TempDir()
	first, err := lock(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, exclusive := range []bool{true, false} {
		if _, err := lock(dir, exclusive); !errors.Is(err, ErrInUse) {
			t.Errorf("beside an exclusive lock: %v", err)
		}
	}
	if err := share(first); err != nil {
		t.Fatal(err)
	}
	second, err := lock(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir, true); !errors.Is(err, ErrInUse) {
		t.Errorf("beside shared locks: %v", err)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	third, err := lock(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
}
