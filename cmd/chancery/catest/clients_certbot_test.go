package catest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"testing"

	"chancery/cmd/chancery/catest"
)

// certbot is an installation of its own: configuration, account and
// certificates are in a temporary folder.
type certbot struct {
	*command
	c   *catest.CA
	dir string
}

func newCertbot(t *testing.T, c *catest.CA) *certbot {
	dir := t.TempDir()
	return &certbot{c: c, dir: dir, command: &command{
		t: t, path: program(t, "certbot", "certbot"),
		env: []string{"REQUESTS_CA_BUNDLE=" + c.RootPEM},
		args: []string{
			"--non-interactive", "--config-dir", dir + "/config", "--work-dir", dir + "/work", "--logs-dir", dir + "/logs",
		},
	}}
}

func (b *certbot) certonly(args ...string) string {
	b.t.Helper()
	return b.run(append([]string{
		"certonly", "--agree-tos", "--register-unsafely-without-email",
		"--server", b.c.DirectoryURL,
	}, args...)...)
}

func (b *certbot) live(name string) []byte {
	b.t.Helper()
	return b.c.ReadChain(filepath.Join(b.dir, "config/live", name, "fullchain.pem"))
}

// standalone are the flags for http-01 by certbot's own web server, on an
// address beside that of the pretend Internet.
func (b *certbot) standalone(address string) []string {
	return []string{"--standalone", "--http-01-address", address, "--http-01-port", strconv.Itoa(b.c.Net.HTTPPort)}
}

// TestCertbotHTTP01 is the main road: an unmodified certbot and the built
// binary of Chancery as a process of its own.
func TestCertbotHTTP01(t *testing.T) {
	t.Parallel()
	c := catest.StartProcess(t)
	c.Net.Point("certbot.example", "127.0.0.2")
	c.Net.Point("www.certbot.example", "127.0.0.2")
	b := newCertbot(t, c)

	b.certonly(append(b.standalone("127.0.0.2"), "-d", "certbot.example", "-d", "www.certbot.example")...)
	first := c.WantChain(b.live("certbot.example"), "certbot.example", "www.certbot.example")
	if _, ok := first.PublicKey.(*ecdsa.PublicKey); !ok {
		t.Errorf("certbot's default key is %T, want ECDSA", first.PublicKey)
	}
	c.WantGood(first)
	b.opensslAgrees(first, "good")

	b.run("renew", "--force-renewal", "--no-random-sleep-on-renew")
	second := c.WantChain(b.live("certbot.example"), "certbot.example", "www.certbot.example")
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("certbot renew left the old certificate in place")
	}

	b.run("revoke", "--cert-path", filepath.Join(b.dir, "config/live/certbot.example/cert.pem"), "--server", c.DirectoryURL,
		"--reason", "superseded", "--no-delete-after-revoke")
	c.WantRevoked(second, 4)
	c.WantGood(first)
	b.opensslAgrees(second, "revoked")

	b.run("unregister", "--server", c.DirectoryURL)
	c.Check()
}

// opensslAgrees asks OpenSSL, as a relying party, by OCSP and by CRL.
func (b *certbot) opensslAgrees(leaf *x509.Certificate, want string) {
	b.t.Helper()
	dir := b.t.TempDir()
	issuer, err := b.c.Issuer(leaf)
	if err != nil {
		b.t.Fatal(err)
	}
	list, err := b.c.CRL(leaf)
	if err != nil {
		b.t.Fatal(err)
	}
	leafPEM := write(b.t, dir+"/leaf.pem", pemText("CERTIFICATE", leaf.Raw), 0o600)
	issuerPEM := write(b.t, dir+"/issuer.pem", pemText("CERTIFICATE", issuer.Raw), 0o600)
	listPEM := write(b.t, dir+"/list.pem", pemText("X509 CRL", list.Raw), 0o600)
	openssl := &command{t: b.t, path: program(b.t, "openssl", "openssl")}
	out := openssl.run("ocsp", "-issuer", issuerPEM, "-cert", leafPEM, "-url", leaf.OCSPServer[0], "-CAfile", b.c.RootPEM)
	if !bytes.Contains([]byte(out), []byte("leaf.pem: "+want)) || !bytes.Contains([]byte(out), []byte("Response verify OK")) {
		b.t.Errorf("openssl ocsp says, want %s:\n%s", want, out)
	}
	verify := []string{"verify", "-crl_check", "-CAfile", b.c.RootPEM, "-untrusted", issuerPEM, "-CRLfile", listPEM, leafPEM}
	if want == "good" {
		openssl.run(verify...)
	} else {
		openssl.fail("certificate revoked", verify...)
	}
}

// TestCertbotDNS01 uses certbot's RFC 2136 plug-in against BIND, for a
// wildcard and its base in one certificate.
func TestCertbotDNS01(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	named := startNamed(t, c.Net, "dyn.example")
	host, port, err := net.SplitHostPort(named.addr)
	if err != nil {
		t.Fatal(err)
	}
	b := newCertbot(t, c)
	credentials := write(t, b.dir+"/rfc2136.ini", fmt.Sprintf(`dns_rfc2136_server = %s
dns_rfc2136_port = %s
dns_rfc2136_name = %s
dns_rfc2136_secret = %s
dns_rfc2136_algorithm = HMAC-SHA256
`, host, port, tsigName, named.key), 0o600)
	b.certonly("--dns-rfc2136", "--dns-rfc2136-credentials", credentials, "--dns-rfc2136-propagation-seconds", "0",
		"--key-type", "rsa", "-d", "dyn.example", "-d", "*.dyn.example")
	first := c.WantChain(b.live("dyn.example"), "dyn.example", "*.dyn.example")
	if _, ok := first.PublicKey.(*rsa.PublicKey); !ok {
		t.Errorf("the key is %T, want RSA", first.PublicKey)
	}

	b.run("renew", "--force-renewal", "--no-random-sleep-on-renew")
	second := c.WantChain(b.live("dyn.example"), "dyn.example", "*.dyn.example")

	// By the certificate's own key (RFC 8555 section 7.6), not by the account's.
	live := filepath.Join(b.dir, "config/live/dyn.example")
	b.run("revoke", "--cert-path", live+"/cert.pem", "--key-path", live+"/privkey.pem", "--server", c.DirectoryURL,
		"--reason", "keycompromise", "--no-delete-after-revoke")
	c.WantRevoked(second, 1)
	c.WantGood(first)
	c.Check()
}

// TestCertbotIsTold: when the proof fails, certbot's user reads what was
// looked up and what was found.
func TestCertbotIsTold(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	c.Net.Point("lost.example", "127.0.0.1") // where the pretend Internet answers 404
	b := newCertbot(t, c)
	args := append([]string{
		"certonly", "--agree-tos", "--register-unsafely-without-email", "--server", c.DirectoryURL,
	}, append(b.standalone("127.0.0.2"), "-d", "lost.example")...)
	out, err := b.try(args...)
	if err == nil {
		t.Fatal("certbot got a certificate for a name that it does not control")
	}
	for _, want := range []string{"http://lost.example", "/.well-known/acme-challenge/", "127.0.0.1", "404", "want 200"} {
		if !bytes.Contains([]byte(out), []byte(want)) {
			t.Errorf("certbot's user does not read %q:\n%s", want, out)
		}
	}
	c.Check()
}

// TestCertbotExternalAccount binds certbot's account to an external one
// (RFC 8555 section 7.3.4), which the configuration requires.
func TestCertbotExternalAccount(t *testing.T) {
	t.Parallel()
	c := catest.Start(t, catest.Set("acme.external_account=required"))
	c.Net.Point("eab.example", "127.0.0.3")
	b := newCertbot(t, c)
	b.fail("requires external account binding", append([]string{
		"certonly", "--agree-tos", "--register-unsafely-without-email", "--server", c.DirectoryURL, "-d", "eab.example",
	}, b.standalone("127.0.0.3")...)...)
	id, secret := c.ExternalKey("certbot")
	b.certonly(append(b.standalone("127.0.0.3"), "-d", "eab.example", "--eab-kid", id, "--eab-hmac-key", secret)...)
	c.WantChain(b.live("eab.example"), "eab.example")
	c.Check()
}
