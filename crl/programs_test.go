package crl_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/ca"
	"chancery/crl"
	"chancery/crl/crltest"

	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	zx509 "github.com/zmap/zcrypto/x509"
)

// program runs an installed program; without it the test fails, because what
// it shows would not be shown.
func program(t *testing.T, name string, arguments ...string) (output string, ok bool) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed (Debian: openssl, gnutls-bin): %v", name, err)
	}
	out, err := exec.CommandContext(t.Context(), path, arguments...).CombinedOutput()
	return string(out), err == nil
}

func write(t *testing.T, dir, name string, blocks ...*pem.Block) string {
	t.Helper()
	var out []byte
	for _, b := range blocks {
		out = append(out, pem.EncodeToMemory(b)...)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// relying is what a relying party has on disk.
type relying struct {
	dir, root, issuer, list string
	good, bad               string // certificates
	number                  int64
	serial                  ca.Serial // of bad
}

// relyingParty makes an issuer of that kind, two certificates, and a list on
// which one of them is, as of now: the programs look at the real clock.
func relyingParty(t *testing.T, kind string) relying {
	t.Helper()
	w := crl.SomeWorld(t, kind)
	store, now := newMemory(), time.Now()
	p := publisher(t, config(store, w.Issuer, new(logs)))
	r := relying{dir: t.TempDir()}
	id := crl.Shard{Issuer: w.Issuer.ID()}
	leaf := func(name string, serial ca.Serial) string {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: serial.BigInt(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 3, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, w.Issuer.Certificate(), key.Public(), w.Key)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, r.dir, name+".pem", &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	r.good = leaf("good", crltest.Issue(t, store, id, now, now.AddDate(0, 3, 0)))
	r.serial = crltest.Issue(t, store, id, now, now.AddDate(0, 3, 0))
	r.bad = leaf("bad", r.serial)
	crltest.Revoke(t, store, r.serial, ca.KeyCompromise, now)
	if err := p.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.number = p.Status()[0].Number
	der := fetch(t, p, crl.Path(w.Issuer.ID()))
	r.root = write(t, r.dir, "root.pem", &pem.Block{Type: "CERTIFICATE", Bytes: w.Root.Raw})
	r.issuer = write(t, r.dir, "issuer.pem", &pem.Block{Type: "CERTIFICATE", Bytes: w.Issuer.Certificate().Raw})
	r.list = write(t, r.dir, "list.pem", &pem.Block{Type: "X509 CRL", Bytes: der})
	lintList(t, der)
	return r
}

// lintList runs zlint's rules for CRLs.
func lintList(t *testing.T, der []byte) {
	t.Helper()
	parsed, err := zx509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, result := range zlint.LintRevocationList(parsed).Results {
		if result.Status > lint.Pass {
			t.Errorf("zlint %s: %v %s", name, result.Status, result.Details)
		}
	}
}

func TestOpenSSL(t *testing.T) {
	for _, kind := range crl.KeyKinds() {
		t.Run(kind, func(t *testing.T) {
			r := relyingParty(t, kind)
			out, ok := program(t, "openssl", "crl", "-in", r.list, "-CAfile", r.issuer, "-noout", "-text")
			for _, want := range []string{
				"verify OK", "Version 2", "X509v3 CRL Number", fmt.Sprint(r.number),
				strings.ToUpper(r.serial.String()), "Key Compromise",
			} {
				if !ok || !strings.Contains(out, want) {
					t.Errorf("openssl crl: no %q in\n%s", want, out)
				}
			}
			verify := []string{"verify", "-x509_strict", "-CAfile", r.root, "-untrusted", r.issuer, "-CRLfile", r.list, "-crl_check"}
			if out, ok := program(t, "openssl", append(verify, r.good)...); !ok || !strings.Contains(out, "good.pem: OK") {
				t.Errorf("openssl verify of the good one: %s", out)
			}
			if out, ok := program(t, "openssl", append(verify, r.bad)...); ok || !strings.Contains(out, "certificate revoked") {
				t.Errorf("openssl verify of the revoked one: %s", out)
			}
		})
	}
}

func TestGnuTLS(t *testing.T) {
	for _, kind := range crl.KeyKinds() {
		t.Run(kind, func(t *testing.T) {
			r := relyingParty(t, kind)
			if out, ok := program(t, "certtool", "--verify-crl", "--load-ca-certificate", r.issuer, "--infile", r.list); !ok || !strings.Contains(out, "Verified") {
				t.Errorf("certtool --verify-crl: %s", out)
			}
			out, ok := program(t, "certtool", "--crl-info", "--infile", r.list)
			for _, want := range []string{"Version: 2", "CRL Number", r.serial.String(), "Revoked certificates (1)"} {
				if !ok || !strings.Contains(out, want) {
					t.Errorf("certtool --crl-info: no %q in\n%s", want, out)
				}
			}
			verify := []string{"--verify", "--load-ca-certificate", r.root, "--load-crl", r.list}
			if out, ok := program(t, "certtool", append(verify, "--infile", chain(t, r, r.good))...); !ok || strings.Contains(out, "revoked") {
				t.Errorf("certtool --verify of the good one: %s", out)
			}
			if out, ok := program(t, "certtool", append(verify, "--infile", chain(t, r, r.bad))...); ok || !strings.Contains(out, "revoked") {
				t.Errorf("certtool --verify of the revoked one: %s", out)
			}
		})
	}
}

// chain writes a certificate and its issuer's into one file.
func chain(t *testing.T, r relying, certificate string) string {
	t.Helper()
	var all []byte
	for _, name := range []string{certificate, r.issuer} {
		part, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, part...)
	}
	path := certificate + ".chain"
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
