package ocsp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/ca"
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

// relying is what a relying party has on disk, and a responder on loopback.
type relying struct {
	*world
	url, root, issuer  string
	good, bad, unknown string // certificates
}

func relyingParty(t *testing.T, kind string) relying {
	t.Helper()
	r := relying{world: newWorld(t, kind)}
	r.now = time.Now()
	server := httptest.NewServer(r.Responder)
	t.Cleanup(server.Close)
	r.url = server.URL + Path
	dir := t.TempDir()
	write := func(name string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	leaf := func(name string, serial ca.Serial) string {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: serial.BigInt(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: r.now.Add(-time.Hour), NotAfter: r.now.AddDate(0, 3, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, r.world.issuer.Certificate(), key.Public(), r.key)
		if err != nil {
			t.Fatal(err)
		}
		return write(name+".pem", der)
	}
	r.root, r.issuer = write("root.pem", r.world.root.Raw), write("issuer.pem", r.world.issuer.Certificate().Raw)
	bad := r.issue(t)
	r.revoke(bad, ca.KeyCompromise, r.now.Add(-time.Minute))
	never, err := ca.NewSerial(r.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.good, r.bad, r.unknown = leaf("good", r.issue(t)), leaf("bad", bad), leaf("unknown", never)
	return r
}

func TestOpenSSL(t *testing.T) {
	for _, kind := range keyKinds {
		t.Run(kind, func(t *testing.T) {
			r := relyingParty(t, kind)
			for _, hash := range []string{"-sha1", "-sha256"} {
				for _, nonce := range []string{"-nonce", "-no_nonce"} {
					ask := func(certificate string) string {
						out, _ := program(t, "openssl", "ocsp", "-CAfile", r.root, "-issuer", r.issuer, hash, "-cert", certificate, "-url", r.url, nonce)
						if !strings.Contains(out, "Response verify OK") || strings.Contains(out, "WARNING") {
							t.Errorf("openssl ocsp %s %s: %s", hash, nonce, out)
						}
						return out
					}
					if out := ask(r.good); !strings.Contains(out, "good.pem: good") {
						t.Errorf("%s %s: %s", hash, nonce, out)
					}
					if out := ask(r.bad); !strings.Contains(out, "bad.pem: revoked") || !strings.Contains(out, "Reason: keyCompromise") {
						t.Errorf("%s %s: %s", hash, nonce, out)
					}
					if out := ask(r.unknown); !strings.Contains(out, "unknown.pem: unknown") {
						t.Errorf("%s %s: %s", hash, nonce, out)
					}
				}
			}
			// Several in one request: RFC 5019 section 2.1.1.
			out, ok := program(t, "openssl", "ocsp", "-CAfile", r.root, "-issuer", r.issuer, "-cert", r.good, "-cert", r.bad, "-url", r.url)
			if ok || !strings.Contains(out, "malformedrequest") {
				t.Errorf("two certificates: %s", out)
			}
			// An issuer that is not served: the root.
			out, ok = program(t, "openssl", "ocsp", "-CAfile", r.root, "-issuer", r.root, "-cert", r.issuer, "-url", r.url)
			if ok || !strings.Contains(out, "unauthorized") {
				t.Errorf("the root's: %s", out)
			}
		})
	}
}

func TestGnuTLS(t *testing.T) {
	for _, kind := range keyKinds {
		t.Run(kind, func(t *testing.T) {
			r := relyingParty(t, kind)
			for certificate, want := range map[string]string{
				r.good: "Certificate Status: good", r.bad: "Certificate Status: revoked", r.unknown: "Certificate Status: unknown",
			} {
				for _, nonce := range []string{"--nonce", "--no-nonce"} {
					arguments := []string{"--ask=" + r.url, "--load-cert", certificate, "--load-issuer", r.issuer, "--load-signer", r.issuer, "--verbose"}
					if nonce == "--nonce" {
						arguments = append(arguments, nonce)
					}
					out, _ := program(t, "ocsptool", arguments...)
					if !strings.Contains(out, want) || !strings.Contains(out, "Verifying OCSP Response: Success") {
						t.Errorf("ocsptool %s: no %q in\n%s", nonce, want, out)
					}
				}
			}
		})
	}
}
