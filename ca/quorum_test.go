package ca

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// seen are rows of a primary that passed and remotes with these outcomes.
func seen(outcomes ...Outcome) []Perspective {
	rows := []Perspective{{Name: PrimaryPerspective, Primary: true, Outcome: OutcomePass}}
	for i, o := range outcomes {
		rows = append(rows, Perspective{Name: fmt.Sprintf("r%d", i), Outcome: o})
	}
	return rows
}

// TestPerspectivesAtSigning: the signing core counts the perspectives of each
// name itself (I12, I19). Whatever row is missing, doubled or no pass too many,
// nothing is signed and nothing reserved.
func TestPerspectivesAtSigning(t *testing.T) {
	h := newHouse(t, "ec256")
	h.authority.Perspectives = PerspectivePolicy{Remotes: 3}
	good := h.request(t, "order", newTestKey(t, "ec256"), "a.example", "b.example")
	three := seen(OutcomePass, OutcomeError, OutcomePass)
	prove := func(r *Request, proof, caa []Perspective) {
		r.Evidence = slices.Clone(r.Evidence)
		for i := range r.Evidence {
			e := *r.Evidence[i].CAA
			e.Perspectives = three
			r.Evidence[i].Perspectives, r.Evidence[i].CAA = three, &e
		}
		r.Evidence[1].Perspectives, r.Evidence[1].CAA.Perspectives = proof, caa
	}
	without := slices.Clone(three)[1:]
	failing := slices.Clone(three)
	failing[0].Outcome = OutcomeFail
	renamed := slices.Clone(three)
	renamed[0].Name = "r9"
	twice := slices.Clone(three)
	twice[2] = twice[1]
	late := slices.Concat(three[1:], three[:1])
	second := slices.Clone(three)
	second[1].Primary = true
	for how, rows := range map[string][]Perspective{
		"none": nil, "no primary": without, "the primary failed": failing, "another in the primary's place": renamed,
		"one twice": twice, "the primary last": late, "two primaries": second,
		"one remote too few": seen(OutcomePass, OutcomePass), "one no pass too many": seen(OutcomePass, OutcomeFail, OutcomeError),
		"an outcome that is none": seen(OutcomePass, "PASS", ""), "the primary alone": seen(),
	} {
		for part := range 2 {
			r := *good
			if part == 0 {
				prove(&r, rows, three)
			} else {
				prove(&r, three, rows)
			}
			_, err := h.authority.Issue(t.Context(), &r)
			if refusal := wantRefusal(t, err, NotProven); refusal.Identifier == nil || refusal.Identifier.Value() != "b.example" {
				t.Errorf("%s: %v", how, err)
			}
		}
	}
	if len(h.ledger.certs) != 0 {
		t.Fatalf("%d reservations", len(h.ledger.certs))
	}
	r := *good
	prove(&r, three, three)
	if _, err := h.authority.Issue(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
}

// TestQuorumTable is BR 3.2.2.9 (R16), rows and dates.
func TestQuorumTable(t *testing.T) {
	for n, most := range []int{0, 0, 1, 1, 1, 1, 2, 2, 2} {
		if got := MayDissent(n); got != most {
			t.Errorf("%d remotes: %d may dissent, want %d", n, got, most)
		}
	}
	public, err := RulesByName(PublicTLS)
	check(t, err)
	for day, least := range map[string]int{
		"2025-09-14": 0, "2025-09-15": 2, "2026-03-14": 2, "2026-03-15": 3, "2026-06-14": 3, "2026-06-15": 4, "2026-12-14": 4, "2026-12-15": 5, "2040-01-01": 5,
	} {
		at, err := time.Parse(time.DateOnly, day)
		check(t, err)
		for n := range 8 {
			if err := public.CheckPerspectives(PerspectivePolicy{Remotes: n}, at); (err == nil) != (n >= least) {
				t.Errorf("%s, %d remotes: %v, want %d or more", day, n, err, least)
			}
		}
		for _, r := range RuleSets() {
			if err := r.CheckPerspectives(PerspectivePolicy{}, at); r != public && err != nil {
				t.Errorf("%s, %s: %v", day, r.Name, err)
			}
		}
	}
	at := since(2026, 12, 15)
	for _, c := range []struct {
		rules           string
		remotes, quorum int
		says            string
	}{
		{PublicTLS, 5, 4, ""},
		{PublicTLS, 5, 5, ""},
		{PublicTLS, 5, 3, "asks 4 to corroborate"},
		{PublicTLS, 6, 4, ""},
		{PrivateStrict, 5, 1, ""},
		{PrivateStrict, 1, 2, "no quorum of 2"},
		{PrivateStrict, 1, -1, "no quorum of -1"},
		{PrivateStrict, MaxRemotes + 1, 0, "at most 16"},
	} {
		r, err := RulesByName(c.rules)
		check(t, err)
		err = r.CheckPerspectives(PerspectivePolicy{Remotes: c.remotes, Quorum: c.quorum}, at)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestPublicRulesAtSigning: a configuration that was enough at its start is
// looked at again when something is signed.
func TestPublicRulesAtSigning(t *testing.T) {
	public, err := RulesByName(PublicTLS)
	check(t, err)
	a := &Authority{Rules: public, Perspectives: PerspectivePolicy{Remotes: 4}}
	p := DefaultProfile()
	r := &Request{Order: "o", Account: "a", Evidence: []NameEvidence{{Perspectives: seen(OutcomePass, OutcomePass, OutcomePass, OutcomePass)}}}
	r.Now = since(2026, 12, 15).Add(-time.Second)
	check(t, a.checkPerspectives(&p, r))
	r.Now = since(2026, 12, 15)
	var refusal *Refusal
	if err := a.checkPerspectives(&p, r); !errors.As(err, &refusal) || !strings.Contains(refusal.Detail, "asks for 5 or more") {
		t.Errorf("got %v", err)
	}
}
