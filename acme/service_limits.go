package acme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chancery/acme/limit"
	"chancery/ca"
)

// How limits are kept (SAFETY R65, A9, F60). A refused request takes nothing.
//
//   - What is created takes its tokens in the transaction that creates it, so
//     a limit holds over all replicas and for any number of requests at once. A
//     read before it lets most refusals pass the store's writer by.
//   - A failed validation takes tokens with its verdict. Beginning one needs a
//     token for it and for those of the same account and name that are under
//     way here: of many begun at once, no more fail than the limit allows.
//   - How many run at once is counted in this process, whose sockets and
//     memory it protects.
//
// Nothing that succeeds takes a token of a limit on failures.

// Bounds of waiting validations (invariant 8).
const (
	maxInHandOfAccount = 1000 // of one account: ten orders of a hundred names
	maxInHand          = 5000 // of all: some 10 KiB each
	tryAgain           = 5    // seconds
	pauseRetryAfter    = 24 * 60 * 60
	// From how many failures in a row on a name is one that only fails, and
	// gets none of the places that others need.
	retryRun = 3
	// How often full buckets are removed.
	pruneLimitsEvery = 10 * time.Minute
)

// wholeName is the authorization's name as an order says it.
func (a *Authorization) wholeName() ca.Identifier {
	if !a.Wildcard {
		return a.Identifier
	}
	name, err := ca.ParseIdentifier(string(ca.DNS), "*."+a.Identifier.Value())
	if err != nil { // it was ordered under this name
		return a.Identifier
	}
	return name
}

// limited is the problem of a bucket without a token, and what internal makes
// of any other error.
func (s *Service) limited(ctx context.Context, doing string, err error) error {
	if e, ok := errors.AsType[*limit.Exceeded](err); ok {
		return rateLimited(e)
	}
	return s.internal(ctx, doing, err)
}

// rateLimited is RFC 8555 section 6.6: which limit, how much it allows, and
// when to come again.
func rateLimited(e *limit.Exceeded) *Problem {
	about := ""
	if e.About != "" {
		about = fmt.Sprintf(" (%.200s)", e.About)
	}
	advice := ""
	if e.Kind >= limit.FailuresPerAccount {
		advice = " Correct what the earlier failures name first."
	}
	return &Problem{
		Kind: RateLimited, RetryAfter: int((e.Wait + time.Second - 1) / time.Second),
		Detail: fmt.Sprintf("Too many %s%s: the limit %s allows %d at once, and as many again over %s.%s Try again in %s.",
			e.Kind.Says(), about, e.Kind, e.Rate.Burst, limit.Span(e.Rate.Per), advice, limit.Span(e.Wait)),
	}
}

// accountSpend is what a new account takes.
func (s *Service) accountSpend(a *Account, addr string) []limit.Spend {
	return collect(s.Limits.For("", a.ExternalKeyID).Spend(limit.NewAccountsPerIP, limit.Network(addr)))
}

func collect(s limit.Spend, ok bool) []limit.Spend {
	if !ok {
		return nil
	}
	return []limit.Spend{s}
}

func (s *Service) view(a *Account) limit.View { return s.Limits.For(a.ID, a.ExternalKeyID) }

// orderSpend is what a new order takes, once it is sure that its limits allow
// it so far.
func (s *Service) orderSpend(ctx context.Context, c Caller, o *Order, fresh []*Authorization) ([]limit.Spend, error) {
	if s.Limits == nil {
		return nil, nil
	}
	view := s.view(c.Account)
	spends := createSpends(view, o.Identifiers)
	if dup, ok := view.Spend(limit.DuplicateCertificates, nameSet(o.Identifiers)); ok && s.repeated(dup, fresh) {
		spends = append(spends, dup)
	}
	return spends, s.mayCreate(ctx, c, spends, fresh, o.CreatedAt)
}

// repeated says whether an order should be held against the limit on
// duplicates. An order of which all names were proven recently may be one of
// a loop. One that has to prove a name is not, and needs no second row in the
// store; unless proofs are forgotten sooner than duplicates are.
func (s *Service) repeated(dup limit.Spend, fresh []*Authorization) bool {
	return len(fresh) == 0 || orDefault(s.Settings.AuthorizationTTL, defaultAuthorizationTTL) < dup.Rate.Per
}

// nameSet names a set of names, whatever their sequence.
func nameSet(names []ca.Identifier) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.Value()
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// createSpends are the tokens of an order, or of an authorization made in
// advance, which counts as one.
func createSpends(view limit.View, names []ca.Identifier) []limit.Spend {
	spends := collect(view.Spend(limit.NewOrdersPerAccount, ""))
	var domains []string
	for _, n := range names {
		if d := limit.Domain(n.Value()); !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	for _, d := range domains {
		spends = append(spends, collect(view.Spend(limit.NewOrdersPerDomain, d))...)
	}
	return spends
}

// authorizationSpend is orderSpend for an authorization made in advance.
func (s *Service) authorizationSpend(ctx context.Context, c Caller, a *Authorization) ([]limit.Spend, error) {
	if s.Limits == nil {
		return nil, nil
	}
	spends := createSpends(s.view(c.Account), []ca.Identifier{a.Identifier})
	return spends, s.mayCreate(ctx, c, spends, []*Authorization{a}, a.CreatedAt)
}

// mayCreate looks whether the buckets have tokens, and whether the names that
// are to be proven may be tried.
func (s *Service) mayCreate(ctx context.Context, c Caller, spends []limit.Spend, fresh []*Authorization, now time.Time) error {
	var names []ca.Identifier
	for _, a := range fresh {
		names = append(names, a.wholeName())
	}
	t, err := s.trials(ctx, c, names, spends)
	if err != nil {
		return err
	}
	for _, spend := range spends {
		if _, err := spend.Take(t.standing.TATs[spend.Key], now); err != nil {
			return s.limited(ctx, "looking at the limits", err)
		}
	}
	var problems []*Problem
	for _, n := range names {
		p, err := s.mayTry(ctx, t, n, 1, now)
		if err != nil {
			return err
		}
		if p != nil {
			part := *p
			part.Identifier = &n
			problems = append(problems, &part)
		}
	}
	return together(problems)
}

// together makes one problem of those of several names (RFC 8555 section 6.7.1).
func together(problems []*Problem) error {
	switch len(problems) {
	case 0:
		return nil
	case 1:
		one := *problems[0]
		one.Identifier = nil // only subproblems have one
		return &one
	}
	whole := &Problem{Kind: RateLimited, Subproblems: problems}
	for _, p := range problems {
		whole.RetryAfter = max(whole.RetryAfter, p.RetryAfter)
	}
	whole.Detail = fmt.Sprintf("%d of the order's names may not be tried now; see the subproblems. One of them: %s", len(problems), problems[0].Detail)
	return whole
}

// trials is how an account stands with names that it wants to prove.
type trials struct {
	caller   Caller
	view     limit.View
	standing *Standing
}

// failureSpends are the tokens that a failed validation of the name takes.
func failureSpends(view limit.View, name ca.Identifier) []limit.Spend {
	value := name.Value()
	return slices.Concat(
		collect(view.Spend(limit.FailuresPerAccount, "")),
		collect(view.Spend(limit.FailuresPerName, value)),
		collect(view.Spend(limit.FailuresPerIdentifier, value)),
		collect(view.Spend(limit.FailuresPerDomain, limit.Domain(value))),
	)
}

// trials reads everything that mayTry needs for these names, and the buckets
// of further spends beside it.
func (s *Service) trials(ctx context.Context, c Caller, names []ca.Identifier, spends []limit.Spend) (*trials, error) {
	t := &trials{caller: c, view: s.view(c.Account)}
	keys := make([]limit.Key, 0, len(spends)+4*len(names))
	add := func(spends []limit.Spend) {
		for _, spend := range spends {
			keys = append(keys, spend.Key)
		}
	}
	add(spends)
	for _, n := range names {
		add(failureSpends(t.view, n))
	}
	slices.SortFunc(keys, func(a, b limit.Key) int { return slices.Compare(a[:], b[:]) })
	var err error
	if t.standing, err = s.Store.Standing(ctx, c.Account.ID, slices.Compact(keys), names); err != nil {
		return nil, s.internal(ctx, "looking at the limits", err)
	}
	return t, nil
}

// mayTry says why a name may not be tried now, if so. n is how many tokens of
// the account's own bucket for the name a failure of this one and of those
// under way would take.
func (s *Service) mayTry(ctx context.Context, t *trials, name ca.Identifier, n int, now time.Time) (*Problem, error) {
	if f := t.standing.Failing[name]; !f.PausedAt.IsZero() {
		return paused(t.caller.Account.ID, &f), nil
	}
	for _, spend := range failureSpends(t.view, name) {
		tokens := 1
		if spend.Kind == limit.FailuresPerName {
			tokens = n
		}
		_, wait := spend.Rate.Take(t.standing.TATs[spend.Key], now, tokens)
		if wait == 0 {
			continue
		}
		shared := spend.Kind == limit.FailuresPerIdentifier || spend.Kind == limit.FailuresPerDomain
		if shared {
			// Others' failures don't stop an account that has proven the name
			// before: else any account could keep everybody from any name.
			known, err := s.Store.Authorized(ctx, t.caller.Account.ID, []ca.Identifier{name}, time.Unix(0, 0)) // at any time
			if err != nil {
				return nil, s.internal(ctx, "looking for earlier proofs", err)
			}
			if known {
				continue
			}
		}
		if spend.About == "" {
			spend.About = name.Value()
		}
		return rateLimited(&limit.Exceeded{Spend: spend, Wait: wait}), nil
	}
	return nil, nil
}

// paused is the answer while an account is paused for a name.
func paused(account string, f *Failing) *Problem {
	return &Problem{
		Kind: RateLimited, RetryAfter: pauseRetryAfter,
		Detail: fmt.Sprintf("This account is paused for %s since %s: its last %d validations of the name all failed, the last at %s. "+
			"Correct the cause, or stop asking for the name; then ask the CA's operator to run: chancery account unpause %s --name %s",
			f.Name.Value(), f.PausedAt.Format(time.RFC3339), f.Run, f.Last.Format(time.RFC3339), account, f.Name.Value()),
	}
}

// beginValidation claims an authorization for an attempt that the limits
// allow. The place that it takes in the crowd is given back by startValidation.
func (s *Service) beginValidation(ctx context.Context, c Caller, a *Authorization, t ChallengeType, now, lease time.Time) error {
	if s.Limits == nil {
		return s.Store.BeginValidation(ctx, c.actor(), now, a.ID, t, lease)
	}
	name := a.wholeName()
	// First into the crowd, then the look at the buckets: whoever left the
	// crowd before has its failure counted in them.
	under, entered, problem := s.crowd.enter(a.ID, guest{account: c.Account.ID, name: name, most: s.view(c.Account).Concurrent()})
	if problem != nil {
		return problem
	}
	err := s.mayBegin(ctx, c, a.ID, name, under, now)
	if err == nil {
		err = s.Store.BeginValidation(ctx, c.actor(), now, a.ID, t, lease)
	}
	if err != nil && entered {
		s.crowd.leave(a.ID)
	}
	return err
}

// mayBegin says why a name may not be tried now, of which so many validations
// of the account are in hand with this one.
func (s *Service) mayBegin(ctx context.Context, c Caller, id string, name ca.Identifier, under int, now time.Time) error {
	t, err := s.trials(ctx, c, []ca.Identifier{name}, nil)
	if err != nil {
		return err
	}
	problem, err := s.mayTry(ctx, t, name, under, now)
	if err == nil && problem == nil && t.standing.Failing[name].Run >= retryRun {
		problem = s.crowd.retry(id, s.Limits.Retries)
	}
	if err == nil && problem != nil {
		return problem
	}
	return err
}

// tally is what the verdict on an attempt means for the limits. What went
// wrong here is not the client's failure.
func (s *Service) tally(a *Authorization, account *Account, problem *Problem) *Tally {
	if s.Limits == nil || problem != nil && problem.Kind == ServerInternal {
		return nil
	}
	t := &Tally{Account: account.ID, Name: a.wholeName(), Pause: s.Limits.Pause}
	if problem != nil {
		t.Spends = failureSpends(s.view(account), t.Name)
	}
	return t
}

// countGivenUp counts a failure whose verdict found its authorization
// deactivated: otherwise deactivating in time would make validations free.
func (s *Service) countGivenUp(ctx context.Context, id string, v Verdict) {
	if v.Problem == nil || v.Tally == nil {
		return
	}
	a, err := s.Store.Authorization(ctx, id)
	if err == nil && !a.DeactivatedAt.IsZero() {
		err = s.Store.ChargeFailure(ctx, ca.System("validation"), s.now(), id, v.Tally)
	}
	if err != nil {
		s.log().ErrorContext(ctx, "a failed validation was not counted", "authorization", id, "error", err)
	}
}

// pruneLimits removes full buckets now and then; it returns when it did so last.
func (s *Service) pruneLimits(ctx context.Context, last time.Time) time.Time {
	now := s.now()
	if now.Sub(last).Abs() < pruneLimitsEvery {
		return last
	}
	if err := s.Store.PruneLimits(ctx, now); err != nil && ctx.Err() == nil {
		s.log().ErrorContext(ctx, "removing full buckets of limits", "error", err)
	}
	return now
}

// AccountLimits is how the limits of an account stand.
type AccountLimits struct {
	Account    *Account
	Enabled    bool
	Concurrent int // validations at once, 0: no bound
	Buckets    []Bucket
	Failing    []Failing // the paused ones first, then the latest, at most a thousand
}

// Bucket is how one bucket of an account stands.
type Bucket struct {
	Kind   limit.Kind
	Rate   limit.Rate
	Scope  string // of the exception that sets the rate, "account:…" or "eab:…"; empty: none does
	About  string // the name, where there is a bucket for each
	Left   int
	FullAt time.Time // zero: it is full
}

// AccountLimits tells how the limits of an account stand: its own buckets, and
// those of the names that fail.
func (s *Service) AccountLimits(ctx context.Context, id string) (*AccountLimits, error) {
	now := s.now()
	account, err := s.Store.Account(ctx, id)
	if errors.Is(err, ca.ErrNotFound) {
		return nil, notFound("account")
	}
	if err != nil {
		return nil, s.internal(ctx, "looking up the account", err)
	}
	view := s.view(account)
	out := &AccountLimits{Account: account, Enabled: s.Limits != nil, Concurrent: view.Concurrent()}
	if out.Failing, err = s.Store.Failing(ctx, id); err != nil {
		return nil, s.internal(ctx, "looking for names that fail", err)
	}
	spends := slices.Concat(collect(view.Spend(limit.NewOrdersPerAccount, "")), collect(view.Spend(limit.FailuresPerAccount, "")))
	for _, f := range out.Failing {
		spends = append(spends, collect(view.Spend(limit.FailuresPerName, f.Name.Value()))...)
	}
	keys := make([]limit.Key, len(spends))
	for i, spend := range spends {
		keys[i] = spend.Key
	}
	standing, err := s.Store.Standing(ctx, id, keys, nil)
	if err != nil {
		return nil, s.internal(ctx, "looking at the limits", err)
	}
	for _, spend := range spends {
		_, scope := view.Rate(spend.Kind)
		b := Bucket{Kind: spend.Kind, Rate: spend.Rate, Scope: scope, About: spend.About}
		tat := standing.TATs[spend.Key]
		if b.Left = spend.Rate.Left(tat, now); tat.After(now) {
			b.FullAt = tat
		}
		out.Buckets = append(out.Buckets, b)
	}
	return out, nil
}

// Unpause ends the pause of an account for a name (the zero name: for all) by
// an operator's word, and returns the names. A name that fails and is not
// paused (yet) may be given too: its failures are forgotten.
func (s *Service) Unpause(ctx context.Context, by ca.Actor, id string, name ca.Identifier) ([]ca.Identifier, error) {
	now := s.now()
	standing, err := s.AccountLimits(ctx, id)
	if err != nil {
		return nil, err
	}
	view := s.view(standing.Account)
	names := map[ca.Identifier]limit.Key{}
	var list []ca.Identifier
	for _, f := range standing.Failing {
		all := name == ca.Identifier{} && !f.PausedAt.IsZero()
		if all || f.Name == name {
			bucket, _ := view.Spend(limit.FailuresPerName, f.Name.Value())
			names[f.Name] = bucket.Key
			list = append(list, f.Name)
		}
	}
	if len(list) == 0 {
		return nil, &Problem{Kind: Malformed, Status: 404, Detail: "The account is not paused for " + orDefault(name.Value(), "any name") + "."}
	}
	switch err := s.Store.Unpause(ctx, by, now, id, names); {
	case errors.Is(err, ca.ErrNotFound):
		return nil, &Problem{Kind: Malformed, Status: 409, Detail: "A validation succeeded at the same moment; look again."}
	case err != nil:
		return nil, s.internal(ctx, "ending the pause", err)
	}
	return list, nil
}
