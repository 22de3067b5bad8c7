package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCAAIdentities: the host of acme.url stands in where none is configured,
// if others can know it.
func TestCAAIdentities(t *testing.T) {
	for set, want := range map[string][]string{
		"acme.url=https://localhost:14000":        nil,
		"acme.url=https://ca.localhost:14000":     nil,
		"acme.url=https://10.0.0.1:14000":         nil,
		"acme.url=https://[2001:db8::1]:14000":    nil,
		"acme.url=https://ca.corp.internal":       {"ca.corp.internal"},
		"acme.url=https://ca.corp.internal:1400":  {"ca.corp.internal"},
		"acme.caa_identities=a.example,b.example": {"a.example", "b.example"},
	} {
		c, err := parseConfig(secretDir(t), nil, []string{set}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.caaIdentities(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", set, got, want)
		}
	}
}

func TestDNSWarnings(t *testing.T) {
	for _, row := range []struct {
		set  []string
		says string // "" for no warning
	}{
		{nil, ""},
		{[]string{"acme.listen=:14000"}, "acme.caa_identities is empty"},
		{[]string{"acme.listen=:14000", "profiles.server.caa=off"}, ""},
		{[]string{"acme.listen=:14000", "acme.url=https://ca.example"}, ""},
		{[]string{"acme.listen=:14000", "acme.caa_identities=ca.example"}, ""},
		{[]string{"validation.dnssec=require-ad"}, "the system's resolvers"},
		{[]string{"validation.dnssec=require-ad", "validation.resolvers=127.0.0.1,tls://10.0.0.53#dns.example"}, ""},
		{[]string{"validation.dnssec=require-ad", "validation.resolvers=10.0.0.53"}, "resolver 10.0.0.53 comes over the network unprotected"},
		{[]string{"validation.dnssec=require-ad", "validation.resolvers=tcp://10.0.0.53"}, "unprotected"},
	} {
		c, err := parseConfig(secretDir(t), nil, row.set, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.Warnings, "\n")
		if (row.says == "") != (got == "") || !strings.Contains(got, row.says) {
			t.Errorf("%q: warned %q, want %q", row.set, got, row.says)
		}
	}
}

// TestResolverRoots: a file that is missing or empty is never replaced by the
// system's roots (SAFETY I84).
func TestResolverRoots(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none.pem"), empty, dir} {
		if pool, err := resolverRoots(path); err == nil || pool != nil {
			t.Errorf("%s: %v, %v", path, pool, err)
		}
	}
	if pool, err := resolverRoots(""); err != nil || pool != nil {
		t.Errorf("no file: %v, %v", pool, err)
	}
}
