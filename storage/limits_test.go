package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"chancery/acme"
	"chancery/acme/limit"
	"chancery/ca"
)

// rules are those of limit, with ten orders an hour.
func tenOrders() *limit.Rules {
	r := limit.Default()
	r.Rates[limit.NewOrdersPerAccount] = limit.Rate{Burst: 10, Per: time.Hour}
	r.Rates[limit.NewAccountsPerIP] = limit.Rate{Burst: 10, Per: time.Hour}
	return r
}

func oneSpend(t testing.TB, r *limit.Rules, account string, k limit.Kind, about string) limit.Spend {
	t.Helper()
	s, ok := r.For(account, "").Spend(k, about)
	if !ok {
		t.Fatalf("%s is off", k)
	}
	return s
}

func count(t testing.TB, db *DB, query string, args ...any) int {
	t.Helper()
	var n int
	must(t, db.read(t.Context(), func(s *session) error { return s.get(&n, query, args...) }))
	return n
}

func exceeded(errs []error) (passed, refused int, other error) {
	for _, err := range errs {
		var e *limit.Exceeded
		switch {
		case err == nil:
			passed++
		case errors.As(err, &e) && e.Wait > 0:
			refused++
		default:
			other = err
		}
	}
	return passed, refused, other
}

// TestSpendIsExact: of 64 orders at once, a limit of ten lets exactly ten
// pass, and nothing is left of the others (SAFETY row 131).
func TestSpendIsExact(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		s := oneSpend(t, tenOrders(), account.ID, limit.NewOrdersPerAccount, "")
		create := func(now time.Time) error {
			o := &acme.Order{ID: newID(now), Account: account.ID, Profile: "server", Identifiers: []ca.Identifier{name(t, "a.example")}, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
			o.Authorizations = []*acme.Authorization{newAuthorization(account.ID, o.Identifiers[0], now)}
			return db.CreateOrder(t.Context(), operator, now, o, o.Authorizations, s)
		}
		passed, refused, other := exceeded(race(64, func(int) error { return create(noon) }))
		if passed != 10 || refused != 54 || other != nil {
			t.Errorf("%d passed, %d were refused, %v; want 10 and 54", passed, refused, other)
		}
		for _, table := range []string{"orders", "authorizations"} {
			if n := count(t, db, `SELECT COUNT(*) FROM `+table); n != 10 {
				t.Errorf("%d %s are left, want 10", n, table)
			}
		}
		if n := count(t, db, `SELECT COUNT(*) FROM audit_events WHERE action = ?`, actionOrderCreate); n != 10 {
			t.Errorf("%d events, want 10", n)
		}
		// Refused ones took nothing: six minutes later there is one token.
		passed, _, other = exceeded(race(8, func(int) error { return create(noon.Add(6 * time.Minute)) }))
		if passed != 1 || other != nil {
			t.Errorf("later, %d passed, %v; want 1", passed, other)
		}
		if n := count(t, db, `SELECT COUNT(*) FROM buckets`); n != 1 {
			t.Errorf("%d buckets, want 1", n)
		}
	})
}

// TestSpendAllOrNothing: a request that one bucket refuses takes no token of
// another, nor anything else it had.
func TestSpendAllOrNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		r := tenOrders()
		r.Rates[limit.NewOrdersPerDomain] = limit.Rate{Burst: 1, Per: time.Hour}
		account := newAccount(t, db)
		orders := oneSpend(t, r, account.ID, limit.NewOrdersPerAccount, "")
		domain := oneSpend(t, r, account.ID, limit.NewOrdersPerDomain, "example.org")
		create := func() error {
			return db.CreateAuthorization(t.Context(), operator, noon, newAuthorization(account.ID, name(t, "a.example.org"), noon), orders, domain)
		}
		must(t, create())
		passed, refused, other := exceeded(race(16, func(int) error { return create() }))
		if passed != 0 || refused != 16 || other != nil {
			t.Errorf("%d passed, %d refused, %v", passed, refused, other)
		}
		got := got[*acme.Standing](t)(db.Standing(t.Context(), account.ID, []limit.Key{orders.Key, domain.Key}, nil))
		if left := orders.Rate.Left(got.TATs[orders.Key], noon); left != 9 {
			t.Errorf("%d tokens for orders are left, want 9", left)
		}
	})
}

// TestNewAccountsSpend: accounts too, and the second newAccount of one key is
// no new account.
func TestNewAccountsSpend(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		s := oneSpend(t, tenOrders(), "", limit.NewAccountsPerIP, limit.Network("192.0.2.7"))
		keys := make([]acme.Key, 32)
		for i := range keys {
			keys[i] = newKey(t)
		}
		create := func(i int) error {
			return db.CreateAccount(t.Context(), operator, noon, &acme.Account{ID: newID(noon), Key: keys[i], CreatedAt: noon}, s)
		}
		passed, refused, other := exceeded(race(len(keys), create))
		if passed != 10 || refused != 22 || other != nil {
			t.Errorf("%d passed, %d refused, %v", passed, refused, other)
		}
		var taken *acme.KeyInUse
		found := 0
		for i := range keys {
			if errors.As(create(i), &taken) {
				found++
			}
		}
		if found != 10 {
			t.Errorf("%d of the accounts are found although the limit is reached, want 10", found)
		}
	})
}

// TestReplicasShareLimits: two processes with one PostgreSQL.
func TestReplicasShareLimits(t *testing.T) {
	dsn := newDatabase(t, "migrated")
	replicas := []*DB{opened(t, dsn), opened(t, dsn)}
	account := newAccount(t, replicas[0])
	s := oneSpend(t, tenOrders(), account.ID, limit.NewOrdersPerAccount, "")
	passed, refused, other := exceeded(race(64, func(i int) error {
		return replicas[i%2].CreateAuthorization(t.Context(), operator, noon, newAuthorization(account.ID, name(t, "a.example"), noon), s)
	}))
	if passed != 10 || refused != 54 || other != nil {
		t.Errorf("%d passed, %d refused, %v", passed, refused, other)
	}
}

func TestTally(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		r, account, a := limit.Default(), newAccount(t, db), name(t, "*.a.example")
		perName := oneSpend(t, r, account.ID, limit.FailuresPerName, a.Value())
		tally := &acme.Tally{Account: account.ID, Name: a, Spends: []limit.Spend{perName}, Pause: limit.Pause{After: 3, Over: time.Hour}}
		attempt := func(now time.Time, problem *acme.Problem) {
			t.Helper()
			auth := newAuthorization(account.ID, a, now)
			must(t, db.CreateAuthorization(t.Context(), operator, now, auth))
			must(t, db.BeginValidation(t.Context(), operator, now, auth.ID, auth.Types[0], now.Add(time.Minute)))
			must(t, db.CompleteValidation(t.Context(), operator, now, auth.ID, acme.Verdict{Problem: problem, Evidence: []byte(`{}`), ExpiresAt: now.Add(time.Hour), Tally: tally}))
		}
		wrong := acme.Problemf(acme.DNS, "no")
		standing := func() (limit.Rate, time.Time, acme.Failing) {
			t.Helper()
			s := got[*acme.Standing](t)(db.Standing(t.Context(), account.ID, []limit.Key{perName.Key}, []ca.Identifier{a, name(t, "a.example")}))
			return perName.Rate, s.TATs[perName.Key], s.Failing[a]
		}

		attempt(noon, wrong)
		attempt(noon.Add(30*time.Minute), wrong)
		if _, _, f := standing(); f.Run != 2 || !f.Since.Equal(noon) || !f.Last.Equal(noon.Add(30*time.Minute)) || !f.PausedAt.IsZero() {
			t.Errorf("after two: %+v", f)
		}
		attempt(noon.Add(31*time.Minute), wrong) // three, but not over an hour
		if _, _, f := standing(); f.Run != 3 || !f.PausedAt.IsZero() {
			t.Errorf("after three: %+v", f)
		}
		attempt(noon.Add(40*time.Minute), nil)
		if _, _, f := standing(); f.Run != 0 {
			t.Errorf("a success leaves %+v", f)
		}
		for i := range 5 {
			attempt(noon.Add(time.Duration(41+20*i)*time.Minute), wrong)
		}
		rate, tat, f := standing()
		if want := noon.Add(101 * time.Minute); f.Run != 5 || !f.PausedAt.Equal(want) {
			t.Errorf("paused at %v after %d, want %v", f.PausedAt, f.Run, want)
		}
		if left := rate.Left(tat, noon.Add(121*time.Minute)); left >= rate.Burst {
			t.Error("failures took no tokens")
		}
		events := got[[]ca.Event](t)(db.Events(t.Context(), ca.EventSearch{Action: actionAccountPause, Object: account.ID, Limit: 10}))
		if len(events) != 1 || events[0].Detail != `{"failures":4,"name":"dns:*.a.example"}` {
			t.Errorf("events: %+v", events)
		}
		if list := got[[]acme.Failing](t)(db.Failing(t.Context(), account.ID)); len(list) != 1 || list[0] != f {
			t.Errorf("list: %+v", list)
		}

		must(t, db.Unpause(t.Context(), operator, noon.Add(3*time.Hour), account.ID, map[ca.Identifier]limit.Key{a: perName.Key}))
		if _, tat, f := standing(); f.Run != 0 || !tat.IsZero() {
			t.Errorf("after unpausing: %+v %v", f, tat)
		}
		if err := db.Unpause(t.Context(), operator, noon, account.ID, map[ca.Identifier]limit.Key{a: perName.Key}); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("unpausing nothing: %v", err)
		}
		if n := count(t, db, `SELECT COUNT(*) FROM audit_events WHERE action = ? AND object = ?`, actionAccountUnpause, account.ID); n != 1 {
			t.Errorf("%d events of unpausing, want 1", n)
		}
	})
}

// TestRunsAreCountedInParallel: no failure is lost, and the pause comes once.
func TestRunsAreCountedInParallel(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		a := name(t, "a.example")
		tally := &acme.Tally{
			Account: account.ID, Name: a, Pause: limit.Pause{After: 20},
			Spends: []limit.Spend{oneSpend(t, limit.Default(), account.ID, limit.FailuresPerName, "a.example"), oneSpend(t, limit.Default(), account.ID, limit.FailuresPerAccount, "")},
		}
		for _, err := range race(48, func(int) error { return db.ChargeFailure(t.Context(), operator, noon, newID(noon), tally) }) {
			must(t, err)
		}
		list := got[[]acme.Failing](t)(db.Failing(t.Context(), account.ID))
		if len(list) != 1 || list[0].Run != 48 || list[0].PausedAt.IsZero() {
			t.Errorf("%+v", list)
		}
		if n := count(t, db, `SELECT COUNT(*) FROM audit_events WHERE action = ?`, actionAccountPause); n != 1 {
			t.Errorf("%d events of pausing, want 1", n)
		}
	})
}

func TestStandingOfMany(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		var keys []limit.Key
		var names []ca.Identifier
		for i := range 300 {
			n := name(t, fmt.Sprintf("h%d.example", i))
			s := oneSpend(t, limit.Default(), account.ID, limit.FailuresPerName, n.Value())
			keys, names = append(keys, s.Key), append(names, n)
			if i%3 == 0 {
				must(t, db.ChargeFailure(t.Context(), operator, noon, newID(noon), &acme.Tally{Account: account.ID, Name: n, Spends: []limit.Spend{s}}))
			}
		}
		s := got[*acme.Standing](t)(db.Standing(t.Context(), account.ID, keys, names))
		if len(s.TATs) != 100 || len(s.Failing) != 100 {
			t.Errorf("found %d buckets and %d runs, want 100 of each", len(s.TATs), len(s.Failing))
		}
		other := newAccount(t, db)
		if s := got[*acme.Standing](t)(db.Standing(t.Context(), other.ID, nil, names)); len(s.Failing) != 0 {
			t.Error("another account's failures are shown")
		}
	})
}

// TestPruneLimits: what is full is removed, what is not stays, over more than
// one page.
func TestPruneLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		r, account := limit.Default(), newAccount(t, db)
		must(t, db.change(context.Background(), event{action: "test", by: operator, at: noon}, func(tx *tx) error {
			for i := range 2*prunePage + 10 {
				at := noon // full half an hour ago, or in ten minutes
				if i%2 == 0 {
					at = noon.Add(40 * time.Minute)
				}
				s := oneSpend(t, r, account.ID, limit.FailuresPerName, fmt.Sprint(i))
				if err := tx.charge(at, []limit.Spend{s}); err != nil {
					return err
				}
			}
			return nil
		}))
		old, paused, fresh := name(t, "old.example"), name(t, "paused.example"), name(t, "fresh.example")
		for n, at := range map[ca.Identifier]time.Time{old: noon.Add(-31 * 24 * time.Hour), paused: noon.Add(-31 * 24 * time.Hour), fresh: noon} {
			must(t, db.ChargeFailure(t.Context(), operator, at, newID(noon), &acme.Tally{Account: account.ID, Name: n, Pause: limit.Pause{After: map[ca.Identifier]int{paused: 1}[n]}}))
		}
		must(t, db.PruneLimits(t.Context(), noon.Add(41*time.Minute)))
		if n := count(t, db, `SELECT COUNT(*) FROM buckets`); n != prunePage+5 {
			t.Errorf("%d buckets are left, want %d", n, prunePage+5)
		}
		if n := count(t, db, `SELECT COUNT(*) FROM failing`); n != 2 {
			t.Errorf("%d runs are left, want 2", n)
		}
		must(t, db.PruneLimits(t.Context(), noon.Add(400*24*time.Hour)))
		if n := count(t, db, `SELECT (SELECT COUNT(*) FROM failing) + (SELECT COUNT(*) FROM buckets)`); n != 0 {
			t.Errorf("%d rows are left after a year", n)
		}
	})
}

// BenchmarkCreateOrderLimited shows what a limit adds to an order.
func BenchmarkCreateOrderLimited(b *testing.B) {
	r := limit.Default()
	r.Rates[limit.NewOrdersPerAccount] = limit.Rate{Burst: limit.MaxBurst, Per: time.Hour}
	r.Rates[limit.DuplicateCertificates] = limit.Rate{Burst: limit.MaxBurst, Per: time.Hour}
	for _, c := range []struct {
		name  string
		kinds []limit.Kind
	}{{"none", nil}, {"one", []limit.Kind{limit.NewOrdersPerAccount}}, {"two", []limit.Kind{limit.NewOrdersPerAccount, limit.DuplicateCertificates}}} {
		b.Run(c.name, func(b *testing.B) {
			db := openTestFile(b)
			account := newAccount(b, db)
			n := name(b, "a.example")
			var spends []limit.Spend
			for _, k := range c.kinds {
				spends = append(spends, oneSpend(b, r, account.ID, k, ""))
			}
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					o := &acme.Order{ID: newID(noon), Account: account.ID, Profile: "server", Identifiers: []ca.Identifier{n}, CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)}
					o.Authorizations = []*acme.Authorization{newAuthorization(account.ID, n, noon)}
					if err := db.CreateOrder(context.Background(), operator, noon, o, o.Authorizations, spends...); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
