package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

const policyDoc = "../../../docs/policy.md"

// referenceIn is the part of docs/policy.md that is made by the code.
func referenceIn(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile(policyDoc)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "<!-- begin: chancery policy print --reference -->\n\n")
	part, _, end := strings.Cut(rest, "\n<!-- end -->")
	if !ok || !end {
		t.Fatalf("%s has not its two marks", policyDoc)
	}
	return part
}

// TestIncident_I11: what the documentation says of methods, names and numbers
// is what the running tables say, and the ACME side offers what they have.
func TestIncident_I11(t *testing.T) {
	documented, running := strings.Split(referenceIn(t), "\n"), strings.Split(PolicyReference(), "\n")
	for i := range max(len(documented), len(running)) {
		var d, r string
		if i < len(documented) {
			d = documented[i]
		}
		if i < len(running) {
			r = running[i]
		}
		if d != r {
			t.Fatalf("docs/policy.md and the running tables differ; copy what `chancery policy print --reference` prints.\nline %d documented: %s\nline %d running:    %s", i+1, d, i+1, r)
		}
	}
	var methods []string
	for _, p := range ca.Proofs() {
		methods = append(methods, p.Method)
	}
	served := []string{string(acme.DNS01), string(acme.HTTP01), string(acme.TLSALPN01)}
	if !slices.Equal(methods, served) {
		t.Errorf("the signing core counts %q, the engine serves %q", methods, served)
	}
}

// TestIncident_I47: what is promised about keys is what is done: each way of
// blocking that the documentation names is in the table, and the numbers in it
// are those of the code.
func TestIncident_I47(t *testing.T) {
	doc := referenceIn(t)
	for _, k := range ca.KeyRules() {
		if !strings.Contains(doc, "| "+k.Rule+" | "+k.Reference+" |\n") {
			t.Errorf("docs/policy.md does not say: %s", k.Rule)
		}
	}
	for _, r := range ca.RuleSets() {
		for i := range ca.NameClasses() {
			c := &ca.NameClasses()[i]
			if !strings.Contains(doc, "| "+c.Name+" | "+c.What+" |") {
				t.Errorf("docs/policy.md does not have the class %s", c.Name)
			}
		}
		for _, d := range r.MaxValidity {
			if !strings.Contains(doc, "| "+r.Name+" | ") || !strings.Contains(doc, words(d.Value)) {
				t.Errorf("docs/policy.md does not have %s of %s", words(d.Value), r.Name)
			}
		}
	}
}

func TestPolicyInForce(t *testing.T) {
	dir := secretDir(t)
	weak, names := strings.Repeat("5a", 32)+"\n"+strings.Repeat("0f", 10)+"\n", "bank.example\n=a.example\n10.0.0.0/8\n"
	for file, text := range map[string]string{"weak.txt": weak, "names.txt": names} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), modeSecret); err != nil {
			t.Fatal(err)
		}
	}
	src := "policy: {weak_keys: [weak.txt], denied_names: [names.txt]}\nprofiles: {short: {validity: 6d, max_validity: 7d, allowed_names: [corp.example], denied_names: ['=x.corp.example']}}\n"
	c, err := parseConfig(dir, []byte(src), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := c.PolicyInForce(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	for _, want := range []string{
		"rule set          private-strict\n", "longest validity  825d\n", "weak keys         2 listed\n", "denied names      3 listed\n", "profile server (default)\n",
		"profile short\n  validity        6d, at most 7d\n", "  allowed names   corp.example\n  denied names    =x.corp.example\n", "  allowed names   whatever the rule set allows\n  denied names    none\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// TestListsAreWholeOrNot: SAFETY I27, row 205: what can't be read stops the
// start, with its place.
func TestListsAreWholeOrNot(t *testing.T) {
	for what, c := range map[string]struct{ text, want string }{
		"empty":     {"", "has no entries"},
		"BOM":       {"\ufeffbank.example\n", "line 1 has the octet 0xef"},
		"CRLF":      {"bank.example\r\n", "line 1 ends with a carriage return"},
		"one wrong": {"bank.example\n*.bank.example\n", "line 2"},
	} {
		dir := secretDir(t)
		if err := os.WriteFile(filepath.Join(dir, "names.txt"), []byte(c.text), modeSecret); err != nil {
			t.Fatal(err)
		}
		_, err := parseConfig(dir, []byte("policy:\n  denied_names: [names.txt]\n"), nil, nil)
		if err == nil || !strings.Contains(err.Error(), "chancery.yaml:2: policy.denied_names: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	dir := secretDir(t)
	if err := os.Mkdir(filepath.Join(dir, "names.txt"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"denied_names", "weak_keys"} {
		if _, err := parseConfig(dir, []byte("policy: {"+key+": [names.txt]}"), nil, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s is a directory: %v", key, err)
		}
		if _, err := parseConfig(dir, []byte("policy: {"+key+": [gone.txt]}"), nil, nil); err == nil || !strings.Contains(err.Error(), "there is no file") {
			t.Errorf("%s is not there: %v", key, err)
		}
	}
}
