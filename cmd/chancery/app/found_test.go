package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/ca/keystore"
)

// anyPorts makes the doors listen where there is room.
var anyPorts = []string{
	"acme.listen=127.0.0.1:0", "acme.url=https://localhost:0", "publish.listen=127.0.0.1:0", "publish.url=http://localhost:0", "admin.listen=127.0.0.1:0",
}

var foundedDir string

var founded = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "chancery-app-test-"); err != nil {
		return "", err
	}
	foundedDir = dir
	if err := Init(context.Background(), InitSpec{Dir: dir, Name: "Test"}); err != nil {
		return "", err
	}
	// The keys of the copies open a hundred times; with the iterations that
	// are right for use, that takes minutes under the race detector.
	pass, err := Secret{File: filepath.Join(dir, passphraseFile)}.Read(nil)
	if err != nil {
		return "", err
	}
	for _, key := range []string{"root", "issuer", "tls"} {
		path := filepath.Join(dir, "keys", key+".pem")
		cmd := exec.Command("openssl", "pkcs8", "-topk8", "-in", path, "-passin", "env:P", "-passout", "env:P", "-iter", "1000", "-out", path+".new")
		cmd.Env = append(os.Environ(), "P="+string(pass))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("openssl, which the tests need (Debian package openssl): %w: %s", err, out)
		}
		if err := errors.Join(os.Chmod(path+".new", modeSecret), os.Rename(path+".new", path)); err != nil {
			return "", err
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if foundedDir != "" {
		_ = os.RemoveAll(foundedDir)
	}
	os.Exit(code)
}

// newDir is a founded directory: a copy, because founding takes its time in
// the derivation of keys from the passphrase.
func newDir(t *testing.T) string {
	t.Helper()
	from, err := founded()
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "ca")
	err = filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), modeDir)
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, st.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// open opens dir on free ports and closes it with the test.
func open(t *testing.T, dir string, set ...string) *App {
	t.Helper()
	a, err := Open(t.Context(), Options{Dir: dir, Set: append(append([]string{}, anyPorts...), set...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// serve runs an App until the test ends, or stop is called.
func serve(t *testing.T, a *App) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(shutdownGrace + 10*time.Second):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestInitLaysTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "ca")
	if err := Init(t.Context(), InitSpec{Dir: dir, Hostnames: []string{"ca.test", "192.0.2.7"}}); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		"keys": modeDir | fs.ModeDir, "keys/root.pem": modeSecret, "keys/issuer.pem": modeSecret, "keys/tls.pem": modeSecret,
		"passphrase": modeSecret, "admin.token": modeSecret, "chancery.yaml": modeSecret, "chancery.db": modeSecret, ".lock": modeSecret,
		"root.pem": modePublic, "issuer.pem": modePublic, "root.crl": modePublic, "tls.pem": modePublic,
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		if mode, ok := want[name]; !ok || st.Mode() != mode {
			t.Errorf("%s has mode %v, want %v (known: %v)", name, st.Mode(), mode, ok)
		}
		delete(want, name)
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("missing: %v (%v)", want, err)
	}
	chain, err := readChain(filepath.Join(dir, ownFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.test", "192.0.2.7", "localhost", "127.0.0.1", "::1"} {
		if err := chain[0].VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	for _, key := range []string{"root", "issuer", "tls"} { // invariant 7
		b, err := os.ReadFile(filepath.Join(dir, "keys", key+".pem"))
		if err != nil || !strings.HasPrefix(string(b), "-----BEGIN ENCRYPTED PRIVATE KEY-----") {
			t.Errorf("keys/%s.pem is not encrypted: %v", key, err)
		}
	}
}

func TestInitRefusesWhatIsThere(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "diary.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{full, newDir(t)} {
		if err := Init(t.Context(), InitSpec{Dir: dir}); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := Open(t.Context(), Options{Dir: full, Set: anyPorts}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("serve on a stranger's directory: got %v", err)
	}
	if _, err := os.Stat(filepath.Join(full, "keys")); err == nil {
		t.Error("something was founded there")
	}
}

// TestInitKeyTypes: Init opens and uses what it founded.
func TestInitKeyTypes(t *testing.T) {
	for _, kind := range []keystore.KeyKind{keystore.RSA2048, keystore.Ed25519} {
		if err := Init(t.Context(), InitSpec{Dir: t.TempDir(), Name: "Kinds", KeyType: kind}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestInitBadHostname(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	err := Init(t.Context(), InitSpec{Dir: dir, Hostnames: []string{"under_score"}})
	if err == nil || !strings.Contains(err.Error(), "--hostname: under_score") {
		t.Errorf("got %v", err)
	}
	if state, err := stateOf(dir); state != vacant || err != nil {
		t.Errorf("a failed init left the directory in state %v, %v", state, err)
	}
}

// TestInterruptedFounding stops a founding at each of its steps, as a kill
// would, and wants the next start to come to a whole directory.
func TestInterruptedFounding(t *testing.T) {
	t.Run("in the stage", func(t *testing.T) {
		dir := newDir(t)
		stage := filepath.Join(dir, stageDir)
		if err := os.Mkdir(stage, modeDir); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != lockFile && e.Name() != stageDir {
				if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(stage, e.Name())); err != nil {
					t.Fatal(err)
				}
			}
		}
		old, err := os.ReadFile(filepath.Join(stage, rootFile))
		if err != nil {
			t.Fatal(err)
		}
		open(t, dir) // without the marker: begun again
		if b, err := os.ReadFile(filepath.Join(dir, rootFile)); err != nil || string(b) == string(old) {
			t.Errorf("an unfinished founding was used (%v)", err)
		}
	})
	// With the marker, n entries moved up already: the same CA comes up.
	for n := 0; ; n++ {
		dir := newDir(t)
		root, err := os.ReadFile(filepath.Join(dir, rootFile))
		if err != nil {
			t.Fatal(err)
		}
		if done := unsettle(t, dir, n); done {
			break
		}
		if state, err := stateOf(dir); err != nil || state != moving {
			t.Fatalf("%d moved: state %v, %v", n, state, err)
		}
		if n == 0 {
			if err := Init(t.Context(), InitSpec{Dir: dir}); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("init on a founded directory: %v", err)
			}
		}
		if begun, err := ensureFounded(t.Context(), InitSpec{Dir: dir}); err != nil || !begun {
			t.Fatalf("%d moved: %v, %v", n, begun, err)
		}
		if state, err := stateOf(dir); err != nil || state != whole {
			t.Errorf("%d moved: then state %v, %v", n, state, err)
		}
		if n%6 == 0 { // and it serves
			open(t, dir)
		}
		if b, err := os.ReadFile(filepath.Join(dir, rootFile)); err != nil || string(b) != string(root) {
			t.Errorf("%d moved: another root (%v)", n, err)
		}
		if _, err := os.Stat(filepath.Join(dir, stageDir)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d moved: the stage is still there", n)
		}
	}
}

// unsettle moves all but the first n entries of a directory back into a
// complete stage, the configuration always. It says when n is past the end.
func unsettle(t *testing.T, dir string, n int) (done bool) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	stage := filepath.Join(dir, stageDir)
	if err := errors.Join(os.Mkdir(stage, modeDir), os.WriteFile(filepath.Join(stage, stageMarker), nil, modeSecret)); err != nil {
		t.Fatal(err)
	}
	i := 0
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		if i++; i > n || e.Name() == configFile {
			if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(stage, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n > i
}

// TestRootKeyMayGo: the root's key is needed by nothing after the founding.
func TestRootKeyMayGo(t *testing.T) {
	dir := newDir(t)
	if err := errors.Join(os.Remove(filepath.Join(dir, rootKeyFile)), os.Remove(filepath.Join(dir, ownFile))); err != nil {
		t.Fatal(err)
	}
	a := open(t, dir) // issues: tls.pem is gone too
	if a.own.current.Load() == nil {
		t.Error("no TLS certificate")
	}
}

func TestOneStoreOneProcess(t *testing.T) {
	dir := newDir(t)
	a := open(t, dir)
	if _, err := Open(t.Context(), Options{Dir: dir, Set: anyPorts}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second serve: got %v", err)
	}
	if _, _, _, err := OpenOperator(dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("the operator's door beside serve: got %v", err)
	}
	if err := Init(t.Context(), InitSpec{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("init beside serve: got %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	door, token, closeAll, err := OpenOperator(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newRecorder()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/api/v1/certificates", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	door.ServeHTTP(w, r)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "localhost") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
	open(t, dir)
}

// TestOpenRefuses what can't work, with words that say where to look.
func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"wrong passphrase": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, passphraseFile), []byte("hunter2"), modeSecret)
		}, "passphrase"},
		"no passphrase":   {func(dir string) error { return os.Remove(filepath.Join(dir, passphraseFile)) }, "keystore.passphrase: can't be read"},
		"open passphrase": {func(dir string) error { return os.Chmod(filepath.Join(dir, passphraseFile), 0o644) }, "has mode 0644"},
		"open token":      {func(dir string) error { return os.Chmod(filepath.Join(dir, "admin.token"), 0o644) }, "has mode 0644"},
		"open key":        {func(dir string) error { return os.Chmod(filepath.Join(dir, "keys/issuer.pem"), 0o644) }, "keystore.issuer"},
		"no issuer key":   {func(dir string) error { return os.Remove(filepath.Join(dir, "keys/issuer.pem")) }, "keystore.issuer"},
		"wrong issuer key": {func(dir string) error {
			return os.Rename(filepath.Join(dir, rootKeyFile), filepath.Join(dir, "keys/issuer.pem"))
		}, "keystore.issuer"},
		"no chain": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "issuer.pem"), []byte("x"), modePublic) }, "keystore.certificate"},
		"a key for a chain": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "keys/tls.pem"), filepath.Join(dir, "issuer.pem"))
		}, "only certificates belong there"},
		"root as issuer": {func(dir string) error {
			return os.Rename(filepath.Join(dir, rootFile), filepath.Join(dir, "issuer.pem"))
		}, "root.pem"},
		"no database": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "chancery.db"), []byte(strings.Repeat("not a database ", 1000)), modeSecret)
		}, "store"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			a, err := Open(t.Context(), Options{Dir: dir, Set: anyPorts})
			if err == nil {
				_ = a.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("no %q in: %v", c.want, err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the passphrase stands in the message")
			}
		})
	}
}

func TestListenErrorsNameTheKey(t *testing.T) {
	a := open(t, newDir(t))
	taken := a.address(acmeDoor)
	for set, want := range map[string]string{
		"admin.listen=" + taken:       "admin.listen: something else listens on " + taken,
		"admin.listen=192.0.2.1:1234": "admin.listen: 192.0.2.1:1234 is no address of this machine",
	} {
		_, err := Open(t.Context(), Options{Dir: newDir(t), Set: append(append([]string{}, anyPorts...), set)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", set, err)
		}
	}
}

// TestOwnCertificateRenews: kept while it is young, renewed after two thirds,
// for new names, and when it is not ours.
func TestOwnCertificateRenews(t *testing.T) {
	dir := newDir(t)
	a := open(t, dir)
	first := a.own.current.Load().Leaf
	now := first.NotBefore.Add(time.Hour)
	for _, c := range []struct {
		name  string
		at    time.Time
		renew bool
	}{
		{"young", now, false},
		{"just before two thirds", renewAt(first).Add(-time.Second), false},
		{"two thirds", renewAt(first), true},
		{"again", renewAt(first).Add(time.Hour), false},
	} {
		before := a.own.current.Load().Leaf
		if err := a.own.ensure(t.Context(), c.at); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		after := a.own.current.Load().Leaf
		if renewed := !after.Equal(before); renewed != c.renew {
			t.Errorf("%s: renewed %v", c.name, renewed)
		}
		if c.at.Before(after.NotBefore) || c.at.After(after.NotAfter) {
			t.Errorf("%s: in use from %s to %s", c.name, after.NotBefore, after.NotAfter)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, "acme.hostnames=new.test")
	if err := b.own.current.Load().Leaf.VerifyHostname("new.test"); err != nil {
		t.Error(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(b.parts.root)
	between := x509.NewCertPool()
	between.AddCert(b.parts.issuer.Certificate())
	if _, err := b.own.current.Load().Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "localhost"}); err != nil {
		t.Error(err)
	}
}
