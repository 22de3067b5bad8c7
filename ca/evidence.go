package ca

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CAAMode says what a profile makes of CAA records (RFC 8659).
type CAAMode string

// The modes. What is none of them counts as CAAEnforce.
const (
	CAAEnforce CAAMode = "enforce" // a name is certified only when they allow it, and that is known
	CAAReport  CAAMode = "report"  // they are looked up and kept as evidence, and don't decide
	CAAOff     CAAMode = "off"     // they are not looked up
)

// CAAPolicy is what a profile asks of CAA records.
type CAAPolicy struct {
	Mode CAAMode
	// Require are parameters, "tag=value", that the property which allows a
	// name must have. With any, a name without such a property is not allowed
	// (SAFETY I18: certificates for signed exchanges needed a CAA consent).
	Require []string
}

// NameEvidence is why a name may be certified.
type NameEvidence struct {
	Name          Identifier   `json:"name"`
	Authorization string       `json:"authorization"` // ID
	Method        string       `json:"method"`        // of the ACME Validation Methods registry
	ValidatedAt   time.Time    `json:"validated_at"`
	CAA           *CAAEvidence `json:"caa,omitempty"` // nil: was not looked up

	Perspectives []Perspective `json:"perspectives,omitempty"` // of the validation, the primary first; empty: there was this CA alone
}

// CAAEvidence is what a look at a name's CAA records brought. Its strings are
// bounded and escaped by whoever made it.
type CAAEvidence struct {
	At      time.Time `json:"at"`                // when the answers were there
	Allowed bool      `json:"allowed"`           // they let this CA certify the name
	Found   string    `json:"found,omitempty"`   // the domain whose records decide; empty: there are none
	Asked   []string  `json:"asked,omitempty"`   // each question, whom, and the answer, in words
	Require []string  `json:"require,omitempty"` // CAAPolicy.Require, as of this look
	Problem string    `json:"problem,omitempty"` // when not Allowed: the ACME error type, "caa" or "dns"
	Why     string    `json:"why,omitempty"`     // when not Allowed: in words

	Perspectives []Perspective `json:"perspectives,omitempty"` // of this look, the primary first; empty: there was this CA alone
}

// Bounds on evidence when a certificate is signed.
const (
	// CAALife is how long a look at CAA records counts (BR 4.2.2.1: the
	// greater of 8 hours and the records' TTL; ours doesn't look at TTLs).
	CAALife = 8 * time.Hour
	// maxProofAge: BR 4.2.1 as it stood; what the configuration allows is
	// less or equal.
	maxProofAge = 398 * day
	// maxSkew is how far another replica's clock may be before ours.
	maxSkew = time.Minute
)

// proofs is the table method x name: http-01 and tls-alpn-01 prove one host
// and never what is below it (BR 3.2.2.4.19 and .20), dns-01 says nothing
// about an address (RFC 8738 section 7). The signing core holds its own copy:
// what the ACME side offers is not taken for granted (SAFETY I10, I30).
var proofs = map[string]struct{ wildcard, ip bool }{
	"http-01":     {wildcard: false, ip: true},
	"dns-01":      {wildcard: true, ip: false},
	"tls-alpn-01": {wildcard: false, ip: true},
}

// HasCAA says whether CAA records can speak about the identifier: it is a
// name, and not one below localhost, which no DNS knows (RFC 6761 section 6.3).
func (id Identifier) HasCAA() bool {
	base := id.Base().value
	return id.typ == DNS && base != "localhost" && !strings.HasSuffix(base, ".localhost")
}

// CAAPolicy is what a profile asks of CAA records. For the empty name it is
// what is to be done before the profile is known: enforced when all profiles
// do, looked up when any does.
func (a *Authority) CAAPolicy(profile string) (CAAPolicy, error) {
	if profile != "" {
		p, err := a.profile(profile)
		if err != nil {
			return CAAPolicy{}, err
		}
		return CAAPolicy{Mode: p.caaMode(), Require: slices.Clone(p.CAARequire)}, nil
	}
	count := make(map[CAAMode]int)
	for _, p := range a.Profiles {
		count[p.caaMode()]++
	}
	switch len(a.Profiles) {
	case count[CAAOff]:
		return CAAPolicy{Mode: CAAOff}, nil
	case count[CAAEnforce]:
		return CAAPolicy{Mode: CAAEnforce}, nil
	}
	return CAAPolicy{Mode: CAAReport}, nil
}

func (p *Profile) caaMode() CAAMode {
	if p.CAA == CAAOff || p.CAA == CAAReport {
		return p.CAA
	}
	return CAAEnforce
}

// own says whether the request is for a certificate of Chancery's own doors:
// nobody ordered it, so nobody proved its names. Whatever names an order or an
// account, or comes from anybody else, needs evidence.
func (r *Request) own() bool {
	return r.Order == "" && r.Account == "" && r.By.Kind == ActorSystem
}

// checkEvidence asks for evidence of exactly the names that are to be signed,
// each its own, each fresh (SAFETY I1: a CA looked at one name a hundred times
// and at ninety-nine never). The error is a *Refusal: CAAForbids with a part
// for each forbidden name, or NotProven.
func (p *Profile) checkEvidence(r *Request) error {
	if r.own() {
		return nil
	}
	byName := make(map[Identifier]*NameEvidence, len(r.Evidence))
	for i := range r.Evidence {
		e := &r.Evidence[i]
		if byName[e.Name] != nil || !slices.Contains(r.Names, e.Name) {
			return notProven(e.Name, "there is evidence for it twice, or the order does not have it")
		}
		byName[e.Name] = e
	}
	var forbidden []*Refusal
	for _, name := range r.Names {
		e := byName[name]
		if e == nil {
			return notProven(name, "there is no evidence of its validation")
		}
		if why := e.flaw(r.Now); why != "" {
			return notProven(name, why)
		}
		why, known := p.caaFlaw(e, r.Now)
		switch {
		case why == "":
		case !known:
			return notProven(name, why)
		default:
			forbidden = append(forbidden, &Refusal{Code: CAAForbids, Identifier: &name, Detail: why})
		}
	}
	switch len(forbidden) {
	case 0:
		return nil
	case 1:
		return forbidden[0]
	}
	return &Refusal{Code: CAAForbids, Parts: forbidden, Detail: fmt.Sprintf("CAA records forbid %d of the names", len(forbidden))}
}

func notProven(name Identifier, why string) error {
	return &Refusal{Code: NotProven, Identifier: &name, Detail: fmt.Sprintf("%s can't be certified: %s", name, why)}
}

// flaw is what is wrong with the proof of the name at `now`, or "".
func (e *NameEvidence) flaw(now time.Time) string {
	proof, known := proofs[e.Method]
	switch {
	case !known:
		return fmt.Sprintf("it was validated by %s, which is no method that counts here", quote(e.Method))
	case e.Name.IsWildcard() && !proof.wildcard, e.Name.Type() == IP && !proof.ip:
		return e.Method + " proves nothing about such a name"
	case e.ValidatedAt.IsZero() || e.ValidatedAt.After(now.Add(maxSkew)):
		return "it was never validated, or in the future"
	case e.ValidatedAt.Before(now.Add(-maxProofAge)):
		return "its validation is too old, of " + stamp(e.ValidatedAt)
	}
	return ""
}

// caaFlaw is what the profile finds wrong with the look at the name's CAA
// records, or "". known says that the records themselves are the reason.
func (p *Profile) caaFlaw(e *NameEvidence, now time.Time) (why string, known bool) {
	mode := p.caaMode()
	if mode == CAAOff || !e.Name.HasCAA() {
		return "", false
	}
	switch {
	case e.CAA == nil:
		return "its CAA records were not looked up", false
	case e.CAA.At.Before(now.Add(-CAALife)) || e.CAA.At.After(now.Add(maxSkew)):
		return "its CAA records were looked up too long ago, or in the future: " + stamp(e.CAA.At), false
	case !slices.Equal(e.CAA.Require, p.CAARequire):
		return "its CAA records were looked up for another profile", false
	case mode == CAAEnforce && !e.CAA.Allowed:
		return e.CAA.Why, true
	}
	return "", false
}

// maxCAARequire bounds what a profile may ask for: each is compared with each
// parameter of each property.
const maxCAARequire = 10

// checkCAA finds mistakes in what the profile says about CAA records.
func (p *Profile) checkCAA(wrong func(field, format string, args ...any)) {
	if p.CAA != CAAEnforce && p.CAA != CAAReport && p.CAA != CAAOff {
		wrong("caa", "%s is none of %s, %s, %s", quote(string(p.CAA)), CAAEnforce, CAAReport, CAAOff)
	}
	if len(p.CAARequire) > maxCAARequire {
		wrong("caa_require", "has %d entries; at most %d are possible", len(p.CAARequire), maxCAARequire)
	}
	if len(p.CAARequire) > 0 && p.CAA == CAAOff {
		wrong("caa_require", "asks something of records that are not looked up: caa is off")
	}
	for _, text := range p.CAARequire {
		if tag, value, ok := strings.Cut(text, "="); !ok || !caaTag(tag) || !caaValue(value) {
			wrong("caa_require", "%s is no parameter of a CAA property; write tag=value (RFC 8659 section 4.2)", quote(text))
		}
	}
}

// caaTag: (ALPHA / DIGIT) *( *("-") (ALPHA / DIGIT)), RFC 8659 section 4.2;
// lower case here, as tags are compared.
func caaTag(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[len(s)-1] != '-'
}

// caaValue: *(%x21-3A / %x3C-7E), RFC 8659 section 4.2.
func caaValue(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x21 || c > 0x7e || c == ';' {
			return false
		}
	}
	return true
}
