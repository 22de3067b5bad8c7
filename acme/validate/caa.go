package validate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"chancery/ca"

	"github.com/miekg/dns"
)

// This file reads CAA records and decides by them. It asks nobody; see climb.go.

// Bounds of CAA records.
const (
	maxCAATag   = 15   // RFC 6844 section 5.1; no tag is longer (SAFETY row 178)
	maxCAAValue = 4096 // octets; the longest honest one holds some account URIs
)

// A property is a CAA record (RFC 8659 section 4.1).
type property struct {
	flags uint8
	tag   string // lower case
	value string
}

// Flags of a property. Bit 0, the highest, is critical. Some people write 1
// for it, so a 1 counts too: a refusal more, never a certificate more.
const (
	flagCritical     = 128
	flagMisspeltOnly = 1
)

// knownTags are the properties that are known here (IANA registry
// "Certification Authority Restriction Properties"). issue and issuewild
// decide; the others say nothing about certificates for TLS, so a critical one
// is no reason to refuse.
var knownTags = []string{"issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"}

// parseProperty reads a record. A record that can't be read is no answer: who
// knows what it was meant to forbid (SAFETY row 178).
func parseProperty(rr dns.RR) (property, error) {
	caa, ok := rr.(*dns.CAA)
	switch {
	case !ok:
		return property{}, errors.New("is not encoded as CAA")
	case len(caa.Tag) == 0 || len(caa.Tag) > maxCAATag || strings.ContainsFunc(caa.Tag, notAlphanumeric):
		return property{}, fmt.Errorf("has the tag %s; want 1 to %d letters and digits", excerpt(caa.Tag), maxCAATag)
	case len(caa.Value) > maxCAAValue:
		return property{}, fmt.Errorf("has a value of %d octets; want at most %d", len(caa.Value), maxCAAValue)
	}
	return property{flags: caa.Flag, tag: strings.ToLower(caa.Tag), value: caa.Value}, nil
}

func notAlphanumeric(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

func (p property) String() string {
	return fmt.Sprintf("%d %s %s", p.flags, p.tag, excerpt(p.value))
}

// propertyWords says what a record holds that may be unreadable.
func propertyWords(rr *dns.CAA) string {
	return fmt.Sprintf("%d %s %s", rr.Flag, words(rr.Tag), excerpt(rr.Value))
}

// unknown says whether the property is critical and not known: then nobody
// may issue who does not know it (RFC 8659 section 4.1).
func (p property) unknown() bool {
	return p.flags&(flagCritical|flagMisspeltOnly) != 0 && !slices.Contains(knownTags, p.tag)
}

// consent is the value of an issue or issuewild property (RFC 8659 section 4.2).
type consent struct {
	issuer     string // lower case; empty: nobody
	parameters []parameter
}

type parameter struct{ tag, value string } // tag in lower case

// parseConsent reads a value by the grammar of RFC 8659 section 4.2, strictly:
// a malformed value is to be taken as one that no issuer satisfies, so each
// parameter may be there once (SAFETY I17), and nothing is repaired.
//
//	issue-value = *WSP [issuer-domain-name *WSP] [";" *WSP [parameters *WSP]]
//	parameters  = (parameter *WSP ";" *WSP parameters) / parameter
//	parameter   = tag *WSP "=" *WSP value
func parseConsent(s string) (consent, error) {
	head, rest, more := strings.Cut(s, ";")
	c := consent{issuer: strings.ToLower(strings.Trim(head, " \t"))}
	if c.issuer != "" && !labels(c.issuer) {
		return c, fmt.Errorf("%s is no domain name", excerpt(c.issuer))
	}
	if rest = strings.Trim(rest, " \t"); !more || rest == "" {
		return c, nil
	}
	for text := range strings.SplitSeq(rest, ";") {
		tag, value, ok := strings.Cut(text, "=")
		p := parameter{strings.ToLower(strings.Trim(tag, " \t")), strings.Trim(value, " \t")}
		switch {
		case !ok || !label(p.tag):
			return c, fmt.Errorf("%s is no parameter", excerpt(strings.Trim(text, " \t")))
		case strings.ContainsFunc(p.value, func(r rune) bool { return r < 0x21 || r > 0x7e }):
			return c, fmt.Errorf("the value of %s has characters that none may have", p.tag)
		case slices.ContainsFunc(c.parameters, func(o parameter) bool { return o.tag == p.tag }):
			return c, fmt.Errorf("%s is there twice", p.tag)
		}
		c.parameters = append(c.parameters, p)
	}
	return c, nil
}

// labels: label *("." label).
func labels(s string) bool {
	for l := range strings.SplitSeq(s, ".") {
		if !label(l) {
			return false
		}
	}
	return true
}

// label: (ALPHA / DIGIT) *( *("-") (ALPHA / DIGIT)), for issuers and for the
// tags of parameters, which so may have hyphens (SAFETY row 169).
func label(s string) bool {
	return s != "" && s[0] != '-' && s[len(s)-1] != '-' &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '-' && notAlphanumeric(r) })
}

// asker is who wants to issue, and for what.
type asker struct {
	identities []string // domains by which records mean us, lower case
	wildcard   bool
	method     string // label of RFC 8657 section 4
	account    string // URI
	require    []string
}

// accepts says why a value does not let the asker issue; nil: it does.
func (a asker) accepts(value string) error {
	c, err := parseConsent(value)
	switch {
	case err != nil:
		return fmt.Errorf("is malformed, so it allows nobody: %w", err)
	case c.issuer == "":
		return errors.New("allows nobody")
	case !slices.Contains(a.identities, c.issuer):
		return errors.New("allows another CA")
	}
	for _, p := range c.parameters {
		switch p.tag {
		case "accounturi":
			// RFC 8657 section 3: the same URI, octet for octet (SAFETY I22).
			if a.account == "" || p.value != a.account {
				return fmt.Errorf("allows only the account %s; this one is %s", excerpt(p.value), excerpt(a.account))
			}
		case "validationmethods":
			if !validMethods(p.value) {
				return fmt.Errorf("is malformed, so it allows nobody: %s is no list of methods (RFC 8657 section 4)", excerpt(p.value))
			}
			if !slices.Contains(strings.Split(p.value, ","), a.method) {
				return fmt.Errorf("allows only the validation methods %s; the name was validated by %s", excerpt(p.value), a.method)
			}
		}
		// Others mean nothing to this CA, unless the profile requires them.
	}
	for _, want := range a.require {
		if !slices.ContainsFunc(c.parameters, func(p parameter) bool { return p.tag+"="+p.value == want }) {
			return fmt.Errorf("lacks %s, which this profile requires", want)
		}
	}
	return nil
}

// validMethods: [*(label ",") label], label = 1*(ALPHA / DIGIT / "-")
// (RFC 8657 section 4). An empty list is one, and has no method in it.
func validMethods(s string) bool {
	if s == "" {
		return true
	}
	for m := range strings.SplitSeq(s, ",") {
		if m == "" || strings.ContainsFunc(m, func(r rune) bool { return r != '-' && notAlphanumeric(r) }) {
			return false
		}
	}
	return true
}

// presence is what the properties of one tag say together.
type presence int

const (
	absent presence = iota // there is none
	denies                 // there are some, and none allows the asker
	allows                 // there are some, and at least one allows the asker
)

// caaCase is what RFC 8659 section 4 lets the decision depend on.
type caaCase struct {
	wildcard         bool
	issue, issuewild presence
}

// caaTable is the whole of RFC 8659 sections 4.2 and 4.3: for a name, issue
// decides and issuewild says nothing; for a wildcard name, issuewild decides if
// there is any, else issue. Both mistakes were made by CAs (SAFETY I13, I14).
var caaTable = map[caaCase]bool{
	{false, absent, absent}: true,
	{false, absent, denies}: true,
	{false, absent, allows}: true,
	{false, denies, absent}: false,
	{false, denies, denies}: false,
	{false, denies, allows}: false,
	{false, allows, absent}: true,
	{false, allows, denies}: true,
	{false, allows, allows}: true,
	{true, absent, absent}:  true,
	{true, absent, denies}:  false,
	{true, absent, allows}:  true,
	{true, denies, absent}:  false,
	{true, denies, denies}:  false,
	{true, denies, allows}:  true,
	{true, allows, absent}:  true,
	{true, allows, denies}:  false,
	{true, allows, allows}:  true,
}

// deciding is the tag whose properties the table's row goes by.
func (c caaCase) deciding() string {
	if c.wildcard && c.issuewild != absent {
		return "issuewild"
	}
	return "issue"
}

// decide says whether the set of properties that counts for a name lets the
// asker issue, and if not, why.
func (a asker) decide(set []property) (allowed bool, why []string) {
	for _, p := range set {
		if p.unknown() {
			why = append(why, p.String()+" is critical and not known here, so this CA may not issue (RFC 8659 section 4.1)")
		}
	}
	if len(why) > 0 {
		return false, why
	}
	c := caaCase{wildcard: a.wildcard}
	reasons := make(map[string][]string)
	for _, p := range set {
		state := &c.issue
		switch p.tag {
		case "issue":
		case "issuewild":
			state = &c.issuewild
		default:
			continue
		}
		if err := a.accepts(p.value); err != nil {
			*state = max(*state, denies)
			reasons[p.tag] = append(reasons[p.tag], p.String()+" "+err.Error())
			continue
		}
		*state = allows
	}
	if !caaTable[c] {
		return false, reasons[c.deciding()]
	}
	if len(a.require) > 0 && (c.deciding() == "issue" && c.issue == absent) {
		return false, []string{fmt.Sprintf("there is no %s property with %s, which this profile requires", c.deciding(), strings.Join(a.require, " and "))}
	}
	return true, nil
}

// parseIdentities reads the domains that mean this CA.
func parseIdentities(in []string) ([]string, error) {
	var out []string
	var faults []error
	for _, s := range in {
		id, err := ca.ParseIdentifier(string(ca.DNS), s)
		if err != nil || id.IsWildcard() {
			faults = append(faults, fmt.Errorf("CAA identity %s: is no domain name", excerpt(s)))
			continue
		}
		out = append(out, id.Value())
	}
	return out, errors.Join(faults...)
}
