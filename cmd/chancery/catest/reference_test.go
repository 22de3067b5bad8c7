package catest_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chancery/ca/lint"
	"chancery/cmd/chancery/app"
)

func reference(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestConfigurationReference: docs/configuration.md has every key, and no
// other.
func TestConfigurationReference(t *testing.T) {
	text, _, _ := strings.Cut(reference(t), "## Lints")
	var keys []string
	for line := range strings.Lines(app.KeyReference()) {
		name, _, _ := strings.Cut(line, " ")
		keys = append(keys, name)
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/configuration.md does not have %s", name)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-zA-Z_.]+)` \\|").FindAllStringSubmatch(text, -1) {
		if !slices.Contains(keys, m[1]) {
			t.Errorf("docs/configuration.md has %s, which is no key", m[1])
		}
	}
}

// TestLintReference: docs/configuration.md says which lints are off, and why.
func TestLintReference(t *testing.T) {
	_, text, _ := strings.Cut(reference(t), "## Lints")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(text, -1)
	off := lint.Disabled()
	if len(rows) != len(off) {
		t.Errorf("docs/configuration.md has %d lints, %d are off", len(rows), len(off))
	}
	for _, o := range off {
		if !slices.ContainsFunc(rows, func(r []string) bool { return r[1] == o.Lint && r[2] == o.Why }) {
			t.Errorf("docs/configuration.md does not say: %s is off, because %s", o.Lint, o.Why)
		}
	}
}
