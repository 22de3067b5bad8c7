package acme_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/acme/limit"
	"chancery/ca"
)

// limitedWorld is a world with the default limits, changed as the test wants.
func limitedWorld(t *testing.T, change func(r *limit.Rules)) *world {
	t.Helper()
	w := newWorld(t)
	w.Limits = limit.Default()
	if change != nil {
		change(w.Limits)
	}
	return w
}

func (w *world) registerFrom(addr string) (acme.Caller, error) {
	a, _, err := w.NewAccount(w.t.Context(), acme.NewAccount{Key: accountKey(w.t, newKey(w.t)), Addr: addr})
	return acme.Caller{Account: a, Addr: addr}, err
}

// attempt orders the names and answers a challenge for each; the first
// refusal is returned.
func (w *world) attempt(c acme.Caller, values ...string) error {
	o, err := w.NewOrder(w.t.Context(), c, acme.NewOrder{Identifiers: names(w.t, values...)})
	if err != nil {
		return err
	}
	for _, a := range o.Authorizations {
		if a.StatusAt(w.now()) != acme.StatusPending {
			continue
		}
		if _, err := w.Respond(w.t.Context(), c, a.ID, a.Types[0]); err != nil {
			return err
		}
	}
	return nil
}

func wrong(_ context.Context, a acme.Attempt) *acme.Problem {
	return acme.Problemf(acme.IncorrectResponse, "%s said no", a.Identifier.Value())
}

// gate is closed until free is called, at the latest when the test ends.
func gate(t *testing.T) (release <-chan struct{}, free func()) {
	c := make(chan struct{})
	free = sync.OnceFunc(func() { close(c) })
	t.Cleanup(free)
	return c, free
}

// wantLimited wants a refusal by a limit: 429 rateLimited, the limit's name,
// and when to come again (RFC 8555 section 6.6, SAFETY row 131).
func wantLimited(t *testing.T, err error, says ...string) *acme.Problem {
	t.Helper()
	p := acme.AsProblem(err)
	if p == nil || p.Kind != acme.RateLimited || p.HTTPStatus() != 429 || p.RetryAfter < 1 {
		t.Fatalf("got %+v (%v), want rateLimited with Retry-After", p, err)
	}
	for _, s := range says {
		if !strings.Contains(p.Detail, s) {
			t.Errorf("no %q in %q", s, p.Detail)
		}
	}
	return p
}

func isLimited(err error) bool {
	p := acme.AsProblem(err)
	return p != nil && p.Kind == acme.RateLimited
}

// TestRow131: the request that is one too many is refused, whole, and the next
// one after the wait is not.
func TestRow131(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.NewOrdersPerAccount] = limit.Rate{Burst: 3, Per: time.Hour} })
	c, other := w.register(), w.register()
	for range 3 {
		w.order(c, "a.example")
	}
	_, err := w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "a.example")})
	p := wantLimited(t, err, "new orders of one account", "new_orders_per_account allows 3 at once, and as many again over 1h", "Try again in 20m")
	if p.RetryAfter != 20*60 {
		t.Errorf("Retry-After %d, want 1200", p.RetryAfter)
	}
	_, _, err = w.NewAuthorization(t.Context(), c, names(t, "b.example")[0]) // counts as an order
	wantLimited(t, err, "new_orders_per_account")
	w.order(other, "a.example")
	w.advance(time.Duration(p.RetryAfter)*time.Second - time.Millisecond)
	_, err = w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "a.example")})
	wantLimited(t, err)
	w.advance(time.Millisecond)
	w.order(c, "a.example")
	if orders, err := w.db.Orders(t.Context(), acme.OrderSearch{Account: c.Account.ID, Limit: 100}); err != nil || len(orders) != 4 {
		t.Errorf("%d orders are stored, %v; want 4", len(orders), err)
	}
}

// TestOrderLimitInParallel: 64 orders at once against a burst of ten, at two
// engines that share a store: exactly ten.
func TestOrderLimitInParallel(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.NewOrdersPerAccount] = limit.Rate{Burst: 10, Per: time.Hour} })
	second := &acme.Service{Store: w.db, Validator: w, Issuer: w.Issuer, Sealer: w.Sealer, Now: w.now, Limits: w.Limits}
	c := w.register()
	var passed, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			_, err := []*acme.Service{w.Service, second}[i%2].NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, fmt.Sprintf("h%d.example", i))})
			switch {
			case err == nil:
				passed.Add(1)
			case isLimited(err):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 10 || refused.Load() != 54 {
		t.Errorf("%d passed, %d were refused; want 10 and 54", passed.Load(), refused.Load())
	}
}

func TestNewAccountsPerNetwork(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.NewAccountsPerIP] = limit.Rate{Burst: 2, Per: time.Hour} })
	for _, c := range []struct {
		addr string
		pass bool
	}{
		{"192.0.2.1", true},
		{"192.0.2.1", true},
		{"192.0.2.1", false},
		{"::ffff:192.0.2.1", false},
		{"192.0.2.2", true},
		{"2001:db8:1::1", true},
		{"2001:db8:1:ffff::2", true},
		{"2001:db8:1:2::3", false},
		{"2001:db8:2::1", true},
		{"", true},
		{"no address", true},
		{"", false},
	} {
		_, err := w.registerFrom(c.addr)
		if c.pass != (err == nil) {
			t.Errorf("%q: %v", c.addr, err)
		}
		if !c.pass {
			wantLimited(t, err, "new_accounts_per_ip")
		}
	}
	// Who has an account finds it whatever the limit says.
	key := accountKey(t, newKey(t))
	for range 3 {
		if _, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: key, Addr: "192.0.2.9"}); err != nil {
			t.Error(err)
		}
	}
}

// TestFleetPasses: what an internal team does in its busiest hour is far below
// the defaults: 500 hosts behind one address, each with its own account or all
// with one, three certificates each, one of them twice; and twenty
// certificates in a minute from one host.
func TestFleetPasses(t *testing.T) {
	w := limitedWorld(t, nil)
	one := w.register()
	host := func(i int) {
		own, err := w.registerFrom("192.0.2.7")
		must(t, err)
		for _, n := range []string{"web", "db", "mail", "mail"} {
			for _, c := range []acme.Caller{own, one} {
				if err := w.attempt(c, fmt.Sprintf("%s%d.corp.internal", n, i), "service.corp.internal"); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.advance(7 * time.Second)
	}
	for i := range 500 {
		host(i)
	}
	c, key := w.register(), newKey(t)
	for i := range 20 {
		w.obtain(c, key, fmt.Sprintf("h%d.example", i))
	}
}

func TestFailedValidationsPerName(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.FailuresPerName] = limit.Rate{Burst: 5, Per: time.Hour} })
	w.proving(wrong)
	c, other := w.register(), w.register()
	for range 5 {
		must(t, w.attempt(c, "a.example"))
	}
	asked := w.asked.Load()
	err := w.attempt(c, "a.example")
	p := wantLimited(t, err, "failed validations of one name by one account (a.example)", "failed_validations_per_name allows 5 at once", "Correct what the earlier failures name")
	if p.RetryAfter != 12*60 || p.Identifier != nil {
		t.Errorf("%+v", p)
	}
	if w.asked.Load() != asked {
		t.Error("a refused name was looked up")
	}
	must(t, w.attempt(c, "b.example"))
	must(t, w.attempt(c, "*.a.example")) // proven in another way, counted apart
	must(t, w.attempt(other, "a.example"))

	// Several names: the problem has a subproblem for each that is at fault.
	for range 4 {
		must(t, w.attempt(c, "b.example"))
	}
	p = wantLimited(t, w.attempt(c, "a.example", "b.example", "c.example"), "2 of the order's names")
	if len(p.Subproblems) != 2 || p.Subproblems[0].Identifier.Value() != "a.example" || p.Subproblems[1].Identifier.Value() != "b.example" {
		t.Errorf("%+v", p.Subproblems)
	}

	w.advance(12 * time.Minute)
	must(t, w.attempt(c, "a.example"))
	wantLimited(t, w.attempt(c, "a.example"))

	// What is corrected passes, and successes take nothing.
	w.advance(12 * time.Minute)
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return nil })
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	for range 20 {
		must(t, w.attempt(c, "a.example"))
	}
}

// TestFailuresInParallel: of 64 challenges that are answered at once for a
// name, no more are validated than may fail.
func TestFailuresInParallel(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.FailuresPerName] = limit.Rate{Burst: 10, Per: time.Hour} })
	w.Settings.Wait = time.Millisecond
	release, free := gate(t)
	w.proving(func(ctx context.Context, a acme.Attempt) *acme.Problem {
		<-release
		return wrong(ctx, a)
	})
	c := w.register()
	orders := make([]*acme.Order, 64)
	for i := range orders {
		orders[i] = w.order(c, "a.example")
	}
	var refused atomic.Int64
	answer := func() {
		var wg sync.WaitGroup
		for _, o := range orders {
			wg.Go(func() {
				_, err := w.Respond(t.Context(), c, o.Authorizations[0].ID, acme.HTTP01)
				if isLimited(err) {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	answer()
	if refused.Load() != 54 {
		t.Errorf("%d were refused, want 54", refused.Load())
	}
	free()
	w.Settings.Wait = 5 * time.Second
	for w.backlog() > 0 {
		time.Sleep(time.Millisecond)
	}
	answer()
	if n := w.asked.Load(); n != 10 {
		t.Errorf("%d validations were made, want 10", n)
	}
}

// TestFailuresRaceTheirVerdicts: the same while verdicts come in all the time.
func TestFailuresRaceTheirVerdicts(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.FailuresPerName] = limit.Rate{Burst: 10, Per: time.Hour} })
	w.proving(wrong)
	c := w.register()
	var orders []*acme.Order
	for range 48 {
		orders = append(orders, w.order(c, "a.example"))
	}
	var wg sync.WaitGroup
	for _, o := range orders {
		wg.Go(func() {
			if _, err := w.Respond(t.Context(), c, o.Authorizations[0].ID, acme.HTTP01); err != nil && !isLimited(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.asked.Load(); n > 10 || n < 5 {
		t.Errorf("%d validations were made, want at most 10", n)
	}
}

func (w *world) backlog() int64 {
	b, err := w.db.Backlog(context.Background())
	must(w.t, err)
	return b.Validations
}

// TestDeactivatingIsNoWayOut: an authorization that is deactivated before its
// verdict has failed all the same.
func TestDeactivatingIsNoWayOut(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.FailuresPerName] = limit.Rate{Burst: 3, Per: time.Hour} })
	c := w.register()
	w.proving(func(ctx context.Context, a acme.Attempt) *acme.Problem {
		for _, o := range []acme.Status{acme.StatusPending, acme.StatusValid} { // it is pending: the validation is under way
			list, err := w.db.Orders(ctx, acme.OrderSearch{Account: c.Account.ID, Limit: 1})
			must(t, err)
			if list[0].Authorizations[0].StatusAt(w.now()) == o {
				_, err = w.DeactivateAuthorization(ctx, c, list[0].Authorizations[0].ID)
				must(t, err)
			}
		}
		return wrong(ctx, a)
	})
	for range 3 {
		must(t, w.attempt(c, "a.example"))
	}
	wantLimited(t, w.attempt(c, "a.example"), "failed_validations_per_name")
	if n := w.asked.Load(); n != 3 {
		t.Errorf("%d validations, want 3", n)
	}
}

// TestOurFaultIsNotTheirs: what could not be carried out here is no failure of
// the client.
func TestOurFaultIsNotTheirs(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.FailuresPerName] = limit.Rate{Burst: 1, Per: time.Hour} })
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return acme.Problemf(acme.ServerInternal, "broken") })
	c := w.register()
	for range 5 {
		must(t, w.attempt(c, "a.example"))
	}
	if list, err := w.db.Failing(t.Context(), c.Account.ID); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

// TestRowA9: whatever accounts there are, one target is not asked more often
// than the limits on names and domains say; and yet whoever has proven a name
// is not held up by the failures of others.
func TestRowA9(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) {
		r.Rates[limit.FailuresPerIdentifier] = limit.Rate{Burst: 30, Per: time.Hour}
		r.Rates[limit.FailuresPerDomain] = limit.Rate{Burst: 100, Per: time.Hour}
	})
	owner := w.register()
	must(t, w.attempt(owner, "www.victim.co.uk"))
	w.proving(wrong)
	before := w.asked.Load()
	var last error
	for range 10 {
		c := w.register()
		for range 10 {
			if err := w.attempt(c, "www.victim.co.uk"); err != nil {
				last = err
			}
		}
	}
	if n := w.asked.Load() - before; n != 30 {
		t.Errorf("a name was asked %d times by ten accounts, want 30", n)
	}
	wantLimited(t, last, "by all accounts together (www.victim.co.uk)", "failed_validations_per_identifier")

	for i := range 200 {
		c := owner
		if i%10 == 0 {
			c = w.register()
		}
		if err := w.attempt(c, fmt.Sprintf("h%d.victim.co.uk", i)); err != nil {
			last = err
		}
	}
	if n := w.asked.Load() - before; n != 100 {
		t.Errorf("names below a domain were asked %d times, want 100", n)
	}
	wantLimited(t, last, "below one registered domain", "(victim.co.uk)", "failed_validations_per_domain")
	must(t, w.attempt(w.register(), "www.other.co.uk"))

	w.advance(11 * 24 * time.Hour) // the owner's proof is too old to be reused; the buckets are full again
	for range 12 {
		c := w.register()
		for range 10 {
			_ = w.attempt(c, fmt.Sprintf("%s.victim.co.uk", c.Account.ID[:3])) // empties the domain's bucket
			_ = w.attempt(c, "www.victim.co.uk")
		}
	}
	wantLimited(t, w.attempt(w.register(), "www.victim.co.uk"))
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return nil })
	must(t, w.attempt(owner, "www.victim.co.uk"))
}

func TestFailedValidationsPerAccount(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.FailuresPerAccount] = limit.Rate{Burst: 10, Per: time.Hour} })
	w.proving(wrong)
	c := w.register()
	for i := range 10 {
		must(t, w.attempt(c, fmt.Sprintf("h%d.example", i)))
	}
	wantLimited(t, w.attempt(c, "h99.example"), "failed validations of one account (h99.example)")
}

func TestDuplicateCertificates(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.DuplicateCertificates] = limit.Rate{Burst: 3, Per: 24 * time.Hour} })
	c, other := w.register(), w.register()
	must(t, w.attempt(c, "a.example", "b.example")) // has to prove the names: no loop yet
	for i := range 3 {
		must(t, w.attempt(c, []string{"a.example", "b.example"}[i%2], []string{"b.example", "a.example"}[i%2]))
	}
	wantLimited(t, w.attempt(c, "b.example", "a.example"), "orders of one account for exactly the same names (a.example b.example)", "duplicate_certificates")
	must(t, w.attempt(c, "a.example"))
	must(t, w.attempt(other, "a.example", "b.example"))
	w.advance(8 * time.Hour)
	must(t, w.attempt(c, "a.example", "b.example"))

	// Where proofs are not kept for as long as duplicates are counted, each
	// order counts.
	w = limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.DuplicateCertificates] = limit.Rate{Burst: 3, Per: 24 * time.Hour} })
	w.Settings.AuthorizationTTL = time.Millisecond
	c = w.register()
	for range 3 {
		must(t, w.attempt(c, "a.example"))
		w.advance(time.Minute)
	}
	wantLimited(t, w.attempt(c, "a.example"), "duplicate_certificates")
}

func TestNewOrdersPerDomain(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.NewOrdersPerDomain] = limit.Rate{Burst: 4, Per: time.Hour} })
	for i := range 4 {
		must(t, w.attempt(w.register(), fmt.Sprintf("a%d.corp.internal", i), fmt.Sprintf("b%d.corp.internal", i)))
	}
	wantLimited(t, w.attempt(w.register(), "c.other.internal", "c.corp.internal"), "new_orders_per_domain", "(corp.internal)")
	must(t, w.attempt(w.register(), "c.other.internal"))
}

func TestOverrides(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Rates[limit.NewOrdersPerAccount] = limit.Rate{Burst: 1, Per: time.Hour} })
	w.Settings.ExternalAccount = acme.BindingOptional
	plain, special := w.register(), w.register()
	bound := w.register()
	bound.Account.ExternalKeyID = "kid"
	w.Limits.Overrides = map[string]limit.Override{
		limit.OverrideAccount + special.Account.ID: {Rates: map[limit.Kind]limit.Rate{limit.NewOrdersPerAccount: {}}},
		limit.OverrideKey + "kid":                  {Rates: map[limit.Kind]limit.Rate{limit.NewOrdersPerAccount: {Burst: 3, Per: time.Hour}}},
	}
	for c, want := range map[*acme.Caller]int{&plain: 1, &special: 10, &bound: 3} {
		got := 0
		for range 10 {
			if w.attempt(*c, "a.example") == nil {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d orders, want %d", c.Account.ID, got, want)
		}
	}
}

// TestPausing: who fails for a name over and over is told so, and how to get
// out of it; other names and other accounts go on.
func TestPausing(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Pause = limit.Pause{After: 5, Over: 3 * time.Hour} })
	w.proving(wrong)
	c, other := w.register(), w.register()
	fail := func(n int) {
		t.Helper()
		for range n {
			must(t, w.attempt(c, "a.example"))
			w.advance(time.Hour)
		}
	}
	fail(4)
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return nil })
	must(t, w.attempt(c, "a.example")) // begins anew
	w.advance(11 * 24 * time.Hour)
	w.proving(wrong)
	pending := w.order(c, "a.example")
	fail(5)
	must(t, w.attempt(c, "b.example"))

	p := wantLimited(t, w.attempt(c, "a.example"), "This account is paused for a.example since 20", "its last 5 validations of the name all failed",
		"chancery account unpause "+c.Account.ID+" --name a.example")
	if p.RetryAfter != 24*60*60 {
		t.Errorf("Retry-After %d", p.RetryAfter)
	}
	asked := w.asked.Load()
	_, err := w.Respond(t.Context(), c, pending.Authorizations[0].ID, acme.HTTP01) // offered before the pause
	wantLimited(t, err, "paused")
	w.advance(5 * 24 * time.Hour)
	wantLimited(t, w.attempt(c, "a.example", "c.example"), "paused") // time does not end it
	if w.asked.Load() != asked {
		t.Error("a paused name was looked up")
	}
	must(t, w.attempt(c, "c.example"))
	must(t, w.attempt(other, "a.example"))

	standing, err := w.AccountLimits(t.Context(), c.Account.ID)
	must(t, err)
	if f := standing.Failing; len(f) != 3 || f[0].Name.Value() != "a.example" || f[0].Run != 5 || f[0].PausedAt.IsZero() || !f[1].PausedAt.IsZero() {
		t.Errorf("%+v", f)
	}

	op := ca.Actor{Kind: ca.ActorOperator, ID: "tester"}
	_, err = w.Unpause(t.Context(), op, c.Account.ID, names(t, "nope.example")[0])
	wantKind(t, err, acme.Malformed)
	list, err := w.Unpause(t.Context(), op, c.Account.ID, ca.Identifier{})
	must(t, err)
	if !slices.Equal(list, names(t, "a.example")) {
		t.Errorf("unpaused %v", list)
	}
	must(t, w.attempt(c, "a.example"))
	_, err = w.Unpause(t.Context(), op, c.Account.ID, ca.Identifier{})
	wantKind(t, err, acme.Malformed)
	_, err = w.Unpause(t.Context(), op, other.Account.ID, names(t, "a.example")[0])
	must(t, err) // not paused, its failures are forgotten
	events, err := w.db.Events(t.Context(), ca.EventSearch{Action: "account.unpause", Object: c.Account.ID, Limit: 10})
	must(t, err)
	if len(events) != 1 || events[0].By.ID != "tester" || events[0].Detail != `{"names":["dns:a.example"]}` {
		t.Errorf("%+v", events)
	}
}

// TestOneAccountDoesNotHoldAllPlaces: of one account, no more validations run
// at once than it may; the others wait, and all get their verdict.
func TestOneAccountDoesNotHoldAllPlaces(t *testing.T) {
	w := limitedWorld(t, func(r *limit.Rules) { r.Concurrent = 4 })
	w.Settings.Wait = time.Millisecond
	var running, most atomic.Int64
	w.proving(func(context.Context, acme.Attempt) *acme.Problem {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		running.Add(-1)
		return nil
	})
	c := w.register()
	var hosts []string
	for i := range 60 {
		hosts = append(hosts, fmt.Sprintf("h%d.example", i))
	}
	o := w.order(c, hosts...)
	w.fulfil(c, o)
	for w.backlog() > 0 {
		time.Sleep(time.Millisecond)
	}
	o, err := w.Order(t.Context(), c, o.ID)
	must(t, err)
	if o.StatusAt(w.now()) != acme.StatusReady {
		t.Errorf("the order is %s", o.StatusAt(w.now()))
	}
	if most.Load() > 4 {
		t.Errorf("%d ran at once, want at most 4", most.Load())
	}
}

// TestRowF60: ten thousand broken clients can't be run here, but what they do
// to others can. Clients whose names fail over and over, each validation
// hanging until its time is up, keep at the validator with all they have; the
// validator has ten places. An honest client finds one at once, each time.
func TestRowF60(t *testing.T) {
	const places = 10
	w := limitedWorld(t, func(r *limit.Rules) {
		r.Retries = places / 4
		r.Rates[limit.FailuresPerName] = limit.Rate{Burst: 1000, Per: time.Hour}
	})
	w.Settings.Wait = 20 * time.Millisecond
	slots := make(chan struct{}, places)
	var full, refused, hanging atomic.Int64
	broken := func(a acme.Attempt) bool { return strings.HasPrefix(a.Identifier.Value(), "broken") }
	w.proving(func(ctx context.Context, a acme.Attempt) *acme.Problem {
		select {
		case slots <- struct{}{}:
		default:
			if !broken(a) {
				full.Add(1)
			}
			slots <- struct{}{}
		}
		defer func() { <-slots }()
		if !broken(a) {
			return nil
		}
		if hanging.Load() > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		return wrong(ctx, a)
	})
	clients := make([]acme.Caller, 40)
	for i := range clients {
		clients[i] = w.register()
		for range 3 { // known for it
			must(t, w.attempt(clients[i], fmt.Sprintf("broken%d.example", i)))
		}
	}
	hanging.Store(1)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := w.attempt(c, fmt.Sprintf("broken%d.example", i)); isLimited(err) {
					refused.Add(1)
					time.Sleep(5 * time.Millisecond)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	honest := w.register()
	for i := range 60 {
		must(t, w.attempt(honest, fmt.Sprintf("honest%d.example", i)))
	}
	stop()
	wg.Wait()
	if full.Load() > 0 {
		t.Errorf("%d of 60 honest validations found no place", full.Load())
	}
	if refused.Load() == 0 {
		t.Error("nobody was held back: the test shows nothing")
	}
}

// TestCrowdIsBounded: one account can't have more than a thousand validations
// in hand, waiting ones counted.
func TestCrowdIsBounded(t *testing.T) {
	w := limitedWorld(t, nil)
	w.Settings.Wait = time.Nanosecond
	release, free := gate(t)
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { <-release; return nil })
	c := w.register()
	taken, refused := 0, error(nil)
	for o := 0; refused == nil && o < 11; o++ {
		var hosts []string
		for i := range 100 {
			hosts = append(hosts, fmt.Sprintf("h%d-%d.example", o, i))
		}
		order := w.order(c, hosts...)
		for _, a := range order.Authorizations {
			if _, err := w.Respond(t.Context(), c, a.ID, acme.HTTP01); err != nil {
				refused = err
				break
			}
			taken++
		}
	}
	wantLimited(t, refused, "This account has 1000 validations in hand")
	if taken != 1000 {
		t.Errorf("%d were taken, want 1000", taken)
	}
	must(t, w.attempt(w.register(), "other.example")) // others go on
	free()
	for w.backlog() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestNoLimits: without rules nothing is limited, counted or paused.
func TestNoLimits(t *testing.T) {
	w := newWorld(t)
	w.proving(wrong)
	c := w.register()
	for range 150 {
		must(t, w.attempt(c, "a.example"))
		w.advance(time.Hour)
	}
	if list, err := w.db.Failing(t.Context(), c.Account.ID); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	standing, err := w.AccountLimits(t.Context(), c.Account.ID)
	if err != nil || standing.Enabled || len(standing.Buckets) != 0 {
		t.Errorf("%+v %v", standing, err)
	}
	if _, err := w.AccountLimits(t.Context(), "AAAAAAAAAAAAAAAAAAAAAA"); acme.AsProblem(err) == nil || acme.AsProblem(err).HTTPStatus() != 404 {
		t.Errorf("no account: %v", err)
	}
}

// failingStore is a store whose limits can't be read.
type failingStore struct{ acme.Store }

func (failingStore) Standing(context.Context, string, []limit.Key, []ca.Identifier) (*acme.Standing, error) {
	return nil, errors.New("disk is gone")
}

// TestLimitsFailClosed: what can't be looked at is not allowed, and the client
// learns nothing of why (invariant 9).
func TestLimitsFailClosed(t *testing.T) {
	w := limitedWorld(t, nil)
	c := w.register()
	o := w.order(c, "a.example")
	w.Store = failingStore{w.db}
	_, err := w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "a.example")})
	_, err2 := w.Respond(t.Context(), c, o.Authorizations[0].ID, acme.HTTP01)
	for _, err := range []error{err, err2} {
		wantKind(t, err, acme.ServerInternal)
		if strings.Contains(err.Error(), "disk") {
			t.Errorf("internals are shown: %v", err)
		}
	}
	if w.asked.Load() != 0 {
		t.Error("it was validated")
	}
}
