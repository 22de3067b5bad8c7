package ca

import (
	"fmt"
	"time"
)

// Outcome is what one network perspective made of one name.
type Outcome string

// The outcomes. Only OutcomePass corroborates.
const (
	OutcomePass  Outcome = "pass"
	OutcomeFail  Outcome = "fail"  // it looked, and the name was not proven, or forbidden
	OutcomeError Outcome = "error" // it gave no answer that counts
)

// Perspective is the row of one perspective about one name (BR 5.4.1(2)7: who,
// and what came of it). A perspective that did not answer has its row too
// (SAFETY I19).
type Perspective struct {
	Name    string  `json:"name"`
	Primary bool    `json:"primary,omitempty"` // it is this CA itself
	Outcome Outcome `json:"outcome"`
	Why     string  `json:"why,omitempty"` // when it was no pass; bounded, escaped by whoever made it
}

// PrimaryPerspective is the name of the primary's row. No remote may have it.
const PrimaryPerspective = "primary"

// MaxRemotes bounds how many remote perspectives there can be: each is asked,
// and has a row, for each name.
const MaxRemotes = 16

// PerspectivePolicy says how many network perspectives have to see what the
// primary saw. The zero value asks for none.
type PerspectivePolicy struct {
	Remotes int // remote perspectives that are asked
	Quorum  int // of them that must corroborate; 0: all but what MayDissent allows
}

// dissent is the quorum table of BR 3.2.2.9: from so many remote perspectives
// on, so many may fail to corroborate. A single remote is not in the table,
// which begins at two; it must corroborate, else it would be for nothing.
var dissent = []struct{ remotes, most int }{{0, 0}, {2, 1}, {6, 2}}

// MayDissent is how many of so many remote perspectives need not corroborate.
func MayDissent(remotes int) int {
	most := 0
	for _, row := range dissent {
		if remotes >= row.remotes {
			most = row.most
		}
	}
	return most
}

// minRemotes are the least remote perspectives of public-tls, by the day of
// signing (BR 3.2.2.9; R16). Private rule sets leave it to the configuration.
var minRemotes = []struct {
	from  time.Time
	least int
}{
	{since(2025, 9, 15), 2},
	{since(2026, 3, 15), 3},
	{since(2026, 6, 15), 4},
	{since(2026, 12, 15), 5},
}

// RemotesAt is how many remote perspectives the rule set asks for at least.
func (r *Rules) RemotesAt(now time.Time) int {
	least := 0
	for _, row := range minRemotes {
		if r.Name == PublicTLS && !now.Before(row.from) {
			least = row.least
		}
	}
	return least
}

// CheckPerspectives says what the rule set finds wrong with a policy at an
// instant. The texts continue the name of a key.
func (r *Rules) CheckPerspectives(p PerspectivePolicy, now time.Time) error {
	switch least := r.RemotesAt(now); {
	case p.Remotes > MaxRemotes:
		return fmt.Errorf("has %d entries; at most %d are possible", p.Remotes, MaxRemotes)
	case p.Remotes < least:
		return fmt.Errorf("has %d entries; rule set %s asks for %d or more from %s on (BR 3.2.2.9)", p.Remotes, r.Name, least, stamp(now))
	case p.Quorum < 0 || p.Quorum > p.Remotes:
		return fmt.Errorf("has %d entries, so that no quorum of %d is possible", p.Remotes, p.Quorum)
	case r.Name == PublicTLS && p.Quorum != 0 && p.Quorum < p.Remotes-MayDissent(p.Remotes):
		return fmt.Errorf("has %d entries, of which rule set %s asks %d to corroborate; the quorum is %d (BR 3.2.2.9)", p.Remotes, r.Name, p.Remotes-MayDissent(p.Remotes), p.Quorum)
	}
	return nil
}

// Needed is how many of so many remotes that were asked must corroborate.
func (p PerspectivePolicy) Needed(asked int) int {
	if p.Quorum > 0 {
		return p.Quorum
	}
	return asked - MayDissent(asked)
}

// Flaw is what is missing in the rows about one name for the policy, or "". It
// counts rows and believes no sum that somebody else made (SAFETY I12, I19):
// the primary's own pass stands first, each remote has one row, and enough of
// them are passes. Its text says numbers and no places (F48).
func (p PerspectivePolicy) Flaw(rows []Perspective) string {
	if len(rows) == 0 && p.Remotes == 0 {
		return "" // one perspective, this CA itself, whose verdict stands elsewhere
	}
	if len(rows) == 0 || !rows[0].Primary || rows[0].Name != PrimaryPerspective || rows[0].Outcome != OutcomePass {
		return "the primary perspective was not asked, or did not pass"
	}
	seen := make(map[string]bool, len(rows))
	passed := 0
	for _, row := range rows[1:] {
		if row.Primary || row.Name == PrimaryPerspective || row.Name == "" || seen[row.Name] {
			return "a perspective was counted twice"
		}
		seen[row.Name] = true
		if row.Outcome == OutcomePass {
			passed++
		}
	}
	asked := len(rows) - 1
	switch needed := p.Needed(asked); {
	case asked < p.Remotes:
		return fmt.Sprintf("%d remote perspectives were asked, and %d have to be", asked, p.Remotes)
	case passed < needed:
		return fmt.Sprintf("%d of %d remote perspectives corroborate it, and %d have to", passed, asked, needed)
	}
	return ""
}

// perspectiveFlaw is what is missing in a name's evidence as to perspectives,
// or "". CAA records count apart from the proof, and only where they decide.
func (a *Authority) perspectiveFlaw(p *Profile, e *NameEvidence) string {
	if why := a.Perspectives.Flaw(e.Perspectives); why != "" {
		return "its validation: " + why
	}
	if e.CAA == nil || p.caaMode() != CAAEnforce {
		return ""
	}
	if why := a.Perspectives.Flaw(e.CAA.Perspectives); why != "" {
		return "its CAA records: " + why
	}
	return ""
}

// checkPerspectives refuses what was not seen from enough perspectives. The
// policy itself is held against the rule set again, since its numbers grow
// stricter at a date. Chancery's own certificates need none, as they need no
// evidence. The error is a *Refusal.
func (a *Authority) checkPerspectives(p *Profile, r *Request) error {
	if r.own() {
		return nil
	}
	policy := a.rules().CheckPerspectives(a.Perspectives, r.Now)
	for i := range r.Evidence {
		e := &r.Evidence[i]
		if policy != nil {
			return notProven(e.Name, "validation.perspectives "+policy.Error())
		}
		if why := a.perspectiveFlaw(p, e); why != "" {
			return notProven(e.Name, why)
		}
	}
	return nil
}
