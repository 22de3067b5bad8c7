package app

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const testdata = "../../../testdata/config"

// secretDir is a directory with the passphrase that the defaults refer to.
func secretDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, passphraseFile), []byte("correct horse\n"), modeSecret); err != nil {
		t.Fatal(err)
	}
	return dir
}

func configFiles(t *testing.T, kind string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testdata, kind, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s/%s: %v", testdata, kind, err)
	}
	out := map[string][]byte{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(p)] = b
	}
	return out
}

func TestGoodConfigs(t *testing.T) {
	for name, src := range configFiles(t, "good") {
		if _, err := parseConfig(secretDir(t), src, nil, []string{"CA_PASSPHRASE=x"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBadConfigs: in a bad file, each comment "#! LINE: TEXT" is a mistake
// that must be reported, and there must be no others.
func TestBadConfigs(t *testing.T) {
	for name, src := range configFiles(t, "bad") {
		t.Run(name, func(t *testing.T) {
			_, err := parseConfig(secretDir(t), src, nil, nil)
			var m *Mistakes
			if !errors.As(err, &m) {
				t.Fatalf("got %v, want mistakes", err)
			}
			var want []string
			for s := bufio.NewScanner(bytes.NewReader(src)); s.Scan(); {
				if text, ok := strings.CutPrefix(s.Text(), "#! "); ok {
					want = append(want, "chancery.yaml:"+text)
				}
			}
			got := strings.Split(m.Error(), "\n")[1:]
			if len(got) != len(want) || m.Len() != len(want) {
				t.Fatalf("got %d mistakes, want %d:\n%s", len(got), len(want), m)
			}
			for i := range want {
				if !strings.HasPrefix(strings.TrimSpace(got[i]), want[i]) {
					t.Errorf("mistake %d:\n got %s\nwant %s…", i+1, got[i], want[i])
				}
			}
			if strings.Contains(m.Error(), "hunter2") {
				t.Error("a secret stands in the message")
			}
		})
	}
}

// TestTemplateShowsDefaults: the file of a new directory says what holds
// without it, and names every key.
func TestTemplateShowsDefaults(t *testing.T) {
	src, err := newConfigFile(nil, Secret{File: passphraseFile})
	if err != nil {
		t.Fatal(err)
	}
	dir := secretDir(t)
	file, err := parseConfig(dir, src, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := parseConfig(dir, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if _, ok := file.places[k.name]; !ok {
			t.Errorf("the template has no %s", k.name)
		}
	}
	for _, c := range []*Config{file, bare} { // not compared: where it stood
		c.places, c.lookup = nil, nil
		c.ACME.Hostnames, c.ACME.CAAIdentities, c.Keystore.Chains = nil, nil, nil // empty against nil
		c.Policy.WeakKeys, c.Policy.DeniedNames = nil, nil
		c.Validation.Resolvers, c.Validation.AllowedNetworks, c.Validation.DeniedNetworks = nil, nil, nil
	}
	if !reflect.DeepEqual(file, bare) {
		t.Errorf("the template differs from the defaults:\n%+v\n%+v", file, bare)
	}
}

func TestTemplateQuotes(t *testing.T) {
	src, err := newConfigFile([]string{"a.example", "it's: {odd}"}, Secret{Env: "X#Y"})
	if err != nil {
		t.Fatal(err)
	}
	var m Mistakes
	c := layConfig(&m, "/d", src, nil, nil)
	if c.Keystore.Passphrase.Env != "X#Y" || len(c.ACME.Hostnames) != 2 || c.ACME.Hostnames[1] != "it's: {odd}" {
		t.Errorf("got %v %q", c.Keystore.Passphrase, c.ACME.Hostnames)
	}
}

// TestWithSettings: what init is told stands in the file afterwards, for every
// key, and nothing else changes.
func TestWithSettings(t *testing.T) {
	bare, err := newConfigFile(nil, Secret{File: passphraseFile})
	if err != nil {
		t.Fatal(err)
	}
	dir, env := secretDir(t), []string{"CA_PASSPHRASE=x"}
	for _, k := range keys {
		v := keyValues[k.name]
		src, err := withSettings(bare, []string{k.name + "=" + v})
		if err != nil {
			t.Errorf("%s: %v", k.name, err)
			continue
		}
		written, err1 := parseConfig(dir, src, nil, env)
		flagged, err2 := parseConfig(dir, bare, []string{k.name + "=" + v}, env)
		if err1 != nil || err2 != nil {
			t.Errorf("%s: %v / %v", k.name, err1, err2)
			continue
		}
		written.places, written.lookup, flagged.places, flagged.lookup = nil, nil, nil, nil
		if !reflect.DeepEqual(written, flagged) {
			t.Errorf("%s: the file says another thing:\n%+v\n%+v", k.name, written, flagged)
		}
		if a, b := bytes.Count(src, []byte("\n")), bytes.Count(bare, []byte("\n")); a != b || bytes.Count(src, []byte("#")) != bytes.Count(bare, []byte("#")) {
			t.Errorf("%s: lines or comments were lost", k.name)
		}
	}
	src, err := withSettings(bare, []string{"validation.resolvers=10.0.0.1, 10.0.0.2"})
	if c, cerr := parseConfig(dir, src, nil, env); err != nil || cerr != nil || len(c.Validation.Resolvers) != 2 {
		t.Errorf("a list of words: %v %v", err, cerr)
	}
	if _, err := withSettings(bare, []string{"profiles.short.validity=1d"}); err == nil {
		t.Error("a profile has no line, and that was not said")
	}
}

// TestPrecedence: flag before environment before file before default.
func TestPrecedence(t *testing.T) {
	file := []byte("acme: {wait: 2s, max_connections: 20}\nvalidation: {http_port: 8080}\n")
	env := []string{"CHANCERY_ACME_WAIT=3s", "CHANCERY_ACME_MAX_CONNECTIONS=30", "CHANCERY_PROFILES_SHORT_MAX_VALIDITY=5d", "CHANCERY_PROFILES_SHORT_VALIDITY=4d"}
	set := []string{"acme.wait=4s", "profiles.short.validity=3d", "validation.resolvers=10.0.0.1, 10.0.0.2", "acme.hostnames=[a.example]"}
	c, err := parseConfig(secretDir(t), file, set, env)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Profiles["short"]
	switch {
	case c.ACME.Wait != 4*time.Second, c.ACME.MaxConnections != 30, c.Validation.HTTPPort != 8080, c.Validation.TLSPort != 443:
		t.Errorf("got %+v %+v", c.ACME, c.Validation)
	case p == nil || p.Validity != 3*day || p.MaxValidity != 5*day:
		t.Errorf("got profile %+v", p)
	case len(c.Validation.Resolvers) != 2, len(c.ACME.Hostnames) != 1:
		t.Errorf("got lists %q %q", c.Validation.Resolvers, c.ACME.Hostnames)
	}
}

// keyValues has a value for each key that is not its default.
var keyValues = map[string]string{
	"limits.new_accounts_per_ip": "7/1h", "limits.new_orders_per_account": "off", "limits.new_orders_per_domain": "7/1h", "limits.duplicate_certificates": "7/2d",
	"limits.failed_validations_per_account": "7/1h", "limits.failed_validations_per_name": "7/1h", "limits.failed_validations_per_identifier": "7/1h", "limits.failed_validations_per_domain": "7/1h",
	"limits.concurrent_validations_per_account": "7", "limits.concurrent_retries": "7", "limits.connections_per_target": "7", "limits.pause_after": "7", "limits.pause_over": "7h",
	"limits.overrides":            `{"account:AZmqAAAAAAAAAAAAAAAAAA": {new_orders_per_account: 9/1h, concurrent_validations_per_account: 9}, "eab:AZmqAAAAAAAAAAAAAAAAAA": {new_accounts_per_ip: off}}`,
	"acme.max_connections_per_ip": "7", "publish.max_connections_per_ip": "0",
	"acme.listen": ":1", "publish.listen": ":2", "admin.listen": ":3", "acme.url": "https://a.example", "publish.url": "http://a.example",
	"acme.external_account": "required", "storage.dsn": "sqlite::memory:", "keystore.issuer": "file:x", "keystore.tls": "file:y",
	"keystore.passphrase": "{env: CA_PASSPHRASE}", "limits.enabled": "false", "default_profile": "server", "policy.rules": "lab", "policy.weak_keys": "[]", "policy.denied_names": "[]",
	"validation.zones": "{corp.internal: [10.0.0.53, tcp://10.0.1.53]}", "validation.resolver_ca": "dns.pem", "validation.dns_0x20": "false", "validation.dnssec": "require-ad",
	"validation.quorum": "0", "validation.perspectives": "[{name: fra, url: 'https://10.0.0.5:15000', pin: 'sha256:abababababababababababababababababababababababababababababababab'}]", "validation.resolvers": "[10.0.0.1]", "validation.denied_networks": "[10.0.0.0/8]",
	"validation.allowed_networks": "[10.0.0.0/8]", "log.level": "warn", "log.format": "json", "acme.wait": "2s", "validation.timeout": "2s",
	"validation.reuse": "2d", "crl.validity": "2d", "crl.refresh": "2h", "ocsp.validity": "2d", "acme.terms_of_service": "https://t.example",
	"acme.website": "https://w.example", "acme.hostnames": "[h.example]", "acme.caa_identities": "[h.example]", "admin.token": "t", "keystore.certificate": "c.pem", "keystore.chains": "[d.pem]",
	"acme.max_connections": "20", "publish.max_connections": "20", "validation.max_concurrent": "20", "validation.http_port": "20", "validation.tls_port": "21",
}

// TestEveryKeyByFlagAndEnvironment sets each key by all three ways and wants
// the same outcome, or the same refusal.
func TestEveryKeyByFlagAndEnvironment(t *testing.T) {
	for _, k := range keys {
		v, ok := keyValues[k.name]
		if !ok {
			t.Errorf("no value for %s: add one", k.name)
			continue
		}
		quoted := v
		if !strings.ContainsAny(v[:1], "[{") {
			quoted = yamlText(v)
		}
		section, leaf, deep := strings.Cut(k.name, ".")
		file := section + ": " + quoted
		if deep {
			file = section + ": {" + leaf + ": " + quoted + "}"
		}
		dir, env := secretDir(t), []string{"CA_PASSPHRASE=x"}
		byFile, err1 := parseConfig(dir, []byte(file), nil, env)
		byFlag, err2 := parseConfig(dir, nil, []string{k.name + "=" + v}, env)
		byEnv, err3 := parseConfig(dir, nil, nil, append(env, envName(k.name)+"="+v))
		if err1 != nil || err2 != nil || err3 != nil {
			t.Errorf("%s: %v / %v / %v", k.name, err1, err2, err3)
			continue
		}
		for _, c := range []*Config{byFile, byFlag, byEnv} {
			if _, ok := c.places[k.name]; !ok {
				t.Errorf("%s was not set", k.name)
			}
			c.places, c.lookup = nil, nil
		}
		if !reflect.DeepEqual(byFile, byFlag) || !reflect.DeepEqual(byFile, byEnv) {
			t.Errorf("%s: file, flag and environment differ:\n%+v\n%+v\n%+v", k.name, byFile, byFlag, byEnv)
		}
	}
}

func TestFlagsAndEnvironmentAreStrict(t *testing.T) {
	_, err := parseConfig(secretDir(t), nil, []string{"acme.wait", "acme.nope=1", "acme.wait=x"}, []string{"CHANCERY_ACME_LISTEN=here"})
	if err == nil {
		t.Fatal("no mistakes")
	}
	for _, want := range []string{
		"environment: acme.listen: \"here\"", "--set: acme.wait: has no =", "--set: acme.nope: no such key", "--set: acme.wait: \"x\" is not a duration",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}

// TestForeignVariables: a platform's own variables are warned about, not refused.
func TestForeignVariables(t *testing.T) {
	c, err := parseConfig(secretDir(t), nil, nil, []string{"CHANCERY_SERVICE_HOST=10.0.0.1", "CHANCERY_DIR=/x", "OTHER=1", "CHANCERY_ACME_URL="})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "CHANCERY_SERVICE_HOST") {
		t.Errorf("got %q", c.Warnings)
	}
}

func TestPathsAreRelativeToTheDirectory(t *testing.T) {
	dir := secretDir(t)
	c, err := parseConfig(dir, []byte("keystore: {issuer: 'file:/abs/k.pem', chains: [o.pem]}"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		c.Keystore.Issuer: "file:/abs/k.pem", c.Keystore.Chains[0]: filepath.Join(dir, "o.pem"), c.Keystore.TLS: "file:" + filepath.Join(dir, "keys/tls.pem"),
		c.Storage.DSN: "sqlite:" + filepath.Join(dir, "chancery.db"), c.Admin.Token: filepath.Join(dir, "admin.token"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"90d": 90 * day, "1d12h": 36 * time.Hour, "1h": time.Hour, "0": 0, "0d": 0, "250ms": 250 * time.Millisecond} {
		if got, err := duration(in); err != nil || got != want {
			t.Errorf("%s: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "90", "1.5", "d", "-1d", "1d-1h", "1d1d", "99999999999d", "1y", "1d 1h"} {
		if got, err := duration(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
	for d, want := range map[time.Duration]string{10 * day: "10d", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 12 * time.Hour: "12h", 0: "0s", 100 * time.Millisecond: "100ms", 10 * time.Second: "10s", 10 * time.Minute: "10m"} {
		if got := words(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

// TestSecretFiles covers SAFETY F32: missing, empty, only a newline, CRLF.
func TestSecretFiles(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
		err     string
	}{
		"plain":         {"secret", 0o600, "secret", ""},
		"newline":       {"secret\n", 0o600, "secret", ""},
		"crlf":          {"secret\r\n", 0o600, "secret", ""},
		"inner spaces":  {" se cret ", 0o400, " se cret ", ""},
		"for the group": {"secret", 0o640, "secret", ""},
		"for all":       {"secret", 0o644, "", "has mode 0644"},
		"group writes":  {"secret", 0o660, "", "has mode 0660"},
		"empty":         {"", 0o600, "", "is empty"},
		"only newline":  {"\n", 0o600, "", "is empty"},
		"too large":     {strings.Repeat("x", maxSecretSize+1), 0o600, "", "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			if err := errors.Join(os.WriteFile(path, []byte(c.content), 0o600), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			got, err := Secret{File: path}.Read(lookupIn(nil))
			if string(got) != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret\"") {
				t.Error("the secret stands in the message")
			}
		})
	}
	if _, err := (Secret{File: t.TempDir()}).Read(nil); err == nil {
		t.Error("a directory was read")
	}
}

func TestReadConfigRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadConfig(dir, nil, nil); err == nil || !strings.Contains(err.Error(), "chancery init") {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, configFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(dir, nil, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

// FuzzConfig: any bytes end in a configuration or in mistakes.
func FuzzConfig(f *testing.F) {
	for _, kind := range []string{"good", "bad"} {
		paths, _ := filepath.Glob(filepath.Join(testdata, kind, "*.yaml"))
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, "acme.listen=:1")
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, set string) {
		if len(src) > maxConfigSize {
			return
		}
		var m Mistakes
		c := layConfig(&m, "/d", src, []string{set}, []string{"CHANCERY_ACME_HOSTNAMES=" + set})
		if err := m.err(); err == nil && c.Profiles[c.DefaultProfile] == nil {
			t.Error("a good configuration without its default profile")
		}
	})
}
