package validate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// quorumGrace is how long stragglers are waited for once the others have
// decided. It is what a perspective that is down costs each validation, and
// long enough for the slow half of the planet.
const quorumGrace = 500 * time.Millisecond

// QuorumConfig says who is asked.
type QuorumConfig struct {
	Primary  acme.Validator // this CA's own; without its pass nothing is valid
	Remotes  []RemoteConfig // 1 to ca.MaxRemotes
	Quorum   int            // of the remotes that must corroborate; 0: by the table of BR 3.2.2.9
	Identity Identity       // by which the remotes know this CA
	Setting  PerspectiveSetting
	Timeout  time.Duration // for the remotes' answers; 0: DefaultTimeout
	Log      *slog.Logger  // remotes that do not corroborate; nil: none
}

// Quorum validates from several network perspectives (BR 3.2.2.9): the primary
// and all remotes look at the same time, each with a resolver of its own, and
// a name counts as proven when the primary passed and enough of the remotes
// did. It implements acme.Validator. Each call is an attempt of its own, with
// its own random ID: answers are never kept for another one.
type Quorum struct {
	primary acme.Validator
	remotes []*remote
	policy  ca.PerspectivePolicy
	setting PerspectiveSetting
	timeout time.Duration
	grace   time.Duration
	log     *slog.Logger
}

var _ acme.Validator = (*Quorum)(nil)

// NewQuorum makes a Quorum. The error tells all that is wrong with the config.
// One remote is one perspective: neither name, URL nor pin may occur twice.
func NewQuorum(c QuorumConfig) (*Quorum, error) {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	n := len(c.Remotes)
	check(c.Primary != nil, "there is no primary perspective")
	check(n >= 1 && n <= ca.MaxRemotes, "%d remote perspectives: want 1 to %d", n, ca.MaxRemotes)
	check(c.Quorum >= 0 && c.Quorum <= n, "a quorum of %d: want 1 to %d, or 0 for the table of BR 3.2.2.9", c.Quorum, n)
	check(c.Timeout >= 0 && c.Timeout <= maxTimeout, "timeout %s: want more than 0 and at most %s", c.Timeout, maxTimeout)
	check(c.Identity.certificate.PrivateKey != nil, "there is no identity for the remotes to know this CA by")
	for i, r := range c.Remotes {
		faults = append(faults, r.Check())
		for _, o := range c.Remotes[:i] {
			check(r.Name != o.Name && r.URL != o.URL && r.Pin != o.Pin, "perspectives %s and %s have a name, a url or a pin in common: they would be one that counts twice", o.Name, r.Name)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	q := &Quorum{
		primary: c.Primary, policy: ca.PerspectivePolicy{Remotes: n, Quorum: c.Quorum},
		setting: c.Setting.normal(), timeout: or(c.Timeout, DefaultTimeout), grace: quorumGrace, log: c.Log,
	}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	for _, r := range c.Remotes {
		q.remotes = append(q.remotes, newRemote(r, c.Identity))
	}
	return q, nil
}

// Close hangs up on the remotes.
func (q *Quorum) Close() {
	for _, r := range q.remotes {
		r.close()
	}
}

// Validate implements acme.Validator.
func (q *Quorum) Validate(ctx context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	question := remoteQuestion{Attempt: randomID(), Ask: askChallenge, Setting: q.setting, Challenge: a}
	var e *acme.Evidence
	b := q.poll(ctx, question, func() (problem *acme.Problem) {
		e, problem = q.primary.Validate(ctx, a)
		return problem
	})
	what := fmt.Sprintf("%s for %s", a.Type, a.Identifier.Value())
	problem := q.verdict(b, what)
	q.foldCAA(e, b)
	if problem == nil && a.CAA != ca.CAAReport && e.CAA != nil && !e.CAA.Allowed {
		problem = acme.Problemf(caaKind(e.CAA), "%s", e.CAA.Why)
	}
	e.Attempt, e.Perspectives = question.Attempt, b.results()
	e.Steps = append(e.Steps, acme.Step{Do: "verdict", What: words("perspectives: " + what), Got: words(b.words(q.policy))})
	q.report(ctx, b, what)
	return e, problem
}

// CheckCAA implements acme.Validator.
func (q *Quorum) CheckCAA(ctx context.Context, c acme.CAAQuestion) (*ca.CAAEvidence, *acme.Problem) {
	question := remoteQuestion{Attempt: randomID(), Ask: askCAA, Setting: q.setting, CAA: c}
	var e *ca.CAAEvidence
	b := q.poll(ctx, question, func() (problem *acme.Problem) {
		e, problem = q.primary.CheckCAA(ctx, c)
		return problem
	})
	what := "that CAA records let this CA certify " + c.Name.Value()
	problem := q.verdict(b, what)
	e.Perspectives = b.rows()
	refuse(e, problem)
	q.report(ctx, b, what)
	return e, problem
}

// A ballot is who said what about one attempt. The primary has its own place,
// and the place's zero value is no pass: a ballot on which the primary was not
// asked is lost whatever the remotes say (SAFETY I12). Each remote has one
// place, which says that there was no answer until there is one (I19), and
// which takes one answer (A12).
type ballot struct {
	primary primaryVote
	remotes []vote
}

// primaryVote is made by askPrimary only.
type primaryVote struct {
	asked   bool
	problem *acme.Problem
	millis  int64
}

// vote is what one remote said.
type vote struct {
	index   int
	name    string
	outcome ca.Outcome
	problem string // ACME error type, when the outcome is fail
	why     string
	millis  int64
	answer  *remoteAnswer // nil: there is none that counts
}

func (v primaryVote) passed() bool { return v.asked && v.problem == nil }

// poll asks all remotes while the primary looks, and returns when all have
// answered, or the grace is over that those have who are later than the
// decision. Nothing that it started runs on when it returns (SAFETY I83).
func (q *Quorum) poll(ctx context.Context, question remoteQuestion, primary func() *acme.Problem) *ballot {
	asked := time.Now() //nolint:forbidigo // for the evidence: how long each took
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	answers := make(chan vote, len(q.remotes)) // never blocks who answers late
	b := &ballot{}
	var asking sync.WaitGroup
	for i, r := range q.remotes {
		b.remotes = append(b.remotes, vote{index: i, name: r.name, outcome: ca.OutcomeError, why: "did not answer before the others had decided", millis: -1})
		asking.Go(func() {
			v := r.vote(ctx, question)
			v.index, v.millis = i, time.Since(asked).Milliseconds()
			answers <- v
		})
	}
	problem := primary()
	b.primary = primaryVote{asked: true, problem: problem, millis: time.Since(asked).Milliseconds()}
	q.collect(b, answers)
	cancel()
	asking.Wait()
	for i := range b.remotes {
		if b.remotes[i].millis < 0 {
			b.remotes[i].millis = time.Since(asked).Milliseconds()
		}
	}
	return b
}

// collect takes answers until all are there, or the grace is over.
func (q *Quorum) collect(b *ballot, answers <-chan vote) {
	var over <-chan time.Time
	for left := len(b.remotes); left > 0; left-- {
		if over == nil && b.decided(q.policy) {
			grace := time.NewTimer(q.grace)
			defer grace.Stop()
			over = grace.C
		}
		select {
		case v := <-answers:
			b.remotes[v.index] = v
		case <-over:
			return
		}
	}
}

// vote asks the remote and makes a vote of whatever comes.
func (r *remote) vote(ctx context.Context, question remoteQuestion) (v vote) {
	defer func() {
		if p := recover(); p != nil { // a fault of ours must cost this vote, not the CA
			v = vote{name: r.name, outcome: ca.OutcomeError, why: words(fmt.Sprintf("its answer could not be read: panic: %v", p))}
		}
	}()
	a, err := r.ask(ctx, question)
	if err != nil {
		return vote{name: r.name, outcome: ca.OutcomeError, why: words(err.Error())}
	}
	v = vote{name: r.name, outcome: a.Outcome, problem: a.Problem, why: a.Why, answer: a}
	if v.outcome == ca.OutcomePass && !question.looked(a) {
		v.outcome, v.why = ca.OutcomeError, "says pass, and not that CAA records allow the name"
	}
	return v
}

// looked says whether a pass says of CAA records what it has to.
func (q *remoteQuestion) looked(a *remoteAnswer) bool {
	switch {
	case q.Ask == askCAA:
		return a.CAA != nil && a.CAA.Allowed
	case q.Challenge.CAA == ca.CAAEnforce && q.Challenge.Identifier.HasCAA():
		return a.CAA != nil && a.CAA.Allowed
	}
	return true
}

// decided says whether the missing votes can't change the verdict.
func (b *ballot) decided(p ca.PerspectivePolicy) bool {
	passed, open := 0, 0
	for _, v := range b.remotes {
		switch {
		case v.millis < 0:
			open++
		case v.outcome == ca.OutcomePass:
			passed++
		}
	}
	needed := p.Needed(len(b.remotes))
	return !b.primary.passed() || passed >= needed || passed+open < needed
}

// rows are the ballot as it is kept and counted.
func (b *ballot) rows() []ca.Perspective {
	first := ca.Perspective{Name: ca.PrimaryPerspective, Primary: true, Outcome: ca.OutcomeError, Why: "was not asked"}
	if b.primary.asked {
		first.Outcome, first.Why = outcomeOf(b.primary.problem), ""
	}
	if b.primary.problem != nil {
		first.Why = kept(b.primary.problem.Error())
	}
	rows := []ca.Perspective{first}
	for _, v := range b.remotes {
		rows = append(rows, v.row())
	}
	return rows
}

func (v vote) row() ca.Perspective {
	why := v.why
	if v.problem != "" {
		why = v.problem + ": " + why
	}
	return ca.Perspective{Name: v.name, Outcome: v.outcome, Why: kept(why)}
}

// results are the rows with what each remote saw.
func (b *ballot) results() []acme.PerspectiveResult {
	rows := b.rows()
	out := []acme.PerspectiveResult{{Perspective: rows[0], Millis: b.primary.millis}}
	for i, v := range b.remotes {
		r := acme.PerspectiveResult{Perspective: rows[i+1], Millis: v.millis}
		if v.answer != nil {
			r.Steps, r.CAA = v.answer.Steps, v.answer.CAA
		}
		out = append(out, r)
	}
	return out
}

// verdict is nil when the quorum is there. The primary's own problem goes
// first: it says the most to the client's owner.
func (q *Quorum) verdict(b *ballot, what string) *acme.Problem {
	if b.primary.problem != nil {
		return b.primary.problem
	}
	if q.policy.Flaw(b.rows()) == "" {
		return nil
	}
	count, kind := b.against()
	n := len(b.remotes)
	detail := fmt.Sprintf("%d of %d remote perspectives could not confirm %s (%s), and at most %d may", sum(count), n, what, tally(count), n-q.policy.Needed(n))
	if kind == acme.ServerInternal { // nobody saw anything wrong with the name
		return acme.Problemf(kind, "%s; this CA can't see the name from enough networks at the moment; try again later", detail)
	}
	return acme.Problemf(kind, "%s; from some networks the name leads elsewhere, or nowhere: make it answer alike for all of them, and try again", detail)
}

const noAnswer = "no answer"

// against counts the votes that are no pass, by error type, and finds the
// type to answer with: the commonest of those that are about the name.
func (b *ballot) against() (map[string]int, acme.Kind) {
	count := make(map[string]int)
	kind, most := acme.ServerInternal, 0
	for _, v := range b.remotes {
		switch v.outcome {
		case ca.OutcomePass:
			continue
		case ca.OutcomeFail:
			count[v.problem]++
			if count[v.problem] > most {
				kind, most = problemKinds[v.problem], count[v.problem]
			}
		case ca.OutcomeError:
			count[noAnswer]++
		}
	}
	return count, kind
}

func sum(count map[string]int) (n int) {
	for _, c := range count {
		n += c
	}
	return n
}

// tally names counts and no places: which network sees what is nobody's
// business but the operator's (F48).
func tally(count map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(count)) {
		out = append(out, fmt.Sprintf("%d %s", count[k], k))
	}
	return strings.Join(out, ", ")
}

// words say the ballot, for the evidence.
func (b *ballot) words(p ca.PerspectivePolicy) string {
	first := "the primary passed"
	if !b.primary.passed() {
		first = "the primary did not pass"
	}
	count, _ := b.against()
	n := len(b.remotes)
	out := fmt.Sprintf("%s; %d of %d remote perspectives corroborate, %d must", first, n-sum(count), n, p.Needed(n))
	if len(count) > 0 {
		out += " (against: " + tally(count) + ")"
	}
	return out
}

// foldCAA makes the primary's look at CAA records one of all perspectives: it
// counts at signing only if enough remotes saw a permission too, also where
// CAA did not decide over this attempt.
func (q *Quorum) foldCAA(e *acme.Evidence, b *ballot) {
	if e.CAA == nil {
		return
	}
	c := &ballot{primary: primaryVote{asked: true}}
	if !e.CAA.Allowed {
		c.primary.problem = acme.Problemf(caaKind(e.CAA), "%s", e.CAA.Why)
	}
	for _, v := range b.remotes {
		o := vote{name: v.name, outcome: ca.OutcomeError, why: v.why}
		switch {
		case v.answer == nil:
		case v.answer.CAA == nil:
			o.why = "said nothing about CAA records"
		case v.answer.CAA.Allowed:
			o.outcome, o.why = ca.OutcomePass, ""
		default:
			o.outcome, o.problem, o.why = ca.OutcomeFail, caaKind(v.answer.CAA).String(), v.answer.CAA.Why
		}
		c.remotes = append(c.remotes, o)
	}
	e.CAA.Perspectives = c.rows()
	if problem := q.verdict(c, "that CAA records let this CA certify "+e.Identifier); problem != nil && e.CAA.Allowed {
		refuse(e.CAA, problem)
	}
}

// caaKind is the error type of a look that found no permission: either records
// forbid it, or nobody knows.
func caaKind(e *ca.CAAEvidence) acme.Kind {
	if e.Problem == acme.CAA.String() {
		return acme.CAA
	}
	return acme.DNS
}

// report logs which remotes do not see what the primary saw: either somebody
// is in the way, or a perspective needs its operator.
func (q *Quorum) report(ctx context.Context, b *ballot, what string) {
	for _, v := range b.remotes {
		if v.outcome == ca.OutcomeError || v.outcome == ca.OutcomeFail && b.primary.passed() {
			q.log.WarnContext(ctx, "a remote perspective does not corroborate", "perspective", v.name, "asked", what, "outcome", v.outcome, "problem", v.problem, "why", v.why)
		}
	}
}
