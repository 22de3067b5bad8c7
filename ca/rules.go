package ca

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rules is a rule set: what may be certified at all, whatever a profile says.
// The sets are data, with the dates from which their numbers hold, in this
// file (numbers) and in rules_names.go (names). `chancery policy print` shows
// them; docs/policy.md is a copy that a test compares (I11, I47).
type Rules struct {
	Name        string
	Description string

	// MaxValidity is the most that a profile can give, by the day of signing.
	// Both ends of a validity count (I35).
	MaxValidity []Dated
	// Reuse is the most that a proof of control can be used for, by the day of
	// its use.
	Reuse []Dated
	// Keys are the kinds that a profile may certify.
	Keys []string
	// ServerAuth, Pointers, CAA and Policy are what a profile must have: the
	// extended key usage; a CRL or OCSP pointer and one to the issuer's
	// certificate; CAA records that are enforced; and exactly this certificate
	// policy, unless it is empty.
	ServerAuth bool
	Pointers   bool
	CAA        bool
	Policy     string

	column int // of the tables in rules_names.go
}

// Dated is a number and the instant from which it holds.
type Dated struct {
	From  time.Time // zero: always
	Value time.Duration
}

// Names of rule sets.
const (
	PrivateStrict = "private-strict"
	PublicTLS     = "public-tls"
	Lab           = "lab"
)

func since(year int, month time.Month, dayOfMonth int) time.Time {
	return time.Date(year, month, dayOfMonth, 0, 0, 0, 0, time.UTC)
}

// maxReuse is BR 4.2.1's oldest number, which private CAs keep.
const maxReuse = 398 * day

// ruleSets are all there are; the first is the default.
var ruleSets = []*Rules{
	{
		Name:        PrivateStrict,
		Description: "for an organisation's own names: internal zones, private addresses and localhost are what it is for; what can't be one host's, or can't be proven, is refused",
		// Apple's systems refuse server certificates of more than 825 days,
		// also those of CAs that the user trusts.
		MaxValidity: []Dated{{Value: 825 * day}},
		Reuse:       []Dated{{Value: maxReuse}},
		Keys:        profileKeys,
		column:      0,
	},
	{
		Name:        PublicTLS,
		Description: "the Baseline Requirements of the CA/Browser Forum, as far as Chancery decides them: public names and addresses only",
		MaxValidity: []Dated{ // BR 6.3.2
			{Value: 398 * day},
			{From: since(2026, 3, 15), Value: 200 * day},
			{From: since(2027, 3, 15), Value: 100 * day},
			{From: since(2029, 3, 15), Value: 47 * day},
		},
		Reuse: []Dated{ // BR 4.2.1
			{Value: 398 * day},
			{From: since(2026, 3, 15), Value: 200 * day},
			{From: since(2027, 3, 15), Value: 100 * day},
			{From: since(2029, 3, 15), Value: 10 * day},
		},
		Keys:       []string{"rsa", "ec256", "ec384", "ec521"}, // BR 7.1.3.1 knows no others
		ServerAuth: true,                                       // BR 7.1.2.7.10
		Pointers:   true,                                       // BR 7.1.2.7.7 and 7.1.2.11.2
		CAA:        true,                                       // BR 4.2.2.1
		Policy:     "2.23.140.1.2.1",                           // BR 7.1.2.7.9: domain validated
		column:     1,
	},
	{
		Name:        Lab,
		Description: "for trying things out, on networks that are not connected: nothing but what has no meaning is refused",
		MaxValidity: []Dated{{Value: maxProfileValidity}},
		Reuse:       []Dated{{Value: maxReuse}},
		Keys:        profileKeys,
		column:      2,
	},
}

// RuleSets are all rule sets, the default one first.
func RuleSets() []*Rules { return slices.Clone(ruleSets) }

// RulesByName finds a rule set; the empty name is the default's.
func RulesByName(name string) (*Rules, error) {
	if name == "" {
		return ruleSets[0], nil
	}
	names := make([]string, 0, len(ruleSets))
	for _, r := range ruleSets {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return nil, fmt.Errorf("there is no rule set %s; there are %s", quote(name), strings.Join(names, ", "))
}

// at finds the number that holds at an instant. The first of a table always holds.
func at(table []Dated, now time.Time) time.Duration {
	held := table[0].Value
	for _, d := range table[1:] {
		if now.Before(d.From) {
			break
		}
		held = d.Value
	}
	return held
}

// MaxValidityAt is the longest validity of what is signed at this instant.
func (r *Rules) MaxValidityAt(now time.Time) time.Duration { return at(r.MaxValidity, now) }

// ReuseAt is for how long a proof of control may be used at this instant.
func (r *Rules) ReuseAt(now time.Time) time.Duration { return at(r.Reuse, now) }

// CheckProfile reports what in a profile the rule set rules out, all together.
// Numbers that only grow stricter at a date are no mistake: then a validity is
// cut when nobody asked for it, and refused when somebody did.
func (r *Rules) CheckProfile(p *Profile) error {
	var all []error
	wrong := func(field, format string, args ...any) {
		all = append(all, fmt.Errorf("profile %s: %s: %s (policy.rules: %s)", quote(p.Name), field, fmt.Sprintf(format, args...), r.Name))
	}
	if most := r.MaxValidity[0].Value; p.MaxValidity > most {
		wrong("max_validity", "%s is more than %s", p.MaxValidity, most)
	}
	for _, kind := range p.Keys {
		if !slices.Contains(r.Keys, kind) {
			wrong("key_types", "%s keys are not certified under this rule set; list others, of %s", quote(kind), strings.Join(r.Keys, ", "))
		}
	}
	if r.ServerAuth && !slices.Contains(p.ExtKeyUsages, ServerAuth) {
		wrong("extended_key_usage", "%s must be there", ServerAuth)
	}
	if r.CAA && p.caaMode() != CAAEnforce {
		wrong("caa", "must be %s", CAAEnforce)
	}
	if r.Policy != "" && !slices.Equal(p.Policies, []string{r.Policy}) {
		wrong("policies", "must be [%s]", r.Policy)
	}
	if r.Pointers && (!p.CRL && !p.OCSP || !p.CAIssuers) {
		wrong("crl, ocsp, ca_issuers", "the certificate must point to a CRL or an OCSP responder, and to the issuer's certificate")
	}
	return errors.Join(all...)
}

// rules are the authority's, private-strict unless another was chosen.
func (a *Authority) rules() *Rules {
	if a.Rules == nil {
		return ruleSets[0]
	}
	return a.Rules
}
