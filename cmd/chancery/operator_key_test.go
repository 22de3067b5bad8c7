package main

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/admin"
	"chancery/ca"
	"chancery/cmd/chancery/catest"
)

// TestKeyCommands blocks the key of a certificate that lego obtained, by the
// certificate's file, and sees it revoked wherever relying parties look.
func TestKeyCommands(t *testing.T) {
	c := catest.Start(t)
	c.Net.Point("a.example", "127.0.0.1")
	cert := c.Client(catest.HTTP).Obtain("a.example")
	at := []string{"--dir", c.Dir, "--set", "admin.listen=" + strings.TrimPrefix(c.AdminURL, "http://")}
	run := func(args ...string) string { t.Helper(); return want(t, append(args, at...)...) }
	file := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	leaf, err := x509.ParseCertificate(cert.Leaf.Raw)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	keys, err := ca.ReadKeyReport(chain)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%x, %v", keys, err)
	}
	spki := hex.EncodeToString(keys[0][:])

	fail := func(why string, args ...string) { t.Helper(); wantFail(t, why, append(args, at...)...) }
	fail("nothing was blocked", "key", "block", file("odd.pem", append([]byte("my key:\n"), chain...)))
	fail("no such file", "key", "block", filepath.Join(t.TempDir(), "gone"))
	fail("64 lower-case hexadecimal digits", "key", "unblock", "5A")
	if got := run("key", "list", "--json"); got != "" {
		t.Fatalf("blocked already: %s", got)
	}

	if got := run("key", "block", file("cert.pem", chain), "--comment", "it was on a street"); got != spki+" is blocked, 1 certificates revoked.\n" {
		t.Errorf("said %q", got)
	}
	c.WantRevoked(leaf, int(ca.KeyCompromise))
	listed := lines[admin.BlockedKey](t, run("key", "list", "--json"))
	if len(listed) != 1 || listed[0].SPKI != spki || listed[0].Comment != "it was on a street" || listed[0].Source != "operator" {
		t.Errorf("listed %+v", listed)
	}
	if table := run("key", "list"); !strings.Contains(table, spki) || !strings.Contains(table, "it was on a street") {
		t.Errorf("table:\n%s", table)
	}
	if got := run("key", "block", spki, "--json"); !strings.Contains(got, `"revoked":0`) {
		t.Errorf("the second time: %s", got)
	}
	if got := run("key", "unblock", spki); got != spki+" is unblocked.\n" {
		t.Errorf("said %q", got)
	}
	fail("no such object", "key", "unblock", spki)
	if got := run("audit", "list", "--object", spki, "--json"); strings.Count(got, "\n") != 2 {
		t.Errorf("audit:\n%s", got)
	}
	c.Check()
}

// TestPolicyPrint: the rules of a directory, and the tables without one.
func TestPolicyPrint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	want(t, "init", "--dir", dir, "--name", "Policy")
	got := want(t, "policy", "print", "--dir", dir, "--set", "policy.rules=lab")
	reference := want(t, "policy", "print", "--reference")
	if !strings.HasPrefix(got, "rule set          lab\n") || !strings.HasSuffix(got, reference) || !bytes.Contains([]byte(reference), []byte("| http-01 | yes | no | yes |")) {
		t.Errorf("printed\n%s", got)
	}
	if _, _, err := operator(t, "policy", "print", "--dir", filepath.Join(dir, "nowhere")); err == nil {
		t.Error("there are rules of no directory")
	}
}
