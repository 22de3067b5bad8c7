package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"chancery/ca"
)

// PolicyReference is what the rule sets say, in Markdown, made of the tables
// by which certificates are issued. docs/policy.md holds a copy, and a test
// compares the two (SAFETY I11, I47): a rule that changes changes its
// documentation.
func PolicyReference() string {
	var b strings.Builder
	sets := ca.RuleSets()
	b.WriteString("### Rule sets\n\n| rule set | what it is for |\n|---|---|\n")
	for i, r := range sets {
		name := r.Name
		if i == 0 {
			name += " (default)"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", name, r.Description)
	}
	b.WriteString("\n### Names\n\nA name may belong to several classes; the strictest answer counts. A name of none is certified.\n")
	b.WriteString("`if listed` means: only when the profile's `allowed_names` hold the name.\n\n")
	writeClasses(&b, sets, ca.NameClasses())
	b.WriteString("\n### Addresses\n\nLikewise.\n\n")
	writeClasses(&b, sets, ca.AddressClasses())
	b.WriteString("\n### Numbers with dates\n\nBy the day of signing or of use, 00:00 UTC. A profile may be stricter.\n\n| number | rule set | from | value |\n|---|---|---|---|\n")
	for _, r := range sets {
		writeDated(&b, "longest validity, both ends included", r.Name, r.MaxValidity)
	}
	for _, r := range sets {
		writeDated(&b, "longest reuse of a proof of control", r.Name, r.Reuse)
	}
	b.WriteString("\n### Profiles\n\n| rule set | key types | must have |\n|---|---|---|\n")
	for _, r := range sets {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.Name, strings.Join(r.Keys, ", "), musts(r))
	}
	b.WriteString("\n### Keys\n\nFor certificates and accounts alike, under every rule set.\n\n| rule | reference |\n|---|---|\n")
	for _, k := range ca.KeyRules() {
		fmt.Fprintf(&b, "| %s | %s |\n", k.Rule, k.Reference)
	}
	b.WriteString("\n### Methods\n\nWhat proves control of what. Others are not built.\n\n| method | name | wildcard | address |\n|---|---|---|---|\n")
	for _, p := range ca.Proofs() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", p.Method, yesNo(p.Name), yesNo(p.Wildcard), yesNo(p.IP))
	}
	return b.String()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func writeClasses(b *strings.Builder, sets []*ca.Rules, classes []ca.NameClass) {
	b.WriteString("| class | what it is | reference |")
	for _, r := range sets {
		b.WriteString(" " + r.Name + " |")
	}
	b.WriteString(" why " + sets[0].Name + " says so |\n|---|---|---|" + strings.Repeat("---|", len(sets)) + "---|\n")
	for i := range classes {
		c := &classes[i]
		fmt.Fprintf(b, "| %s | %s | %s |", c.Name, c.What, c.Reference)
		for _, r := range sets {
			fmt.Fprintf(b, " %s |", r.Decide(c))
		}
		fmt.Fprintf(b, " %s |\n", c.Why)
	}
}

func writeDated(b *strings.Builder, what, set string, table []ca.Dated) {
	for _, d := range table {
		from := "always"
		if !d.From.IsZero() {
			from = d.From.Format(time.DateOnly)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", what, set, from, words(d.Value))
	}
}

func musts(r *ca.Rules) string {
	var all []string
	if r.ServerAuth {
		all = append(all, "serverAuth")
	}
	if r.CAA {
		all = append(all, "CAA records enforced")
	}
	if r.Policy != "" {
		all = append(all, "certificate policy "+r.Policy)
	}
	if r.Pointers {
		all = append(all, "pointers to a CRL or an OCSP responder, and to the issuer's certificate")
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, "; ")
}

// PolicyInForce is what the configuration makes of the rules at an instant.
func (c *Config) PolicyInForce(now time.Time) string {
	var b strings.Builder
	r := c.Policy.rules
	fmt.Fprintf(&b, "rule set          %s\nlongest validity  %s\nlongest reuse     %s (validation.reuse: %s)\nweak keys         %d listed\ndenied names      %d listed\n",
		r.Name, words(r.MaxValidityAt(now)), words(r.ReuseAt(now)), words(c.Validation.Reuse), c.Policy.weak.Len(), len(c.Policy.denied.Patterns()))
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		p := c.Profiles[name]
		mark := ""
		if name == c.DefaultProfile {
			mark = " (default)"
		}
		fmt.Fprintf(&b, "profile %s%s\n  validity        %s, at most %s\n  key types       %s\n", name, mark,
			words(min(p.Validity, r.MaxValidityAt(now))), words(min(p.MaxValidity, r.MaxValidityAt(now))), strings.Join(p.Keys, ", "))
		writeNames(&b, "  allowed names   ", p.AllowedNames, "whatever the rule set allows")
		writeNames(&b, "  denied names    ", p.DeniedNames, "none")
	}
	return b.String()
}

func writeNames(b *strings.Builder, head string, l *ca.NameList, none string) {
	var texts []string
	for _, p := range l.Patterns() {
		texts = append(texts, p.String())
	}
	if len(texts) == 0 {
		texts = []string{none}
	}
	fmt.Fprintf(b, "%s%s\n", head, strings.Join(texts, ", "))
}
