package app

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var anyPin = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// TestPerspectivePairing: the CA's `pin` prints a line that starts a
// perspective, which prints what the CA's configuration takes. Both pins stay
// over restarts, and the keys are encrypted and private.
func TestPerspectivePairing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Init(t.Context(), InitSpec{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	set := []string{"acme.caa_identities=ca.example", "validation.http_port=8080"}
	text, err := PerspectivePin(dir, set, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := PerspectivePin(dir, set, nil)
	if err != nil || again != text {
		t.Errorf("another pin the second time: %v\n%s\n%s", err, text, again)
	}
	for _, want := range []string{"--peer " + anyPin.FindString(text), "--set acme.caa_identities=ca.example", "--set validation.http_port=8080"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	o := PerspectiveOptions{Dir: filepath.Join(t.TempDir(), "remote"), Listen: "127.0.0.1:0", Peers: []string{anyPin.FindString(text)}, Set: set}
	var pins []string
	for range 2 {
		r, err := OpenPerspective(o)
		if err != nil {
			t.Fatal(err)
		}
		pins = append(pins, r.Pin())
		if _, err := OpenPerspective(o); !errors.Is(err, ErrInUse) {
			t.Errorf("a second process in the directory: %v", err)
		}
		_, entry, _ := strings.Cut(r.Welcome(), "\n\n")
		if _, err := parseConfig(secretDir(t), []byte(strings.Replace(entry, "NAME", "fra", 1)), nil, nil); err != nil {
			t.Errorf("the printed entry is no configuration: %v\n%s", err, entry)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	if pins[0] != pins[1] || pins[0] == anyPin.FindString(text) {
		t.Errorf("pins %v beside %s", pins, text)
	}
	for _, d := range []string{dir, o.Dir} {
		path := filepath.Join(d, perspectiveKeyFile)
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, st, err)
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("ENCRYPTED PRIVATE KEY")) {
			t.Errorf("%s is not encrypted: %v", path, err)
		}
	}
}

func TestPerspectiveRefuses(t *testing.T) {
	pin := "sha256:" + strings.Repeat("ab", 32)
	whole := filepath.Join(t.TempDir(), "ca")
	if err := Init(t.Context(), InitSpec{Dir: whole}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    PerspectiveOptions
		says string
	}{
		{PerspectiveOptions{Listen: "127.0.0.1:0"}, "wants 1 to 16 pins"},
		{PerspectiveOptions{Listen: "127.0.0.1:0", Peers: []string{"everybody"}}, "is no pin"},
		{PerspectiveOptions{Listen: "here", Peers: []string{pin}}, "no address to listen on"},
		{PerspectiveOptions{Listen: "127.0.0.1:0", Peers: []string{pin}, Set: []string{"publish.url=http://x"}}, "means nothing to a perspective"},
		{PerspectiveOptions{Listen: "127.0.0.1:0", Peers: []string{pin}, Set: []string{"validation.quorum=1"}}, "means nothing to a perspective"},
		{PerspectiveOptions{Listen: "127.0.0.1:0", Peers: []string{pin}, Set: []string{"validation.timeout=1y"}}, "is not a duration"},
		{PerspectiveOptions{Dir: whole, Listen: "127.0.0.1:0", Peers: []string{pin}}, "is a CA's directory"},
	} {
		if c.o.Dir == "" {
			c.o.Dir = filepath.Join(t.TempDir(), "remote")
		}
		if _, err := OpenPerspective(c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.says)
		}
	}
}

// TestPublicRulesNeedPerspectives: a public CA does not start without them.
func TestPublicRulesNeedPerspectives(t *testing.T) {
	_, err := parseConfig(secretDir(t), nil, []string{"policy.rules=public-tls"}, nil)
	if err == nil || !strings.Contains(err.Error(), "validation.perspectives: has 0 entries; rule set public-tls asks for") {
		t.Errorf("got %v", err)
	}
}
