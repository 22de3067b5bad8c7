package keystore_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"chancery/ca/keystore"
	"chancery/ca/keystore/keystoretest"
)

var passphrase = []byte("correct horse battery staple")

func newURI(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "key.pem") }

func TestFile(t *testing.T) {
	// RSA-3072 and RSA-4096 are the same code as RSA-2048 and take seconds to make.
	kinds := []keystore.KeyKind{keystore.EC256, keystore.EC384, keystore.EC521, keystore.RSA2048, keystore.Ed25519}
	keystoretest.Run(t, keystoretest.Backend{Kinds: kinds, Passphrase: passphrase, NewURI: newURI})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParseKeyKind(t *testing.T) {
	for _, kind := range keystore.Kinds() {
		if got, err := keystore.ParseKeyKind(string(kind)); err != nil || got != kind {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
	}
	for _, s := range []string{"", "EC256", "rsa1024", "dsa", strings.Repeat("a", 1000)} {
		if _, err := keystore.ParseKeyKind(s); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.20q: %v", s, err)
		}
	}
	if _, err := keystore.Create(newURI(t), "rsa1024", passphrase); err == nil {
		t.Error("a key of an unknown kind was made")
	}
}

func TestURIs(t *testing.T) {
	for _, uri := range []string{"", "file", "file:", "key.pem", "/key.pem", "pkcs11:token=a", "awskms:x", ":x"} {
		if _, err := keystore.Open(uri, passphrase); err == nil || !strings.Contains(err.Error(), "file:PATH") {
			t.Errorf("open %q: %v", uri, err)
		}
		if _, err := keystore.Create(uri, keystore.EC256, passphrase); err == nil {
			t.Errorf("create %q: made", uri)
		}
	}
}

// TestFileIsPrivate: invariant 7, and no leftovers.
func TestFileIsPrivate(t *testing.T) {
	uri := newURI(t)
	path := strings.TrimPrefix(uri, "file:")
	_, err := keystore.Create(uri, keystore.EC256, passphrase)
	check(t, err)
	st, err := os.Stat(path)
	check(t, err)
	if st.Mode() != 0o600 {
		t.Errorf("mode %s", st.Mode())
	}
	text, err := os.ReadFile(path)
	check(t, err)
	if !bytes.HasPrefix(text, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")) {
		t.Errorf("the file begins with %.40q", text)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	check(t, err)
	if len(entries) != 1 {
		t.Errorf("%d files", len(entries))
	}
}

func TestFileRefused(t *testing.T) {
	uri := newURI(t)
	path := strings.TrimPrefix(uri, "file:")
	_, err := keystore.Create(uri, keystore.EC256, passphrase)
	check(t, err)
	good, err := os.ReadFile(path)
	check(t, err)
	plain, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(plain)
	check(t, err)
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for _, c := range []struct {
		what string
		text []byte
		mode fs.FileMode
		want string
	}{
		{"good", good, 0o600, ""},
		{"read-only", good, 0o400, ""},
		{"text in front", append([]byte("the issuer's key\n"), good...), 0o600, ""},
		{"group may read", good, 0o640, "chmod 600"},
		{"others may read", good, 0o604, "chmod 600"},
		{"others may write", good, 0o602, "chmod 600"},
		{"empty", nil, 0o600, "no PEM block"},
		{"not PEM", []byte("secret"), 0o600, "no PEM block"},
		{"two keys", append(bytes.Clone(good), good...), 0o600, "more than one"},
		{"unencrypted", block("PRIVATE KEY", der), 0o600, "not encrypted"},
		{"old unencrypted", block("EC PRIVATE KEY", der), 0o600, "not encrypted"},
		{"certificate", block("CERTIFICATE", der), 0o600, "CERTIFICATE"},
		{"clear under a false name", block("ENCRYPTED PRIVATE KEY", der), 0o600, "EncryptedPrivateKeyInfo"},
		{"too long", bytes.Repeat([]byte("a"), 70_000), 0o600, "octets"},
	} {
		check(t, os.Remove(path))
		check(t, os.WriteFile(path, c.text, 0o600))
		check(t, os.Chmod(path, c.mode))
		_, err := keystore.Open(uri, passphrase)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	for _, none := range [][]byte{nil, {}} {
		if _, err := keystore.Open(uri, none); err == nil || !strings.Contains(err.Error(), "passphrase is empty") {
			t.Errorf("no passphrase: %v", err)
		}
		if _, err := keystore.Create(newURI(t), keystore.EC256, none); err == nil {
			t.Error("a key without a passphrase was made")
		}
	}
}

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	if _, err := keystore.Open("file:"+dir, passphrase); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := keystore.Create("file:"+filepath.Join(dir, "no", "key.pem"), keystore.EC256, passphrase); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	target := filepath.Join(dir, "target.pem")
	made, err := keystore.Create("file:"+target, keystore.EC256, passphrase)
	check(t, err)
	link := filepath.Join(dir, "link.pem")
	check(t, os.Symlink(target, link))
	opened, err := keystore.Open("file:"+link, passphrase) // as mounted secrets are
	if err != nil || opened.ID() != made.ID() {
		t.Errorf("a symbolic link: %v", err)
	}
	dangling := filepath.Join(dir, "dangling.pem")
	check(t, os.Symlink(filepath.Join(dir, "elsewhere.pem"), dangling))
	if _, err := keystore.Create("file:"+dangling, keystore.EC256, passphrase); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creation through a dangling link: %v", err)
	}
}

// TestCreateTogether: of several that create one key at once, one does.
func TestCreateTogether(t *testing.T) {
	uri := newURI(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	keys := make([]keystore.Key, len(errs))
	for i := range errs {
		wg.Go(func() { keys[i], errs[i] = keystore.Create(uri, keystore.EC256, passphrase) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Error("two won")
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	opened, err := keystore.Open(uri, passphrase)
	if err != nil || opened.ID() != keys[winner].ID() {
		t.Errorf("the file does not hold the winner's key: %v", err)
	}
}

func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is needed by this test and is not installed: %v", program, err)
	}
	return path
}

// TestOtherPrograms: OpenSSL and GnuTLS read what we write, and we read what
// they write.
func TestOtherPrograms(t *testing.T) {
	openssl, certtool := need(t, "openssl"), need(t, "certtool")
	run := func(program string, args ...string) []byte {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
		return out
	}
	pass := string(passphrase)
	uri := newURI(t)
	path := strings.TrimPrefix(uri, "file:")
	made, err := keystore.Create(uri, keystore.EC256, passphrase)
	check(t, err)
	dir := t.TempDir()
	public, _ := pem.Decode(run(openssl, "pkey", "-in", path, "-passin", "pass:"+pass, "-pubout"))
	spki, err := x509.MarshalPKIXPublicKey(made.Public())
	check(t, err)
	if public == nil || !bytes.Equal(public.Bytes, spki) {
		t.Error("OpenSSL reads another key")
	}
	run(certtool, "--key-info", "--infile", path, "--password", pass)
	clear := filepath.Join(dir, "clear.pem")
	run(openssl, "pkcs8", "-in", path, "-passin", "pass:"+pass, "-out", clear)
	for name, flags := range map[string][]string{
		"the command of our error": {"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", "600000"},
		"default":                  {},
		"aes-128, SHA-1":           {"-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"},
		"aes-192, SHA-512":         {"-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"},
		"SHA-384":                  {"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384"},
		"scrypt":                   {"-v2", "aes-256-cbc", "-scrypt"},
	} {
		out := filepath.Join(dir, "out.pem")
		run(openssl, append([]string{"pkcs8", "-topk8", "-in", clear, "-out", out, "-passout", "pass:" + pass}, flags...)...)
		check(t, os.Chmod(out, 0o600))
		opened, err := keystore.Open("file:"+out, passphrase)
		if err != nil || opened.ID() != made.ID() {
			t.Errorf("%s: %v", name, err)
		}
	}
	out := filepath.Join(dir, "old.pem")
	run(openssl, "pkcs8", "-topk8", "-in", clear, "-out", out, "-passout", "pass:"+pass, "-v1", "PBE-SHA1-3DES")
	check(t, os.Chmod(out, 0o600))
	if _, err := keystore.Open("file:"+out, passphrase); err == nil || !strings.Contains(err.Error(), "PBES2") {
		t.Errorf("PBES1: %v", err)
	}
}
