package catest_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"chancery/cmd/chancery/catest"
)

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// dehydrated is a folder with dehydrated's configuration.
type dehydrated struct {
	*command
	c   *catest.CA
	dir string
}

func newDehydrated(t *testing.T, c *catest.CA, way, hook, domains string) *dehydrated {
	dir := t.TempDir()
	write(t, dir+"/domains.txt", domains+"\n", 0o600)
	conf := write(t, dir+"/config", fmt.Sprintf(`CA=%q
CHALLENGETYPE=%q
BASEDIR=%q
WELLKNOWN=%q
ALPNCERTDIR=%q
HOOK=%q
CURL_OPTS="--cacert %s"
OPENSSL_CNF=/etc/ssl/openssl.cnf
`, c.DirectoryURL, way, dir, dir+"/www/.well-known/acme-challenge", dir+"/alpn", hook, c.RootPEM), 0o600)
	for _, d := range []string{"/www/.well-known/acme-challenge", "/alpn"} {
		if err := os.MkdirAll(dir+d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d := &dehydrated{c: c, dir: dir, command: &command{
		t: t, path: program(t, "dehydrated", "dehydrated"), args: []string{"--config", conf},
	}}
	d.run("--register", "--accept-terms")
	return d
}

// loop obtains, renews and revokes.
func (d *dehydrated) loop(names ...string) {
	d.t.Helper()
	folder := filepath.Join(d.dir, "certs", strings.TrimPrefix(names[0], "*."))
	d.run("--cron")
	first := d.c.WantChain(d.c.ReadChain(folder+"/fullchain.pem"), names...)
	d.c.WantGood(first)
	d.run("--cron", "--force")
	second := d.c.WantChain(d.c.ReadChain(folder+"/fullchain.pem"), names...)
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		d.t.Error("dehydrated --force left the old certificate in place")
	}
	d.run("--revoke", folder+"/cert.pem")
	d.c.WantRevoked(second, 0)
	d.c.WantGood(first)
	d.c.Check()
}

// TestDehydratedHTTP01: dehydrated writes its answers to a folder that nginx
// serves; then nginx serves HTTPS with the certificate, and curl trusts it.
func TestDehydratedHTTP01(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	c.Net.Point("dehydrated.example", "127.0.0.4")
	d := newDehydrated(t, c, "http-01", "", "dehydrated.example")
	startNginx(t, net.JoinHostPort("127.0.0.4", strconv.Itoa(c.Net.HTTPPort)), "root "+d.dir+"/www;")
	d.loop("dehydrated.example")

	d.run("--cron", "--force")
	port := strconv.Itoa(catest.FreePort(t))
	folder := d.dir + "/certs/dehydrated.example"
	startNginx(t, "127.0.0.4:"+port+" ssl", fmt.Sprintf("ssl_certificate %[1]s/fullchain.pem; ssl_certificate_key %[1]s/privkey.pem; return 200 trusted;", folder))
	curl := &command{t: t, path: program(t, "curl", "curl")}
	out := curl.run("--silent", "--show-error", "--noproxy", "*", "--cacert", c.RootPEM, "--resolve", "dehydrated.example:"+port+":127.0.0.4", "https://dehydrated.example:"+port+"/")
	if out != "trusted" {
		t.Errorf("curl got %q", out)
	}
}

// TestDehydratedDNS01 puts the records into BIND by nsupdate.
func TestDehydratedDNS01(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	named := startNamed(t, c.Net, "nsupdate.example")
	host, port, err := net.SplitHostPort(named.addr)
	if err != nil {
		t.Fatal(err)
	}
	hook := write(t, t.TempDir()+"/hook", fmt.Sprintf(`#!/bin/sh
set -eu
case $1 in
deploy_challenge) change="add _acme-challenge.$2. 1 TXT $4" ;;
clean_challenge)  change="delete _acme-challenge.$2. TXT $4" ;;
*) exit 0 ;;
esac
printf 'server %[1]s %[2]s\nzone %[3]s\nupdate %%s\nsend\n' "$change" | %[4]s -k %[5]s
`, host, port, named.zone, program(t, "nsupdate", "bind9-dnsutils"), named.keyFile), 0o700)
	newDehydrated(t, c, "dns-01", hook, "*.nsupdate.example > nsupdate.example").loop("*.nsupdate.example")
}

// TestDehydratedTLSALPN01: dehydrated makes the challenge certificates, the
// pretend Internet presents them.
func TestDehydratedTLSALPN01(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	d := newDehydrated(t, c, "tls-alpn-01", "", "alpn.example")
	c.Net.AnswerTLSBy(func(serverName string) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(filepath.Join(d.dir, "alpn", serverName+".crt.pem"), filepath.Join(d.dir, "alpn", serverName+".key.pem"))
		return &cert, err
	})
	d.loop("alpn.example")
}

// TestACMETiny: its answers are files that nginx serves. It neither renews nor
// revokes by itself: renewing is running it again, and revoking is another
// client with the same account key.
func TestACMETiny(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	c.Net.Point("tiny.example", "127.0.0.5")
	c.Net.Point("www.tiny.example", "127.0.0.5")
	dir := t.TempDir()
	www := dir + "/www"
	write(t, www+"/empty", "", 0o600)
	startNginx(t, net.JoinHostPort("127.0.0.5", strconv.Itoa(c.Net.HTTPPort)), "location /.well-known/acme-challenge/ { alias "+www+"/; }")
	openssl := &command{t: t, path: program(t, "openssl", "openssl"), dir: dir}
	openssl.run("genrsa", "-traditional", "-out", "account.key", "2048")
	openssl.run("genrsa", "-out", "domain.key", "2048")
	openssl.run("req", "-new", "-key", "domain.key", "-subj", "/", "-addext", "subjectAltName=DNS:tiny.example,DNS:www.tiny.example", "-out", "domain.csr")

	tiny := &command{
		t: t, dir: dir, path: program(t, "acme-tiny", "acme-tiny"), env: []string{"SSL_CERT_FILE=" + c.RootPEM},
		// Its own look at the file asks port 80 of a real name; the CA's look is the one that counts.
		args: []string{"--account-key", "account.key", "--csr", "domain.csr", "--acme-dir", www, "--directory-url", c.DirectoryURL, "--disable-check"},
	}
	obtain := func() []byte {
		out := tiny.run("--quiet")
		at := strings.Index(out, "-----BEGIN")
		if at < 0 {
			t.Fatalf("acme-tiny printed no certificate:\n%s", out)
		}
		return []byte(out[at:])
	}
	first := c.WantChain(obtain(), "tiny.example", "www.tiny.example")
	c.WantGood(first)
	second := c.WantChain(obtain(), "tiny.example", "www.tiny.example")
	if second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("running acme-tiny again gave the same certificate")
	}

	key, err := os.ReadFile(dir + "/account.key")
	if err != nil {
		t.Fatal(err)
	}
	goClient{t: t, c: c, key: rsaKey(t, key)}.revoke(second)
	c.WantRevoked(second, 5)
	c.WantGood(first)
	c.Check()
}
