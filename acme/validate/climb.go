package validate

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"chancery/acme"
	"chancery/ca"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

// Bounds of one look at a name's CAA records.
const (
	climbAtOnce = 8   // questions about one name side by side; a name has up to 127 labels
	maxAsked    = 16  // lines of evidence kept
	maxAskedLen = 300 // bytes of each
)

// CheckCAA implements acme.Validator.
func (v *Validator) CheckCAA(ctx context.Context, q acme.CAAQuestion) (*ca.CAAEvidence, *acme.Problem) {
	e := &ca.CAAEvidence{At: v.now().UTC().Round(0), Require: q.Require}
	select {
	case v.looks <- struct{}{}:
		defer func() { <-v.looks }()
	case <-ctx.Done():
		problem := acme.Problemf(acme.ServerInternal, "CAA %s: too many names are being looked up; nothing was asked; try again later", q.Name.Value())
		refuse(e, problem)
		return e, problem
	}
	e.At = v.now().UTC().Round(0)
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	problem := v.verdict(ctx, acme.Attempt{Type: q.Method, Identifier: q.Name}, v.look(ctx, q, e))
	refuse(e, problem)
	return e, problem
}

// refuse notes a problem in the evidence.
func refuse(e *ca.CAAEvidence, problem *acme.Problem) {
	if problem != nil {
		e.Allowed, e.Problem, e.Why = false, problem.Kind.String(), words(problem.Detail)
	}
}

// caaAside begins to look while the challenge is validated. The function that
// it returns waits for the end, keeps the evidence, and returns why the attempt
// fails by it.
func (v *Validator) caaAside(ctx context.Context, t *trace, a acme.Attempt) func() error {
	if a.CAA != ca.CAAEnforce && a.CAA != ca.CAAReport || !a.Identifier.HasCAA() {
		return func() error { return nil }
	}
	name := a.Identifier
	if a.Wildcard {
		wildcard, err := ca.ParseIdentifier(string(ca.DNS), "*."+name.Value())
		if err != nil { // an identifier that fits only without "*."
			return func() error { return acme.Problemf(acme.RejectedIdentifier, "*.%s is no name: %v", name.Value(), err) }
		}
		name = wildcard
	}
	e := &ca.CAAEvidence{At: v.now().UTC().Round(0)}
	done := make(chan error, 1)
	go func() {
		done <- v.look(ctx, acme.CAAQuestion{Name: name, Method: a.Type, AccountURL: a.AccountURL}, e)
	}()
	return func() error {
		err := <-done // look ends with ctx
		refuse(e, v.verdict(ctx, a, err))
		t.sawCAA(e)
		if a.CAA == ca.CAAReport {
			return nil
		}
		return err
	}
}

// look fills e and returns why the name is not allowed.
func (v *Validator) look(ctx context.Context, q acme.CAAQuestion, e *ca.CAAEvidence) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e.Allowed, err = false, fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	if !q.Name.HasCAA() {
		e.Allowed = true
		return nil
	}
	found, err := v.climb(ctx, q.Name.Base().Value(), e)
	if err != nil {
		return err
	}
	e.Found = found.at
	a := asker{identities: v.identities, wildcard: q.Name.IsWildcard(), method: string(q.Method), account: q.AccountURL, require: q.Require}
	allowed, why := a.decide(found.properties)
	if e.Allowed = allowed; allowed {
		return nil
	}
	return v.forbidden(q.Name, found, why)
}

// forbidden says which records forbid the name, where they stand, who said so,
// and what would help.
func (v *Validator) forbidden(name ca.Identifier, found relevant, why []string) *acme.Problem {
	at := found.at
	if at == "" {
		at = name.Base().Value()
	}
	me, add := "this CA has no name in CAA records; its operator has to set acme.caa_identities", ""
	if len(v.identities) > 0 {
		me = "this CA is " + list(4, v.identities)
		add = fmt.Sprintf("add 0 issue %q at %s", v.identities[0], at)
		if name.IsWildcard() {
			add = fmt.Sprintf("add 0 issuewild %q at %s", v.identities[0], at)
		}
		add += ", or correct what is there, and try again"
	}
	from := ""
	if found.from != "" {
		from = " (resolver " + found.from + ")"
	}
	detail := fmt.Sprintf("CAA at %s%s does not let this CA certify %s: %s. %s", at, from, name.Value(), list(4, why), capital(me))
	if add != "" {
		detail += "; " + add
	}
	return acme.Problemf(acme.CAA, "%s", detail)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// relevant is the set of properties that counts for a name (RFC 8659 section 3).
type relevant struct {
	at         string // the domain where it stands; empty: there is none
	from       string // the resolver that said so
	properties []property
}

// level is what one domain on the way up said.
type level struct {
	set    relevant
	steps  []acme.Step
	err    error
	around chan struct{} // closed when it is there
}

// climb finds the relevant set of a name: that of the first domain, from the
// name itself up to its top-level domain, that has CAA records (RFC 8659
// section 3). CNAMEs are followed for each domain by itself; what stands above
// their targets is not looked at. A domain of which nobody knows ends the
// climb: an error is never permission (SAFETY R12).
//
// All domains are asked side by side, and believed in their sequence.
func (v *Validator) climb(ctx context.Context, name string, e *ca.CAAEvidence) (relevant, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var levels []*level
	places := make(chan struct{}, climbAtOnce)
	for _, domain := range v.upwards(name) {
		l := &level{around: make(chan struct{})}
		levels = append(levels, l)
		go func() {
			defer close(l.around)
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
				t := newTrace(acme.Attempt{}, e.At)
				l.set, l.err = v.caaAt(ctx, t, domain)
				l.steps = t.evidence.Steps
			case <-ctx.Done():
				l.err = acme.Problemf(acme.DNS, "%s: no time was left to ask; try again", question(domain, dns.TypeCAA))
			}
		}()
	}
	defer func() {
		cancel()
		for _, l := range levels {
			<-l.around
		}
	}()
	for _, l := range levels {
		<-l.around
		for _, s := range l.steps {
			if len(e.Asked) < maxAsked {
				e.Asked = append(e.Asked, cut(s.What+" @"+s.From+": "+s.Got, maxAskedLen))
			}
		}
		if l.err != nil || len(l.set.properties) > 0 {
			return l.set, l.err
		}
	}
	return relevant{}, nil
}

// upwards lists the domains that may have CAA records for a name: itself and
// those above it, without the root. It ends at a zone with servers of its own
// below a top-level domain that is not public: above it there is nothing that
// anybody could ask (corp.internal has a parent in no DNS).
func (v *Validator) upwards(name string) []string {
	zone := v.resolver.routeOf(name).zone
	var out []string
	for domain := name; domain != ""; {
		out = append(out, domain)
		if domain == zone && !isPublic(zone) {
			break
		}
		_, domain, _ = strings.Cut(domain, ".")
	}
	return out
}

// isPublic says whether the name lies in a top-level domain of the public DNS.
func isPublic(name string) bool {
	_, icann := publicsuffix.PublicSuffix(name[strings.LastIndexByte(name, '.')+1:])
	return icann
}

// isSuffix says whether the name is a suffix under which domains are
// registered in the public DNS, such as com or co.uk.
func isSuffix(name string) bool {
	suffix, icann := publicsuffix.PublicSuffix(name)
	return icann && suffix == name
}

// caaAt asks one domain.
func (v *Validator) caaAt(ctx context.Context, t *trace, domain string) (relevant, error) {
	a, err := v.resolver.lookup(ctx, t, domain, dns.TypeCAA)
	if err != nil {
		return relevant{}, err
	}
	if a.nx && len(a.chain) == 0 && isSuffix(domain) {
		// It exists, or nothing could be registered below it (RFC 8020): the
		// resolver is broken or lies. Taken for "no CAA", it allowed
		// everything once (SAFETY I16).
		return relevant{}, acme.Problemf(acme.DNS, "%s: resolver %s said NXDOMAIN, but %s exists; that resolver's answers can't be relied on",
			question(domain, dns.TypeCAA), a.from, domain)
	}
	out := relevant{at: domain, from: a.from}
	for _, rr := range a.records {
		p, err := parseProperty(rr)
		if err != nil {
			return relevant{}, acme.Problemf(acme.DNS, "%s: resolver %s sent a record that %v; correct the record and try again", question(domain, dns.TypeCAA), a.from, err)
		}
		out.properties = append(out.properties, p)
	}
	return out, nil
}
