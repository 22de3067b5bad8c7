// Package lint runs cited rules over a certificate before it is signed.
//
// The rules are zlint's: those of RFC 5280 and its companions, and those of
// the CA/Browser Forum and Mozilla that make sense for a private CA too. What
// is off stands in rules.go with its reason. [Check] takes the certificate as
// it will be, with a signature that is a dummy of the right shape, so that
// nothing has to be signed to be looked at. The set of rules is chosen once,
// at start; a rule that panics counts as a Fatal finding.
package lint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zmap/zcrypto/x509"
	_ "github.com/zmap/zlint/v3" // registers the lints
	zlint "github.com/zmap/zlint/v3/lint"
)

// Finding is what one rule said.
type Finding struct {
	Lint   string // name, e.g. "e_ext_san_missing"
	Level  Level
	Detail string // may be empty; else what was found, or the rule's text
	Source string // the rule book, e.g. "RFC5280", with the section where known
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (%s)", f.Lint, f.Detail, f.Source)
}

// Level says how bad a finding is.
type Level int

// The levels. Error and Fatal forbid to sign.
const (
	Notice Level = iota
	Warning
	Error
	Fatal
)

func (l Level) String() string {
	return [...]string{"notice", "warning", "error", "fatal"}[l]
}

// Forbids says whether the finding must stop the signature.
func (f Finding) Forbids() bool { return f.Level >= Error }

var levels = map[zlint.LintStatus]Level{
	zlint.Notice: Notice, zlint.Warn: Warning, zlint.Error: Error, zlint.Fatal: Fatal,
}

// A ruleSet is what is run over one sort of certificate.
type ruleSet struct {
	lints  []*zlint.CertificateLint
	config zlint.Configuration
}

var rules = sync.OnceValue(selectRules)

func selectRules() ruleSet {
	off := map[string]bool{}
	for _, l := range lintsOff {
		off[l.Lint] = true
	}
	registry := zlint.GlobalRegistry()
	set := ruleSet{config: registry.GetConfiguration()}
	for _, l := range registry.CertificateLints().Lints() {
		otherBook := slices.ContainsFunc(sourcesOff, func(s struct {
			source zlint.LintSource
			why    string
		},
		) bool {
			return s.source == l.Source
		})
		// A lint that ceased to be effective judges certificates of the past only.
		if !otherBook && !off[l.Name] && l.IneffectiveDate.IsZero() {
			set.lints = append(set.lints, l)
		}
	}
	return set
}

// Check runs the rules over a certificate in DER, whose signature is not
// looked at, and returns what they found, worst first. The error says that
// the certificate could not be parsed.
func Check(lintDER []byte) (findings []Finding, err error) {
	defer func() {
		if r := recover(); r != nil {
			findings, err = nil, fmt.Errorf("lint: the parser of the linter failed: %v", r)
		}
	}()
	cert, err := x509.ParseCertificate(lintDER)
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	// The parser finds out by the signature, which is a dummy here.
	cert.SelfSigned = bytes.Equal(cert.RawSubject, cert.RawIssuer)
	set := rules()
	for _, l := range set.lints {
		result := l.Execute(cert, set.config) // recovers from panics by itself
		level, found := levels[result.Status]
		if !found {
			continue
		}
		findings = append(findings, newFinding(l, level, result.Details))
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return int(b.Level) - int(a.Level) })
	return findings, nil
}

func newFinding(l *zlint.CertificateLint, level Level, detail string) Finding {
	if detail == "" {
		detail = l.Description
	}
	source := string(l.Source)
	if l.Citation != "" && !strings.Contains(l.Citation, source) {
		source += " " + l.Citation
	} else if l.Citation != "" {
		source = l.Citation
	}
	return Finding{Lint: l.Name, Level: level, Detail: detail, Source: source}
}
