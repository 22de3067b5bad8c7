package storage

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func TestAuthorizationLife(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		a := newAuthorization(account.ID, name(t, "a.example"), noon)
		must(t, db.CreateAuthorization(ctx, operator, noon, a))
		check := func(says string) {
			t.Helper()
			if stored := got[*acme.Authorization](t)(db.Authorization(ctx, a.ID)); !reflect.DeepEqual(stored, a) {
				t.Errorf("%s: read %+v, not %+v", says, stored, a)
			}
		}
		check("created")
		if err := db.CreateAuthorization(ctx, operator, noon, a); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("the same ID again: %v", err)
		}
		if err := db.CompleteValidation(ctx, operator, noon, a.ID, acme.Verdict{ExpiresAt: noon.Add(time.Hour)}); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("verdict without an attempt: %v", err)
		}
		if err := db.BeginValidation(ctx, operator, noon, a.ID, acme.TLSALPN01, noon); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("attempt of a challenge that was not offered: %v", err)
		}
		if err := db.BeginValidation(ctx, operator, a.ExpiresAt, a.ID, acme.HTTP01, a.ExpiresAt.Add(time.Minute)); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("attempt after the end: %v", err)
		}
		must(t, db.BeginValidation(ctx, operator, noon.Add(time.Second), a.ID, acme.DNS01, noon.Add(time.Minute)))
		a.Attempt, a.AttemptedAt, a.LeaseUntil = acme.DNS01, noon.Add(time.Second), noon.Add(time.Minute)
		check("attempted")
		if err := db.BeginValidation(ctx, operator, noon.Add(time.Hour/2), a.ID, acme.DNS01, noon.Add(time.Hour)); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("second attempt: %v", err)
		}
		v := acme.Verdict{Evidence: []byte(`{"method":"dns-01"}`), ExpiresAt: noon.Add(30 * 24 * time.Hour)}
		must(t, db.CompleteValidation(ctx, operator, noon.Add(2*time.Second), a.ID, v))
		a.ValidatedAt, a.ExpiresAt, a.Evidence, a.LeaseUntil = noon.Add(2*time.Second), v.ExpiresAt, v.Evidence, time.Time{}
		check("valid")
		if err := db.CompleteValidation(ctx, operator, noon, a.ID, v); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("second verdict: %v", err)
		}
		must(t, db.DeactivateAuthorization(ctx, operator, noon.Add(3*time.Second), a.ID))
		a.DeactivatedAt = noon.Add(3 * time.Second)
		check("deactivated")
		if err := db.DeactivateAuthorization(ctx, operator, noon, a.ID); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("second deactivation: %v", err)
		}
	})
}

func TestFailedValidationKeepsItsReason(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		n := name(t, "a.example")
		a := newAuthorization(newAccount(t, db).ID, n, noon)
		must(t, db.CreateAuthorization(ctx, operator, noon, a))
		must(t, db.BeginValidation(ctx, operator, noon, a.ID, acme.HTTP01, noon.Add(time.Minute)))
		why := acme.Problemf(acme.Connection, "nobody answers at 192.0.2.1:80: “timeout”")
		why.Subproblems = []*acme.Problem{{Kind: acme.DNS, Detail: "no AAAA record", Identifier: &n}}
		must(t, db.CompleteValidation(ctx, operator, noon, a.ID, acme.Verdict{Problem: why, Evidence: []byte(`{}`), ExpiresAt: noon.Add(99 * time.Hour)}))
		stored := got[*acme.Authorization](t)(db.Authorization(ctx, a.ID))
		if stored.StatusAt(noon) != acme.StatusInvalid || !stored.ExpiresAt.Equal(a.ExpiresAt) || string(stored.Evidence) != "{}" {
			t.Errorf("stored %+v", stored)
		}
		if stored.Error == nil || stored.Error.Kind != why.Kind || stored.Error.Detail != why.Detail || len(stored.Error.Subproblems) != 1 || *stored.Error.Subproblems[0].Identifier != n {
			t.Errorf("the reason was stored as %+v", stored.Error)
		}
		if err := db.DeactivateAuthorization(ctx, operator, noon, a.ID); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("deactivating a failed one: %v", err)
		}
	})
}

func TestVerdictAfterDeactivationIsRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		a := newAuthorization(newAccount(t, db).ID, name(t, "a.example"), noon)
		must(t, db.CreateAuthorization(ctx, operator, noon, a))
		must(t, db.BeginValidation(ctx, operator, noon, a.ID, acme.HTTP01, noon.Add(time.Minute)))
		must(t, db.DeactivateAuthorization(ctx, operator, noon, a.ID))
		if err := db.CompleteValidation(ctx, operator, noon, a.ID, acme.Verdict{ExpiresAt: noon.Add(time.Hour)}); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("verdict: %v", err)
		}
		if taken := got[[]*acme.Authorization](t)(db.TakeOverValidations(ctx, noon.Add(time.Hour), noon.Add(2*time.Hour), 10)); len(taken) != 0 {
			t.Errorf("taken over although deactivated: %v", taken)
		}
	})
}

func TestAuthorizationRaces(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		a := newAuthorization(newAccount(t, db).ID, name(t, "a.example"), noon)
		must(t, db.CreateAuthorization(ctx, operator, noon, a))
		oneWinner(t, race(64, func(i int) error {
			return db.BeginValidation(ctx, operator, noon, a.ID, a.Types[i%2], noon.Add(time.Minute))
		}), ca.ErrConflict)
		oneWinner(t, race(64, func(i int) error {
			v := acme.Verdict{ExpiresAt: noon.Add(time.Hour), Evidence: []byte("{}")}
			if i%2 == 0 {
				v.Problem = acme.Problemf(acme.Connection, "refused")
			}
			return db.CompleteValidation(ctx, operator, noon, a.ID, v)
		}), ca.ErrConflict)
	})
}

func TestUnknownAuthorization(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx, id := t.Context(), newID(noon)
		_, err := db.Authorization(ctx, id)
		for what, err := range map[string]error{
			"read": err, "begin": db.BeginValidation(ctx, operator, noon, id, acme.HTTP01, noon),
			"complete": db.CompleteValidation(ctx, operator, noon, id, acme.Verdict{}), "deactivate": db.DeactivateAuthorization(ctx, operator, noon, id),
			"create for nobody": db.CreateAuthorization(ctx, operator, noon, newAuthorization(newID(noon), name(t, "a.example"), noon)),
		} {
			if !errors.Is(err, ca.ErrNotFound) {
				t.Errorf("%s: %v, not ErrNotFound", what, err)
			}
		}
	})
}

func TestValidAuthorizationsAreFoundByName(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, other := newAccount(t, db), newAccount(t, db)
		plain, wild, pending, foreign := name(t, "a.example"), name(t, "*.a.example"), name(t, "pending.example"), name(t, "foreign.example")
		valid := func(owner string, n ca.Identifier, until time.Time) *acme.Authorization {
			a := newAuthorization(owner, n, noon)
			must(t, db.CreateAuthorization(ctx, operator, noon, a))
			must(t, db.BeginValidation(ctx, operator, noon, a.ID, acme.DNS01, noon.Add(time.Minute)))
			must(t, db.CompleteValidation(ctx, operator, noon, a.ID, acme.Verdict{ExpiresAt: until}))
			return a
		}
		valid(account.ID, plain, noon.Add(2*time.Hour))
		longest := valid(account.ID, plain, noon.Add(5*time.Hour))
		gone := valid(account.ID, plain, noon.Add(9*time.Hour))
		must(t, db.DeactivateAuthorization(ctx, operator, noon, gone.ID))
		valid(other.ID, foreign, noon.Add(9*time.Hour))
		must(t, db.CreateAuthorization(ctx, operator, noon, newAuthorization(account.ID, pending, noon)))

		find := func(until time.Time, names ...ca.Identifier) (ids []string) {
			for _, a := range got[[]*acme.Authorization](t)(db.ValidAuthorizations(ctx, account.ID, names, until)) {
				ids = append(ids, a.ID)
			}
			return ids
		}
		if ids := find(noon, plain, wild, pending, foreign); !reflect.DeepEqual(ids, []string{longest.ID}) {
			t.Errorf("found %q, not only the longest %q", ids, longest.ID)
		}
		if ids := find(noon.Add(5*time.Hour-time.Millisecond), plain); len(ids) != 1 {
			t.Errorf("just before its end: %q", ids)
		}
		if ids := find(noon.Add(5*time.Hour), plain); len(ids) != 0 {
			t.Errorf("at its end: %q", ids)
		}
		forWild := valid(account.ID, wild, noon.Add(time.Hour))
		if ids := find(noon, wild); !reflect.DeepEqual(ids, []string{forWild.ID}) {
			t.Errorf("for the wildcard: %q", ids)
		}
		authorized := func(at time.Time, names ...ca.Identifier) bool {
			return got[bool](t)(db.Authorized(ctx, account.ID, names, at))
		}
		if !authorized(noon, plain, wild) || !authorized(noon, plain) {
			t.Error("not authorized for its own names")
		}
		if authorized(noon, plain, foreign) || authorized(noon, pending) || authorized(noon) || authorized(noon.Add(time.Hour), plain, wild) {
			t.Error("authorized for others' names, for an unproven one, for nothing, or too long")
		}
	})
}

func TestAbandonedValidationsAreTakenOverOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		for range 20 {
			a := newAuthorization(account.ID, name(t, "a.example"), noon)
			must(t, db.CreateAuthorization(ctx, operator, noon, a))
			must(t, db.BeginValidation(ctx, operator, noon, a.ID, acme.HTTP01, noon.Add(time.Minute)))
		}
		if early := got[[]*acme.Authorization](t)(db.TakeOverValidations(ctx, noon.Add(time.Minute-time.Millisecond), noon.Add(time.Hour), 100)); len(early) != 0 {
			t.Errorf("%d taken over before their leases ran out", len(early))
		}
		b := got[acme.Backlog](t)(db.Backlog(ctx))
		if b.Validations != 20 || b.Orders != 0 || !b.Oldest.Equal(noon) {
			t.Errorf("backlog %+v", b)
		}
		taken := make([][]*acme.Authorization, 8)
		for _, err := range race(len(taken), func(i int) (err error) {
			taken[i], err = db.TakeOverValidations(ctx, noon.Add(time.Minute), noon.Add(time.Hour), 5)
			return err
		}) {
			must(t, err)
		}
		seen := map[string]bool{}
		for _, list := range taken {
			if len(list) > 5 {
				t.Errorf("%d taken, at most 5 were asked for", len(list))
			}
			for _, a := range list {
				if seen[a.ID] || !a.LeaseUntil.Equal(noon.Add(time.Hour)) {
					t.Errorf("%s was taken over twice, or has no new lease: %v", a.ID, a.LeaseUntil)
				}
				seen[a.ID] = true
			}
		}
		for len(seen) < 20 { // PostgreSQL passes by what another one is taking just now
			more := got[[]*acme.Authorization](t)(db.TakeOverValidations(ctx, noon.Add(time.Minute), noon.Add(time.Hour), 5))
			if len(more) == 0 {
				t.Fatalf("only %d of 20 were taken over", len(seen))
			}
			for _, a := range more {
				seen[a.ID] = true
			}
		}
	})
}
