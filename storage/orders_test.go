package storage

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func TestOrderIsReadAsStored(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		o := newOrder(t, db, account.ID, name(t, "c.example"), name(t, "*.a.example"), name(t, "b.example"))
		if stored := got[*acme.Order](t)(db.Order(ctx, o.ID)); !reflect.DeepEqual(stored, o) {
			t.Errorf("stored %+v, read %+v", o, stored)
		}
		many := make([]ca.Identifier, 100)
		for i := range many {
			many[i] = name(t, fmt.Sprintf("n%d.example", i))
		}
		o = &acme.Order{
			ID: newID(noon), Account: account.ID, Profile: "short", Identifiers: many, NotBefore: noon.Add(time.Hour), NotAfter: noon.Add(48 * time.Hour),
			Replaces: "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
		}
		for _, n := range many {
			o.Authorizations = append(o.Authorizations, newAuthorization(account.ID, n, noon))
		}
		must(t, db.CreateOrder(ctx, operator, noon, o, o.Authorizations))
		if stored := got[*acme.Order](t)(db.Order(ctx, o.ID)); !reflect.DeepEqual(stored, o) {
			t.Errorf("an order with a hundred names was read as %+v", stored)
		}
		for _, id := range []string{newID(noon), "nonsense"} {
			if _, err := db.Order(ctx, id); !errors.Is(err, ca.ErrNotFound) {
				t.Errorf("Order(%q): %v", id, err)
			}
		}
	})
}

func TestOrderReusesAuthorizationsOfItsAccountOnly(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, other := newAccount(t, db), newAccount(t, db)
		n := name(t, "a.example")
		first := readyOrder(t, db, account.ID, n)
		order := func(owner string, a *acme.Authorization) error {
			o := &acme.Order{ID: newID(noon), Account: owner, Profile: "server", Identifiers: []ca.Identifier{n}, Authorizations: []*acme.Authorization{a}, CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)}
			return db.CreateOrder(ctx, operator, noon, o, nil)
		}
		must(t, order(account.ID, first.Authorizations[0]))
		if err := order(other.ID, first.Authorizations[0]); err == nil {
			t.Error("an order stands on another account's authorization")
		}
		if err := order(account.ID, newAuthorization(account.ID, n, noon)); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("an order stands on an authorization that is not there: %v", err)
		}
		if err := order(newID(noon), first.Authorizations[0]); err == nil {
			t.Error("an order of no account was stored")
		}
	})
}

func replacement(account string, n ca.Identifier, now time.Time, certID string) *acme.Order {
	return &acme.Order{
		ID: newID(now), Account: account, Profile: "server", Identifiers: []ca.Identifier{n}, Replaces: certID,
		Authorizations: []*acme.Authorization{newAuthorization(account, n, now)}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}

func TestOneOrderReplacesACertificate(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, n := newAccount(t, db), name(t, "a.example")
		create := func(now time.Time, certID string) error {
			o := replacement(account.ID, n, now, certID)
			return db.CreateOrder(ctx, operator, now, o, o.Authorizations)
		}
		must(t, create(noon, "one.cert"))
		if err := create(noon, "one.cert"); !errors.Is(err, acme.ErrAlreadyReplaced) {
			t.Errorf("a second replacement: %v", err)
		}
		must(t, create(noon, "another.cert"))
		must(t, create(noon.Add(time.Hour), "one.cert")) // the first has expired
		if err := create(noon.Add(time.Hour), "one.cert"); !errors.Is(err, acme.ErrAlreadyReplaced) {
			t.Errorf("a third replacement: %v", err)
		}
		oneWinner(t, race(64, func(int) error { return create(noon, "raced.cert") }), acme.ErrAlreadyReplaced)
	})
}

func TestOrderIDsArePaged(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, other := newAccount(t, db), newAccount(t, db)
		n := name(t, "a.example")
		var want []string
		for range 5 {
			want = append(want, newOrder(t, db, account.ID, n).ID)
		}
		newOrder(t, db, other.ID, n)
		begun := begunOrder(t, db, account.ID, n).ID
		now := noon.Add(time.Minute)
		var all []string
		for after := ""; ; {
			page := got[[]string](t)(db.OrderIDs(ctx, account.ID, after, now, 2))
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
			after = page[len(page)-1]
		}
		if !reflect.DeepEqual(all, append(want, begun)) {
			t.Errorf("listed %q, not %q", all, append(want, begun))
		}
		if left := got[[]string](t)(db.OrderIDs(ctx, account.ID, "", noon.Add(time.Hour), 10)); !reflect.DeepEqual(left, []string{begun}) {
			t.Errorf("after the others expired: %q, not %q", left, begun)
		}
		if _, err := db.OrderIDs(ctx, account.ID, "nonsense", noon, 10); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("a cursor that is none: %v", err)
		}
	})
}

func TestBeginFinalizeNeedsAReadyOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		a, b := name(t, "a.example"), name(t, "b.example")
		begin := func(id string, now time.Time) error {
			return db.BeginFinalize(ctx, operator, now, id, []byte("a CSR"), now.Add(time.Minute))
		}
		half := newOrder(t, db, account.ID, a, b)
		validate(t, db, half.Authorizations[0])
		deactivated := readyOrder(t, db, account.ID, a, b)
		must(t, db.DeactivateAuthorization(ctx, operator, noon, deactivated.Authorizations[1].ID))
		ready := readyOrder(t, db, account.ID, a, b)
		for _, c := range []struct {
			says string
			id   string
			now  time.Time
			want error
		}{
			{"one authorization pending", half.ID, noon, ca.ErrConflict},
			{"one authorization deactivated", deactivated.ID, noon, ca.ErrConflict},
			{"expired", ready.ID, ready.ExpiresAt, ca.ErrConflict},
			{"unknown", newID(noon), noon, ca.ErrNotFound},
			{"ready", ready.ID, noon, nil},
			{"begun", ready.ID, noon, ca.ErrConflict},
		} {
			if err := begin(c.id, c.now); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, not %v", c.says, err, c.want)
			}
		}
		o := got[*acme.Order](t)(db.Order(ctx, ready.ID))
		if o.StatusAt(noon) != acme.StatusProcessing || string(o.CSR) != "a CSR" || !o.LeaseUntil.Equal(noon.Add(time.Minute)) {
			t.Errorf("begun: %+v", o)
		}
		short := readyOrder(t, db, account.ID, a)
		must(t, db.change(ctx, happened(operator, noon, "test.shorten", short.ID), func(tx *tx) error {
			key, err := parseID("authorization", short.Authorizations[0].ID)
			must(t, err)
			return tx.one(`UPDATE authorizations SET expires_at = ? WHERE id = ?`, stamp(noon.Add(time.Second)), key)
		}))
		if err := begin(short.ID, noon.Add(time.Second)); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("an authorization that expired before the order: %v", err)
		}
	})
}

func TestBeginFinalizeHasOneWinner(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		o := readyOrder(t, db, newAccount(t, db).ID, name(t, "a.example"), name(t, "b.example"))
		csrs := make([][]byte, 64)
		errs := race(len(csrs), func(i int) error {
			csrs[i] = fmt.Appendf(nil, "CSR %d", i)
			return db.BeginFinalize(t.Context(), operator, noon, o.ID, csrs[i], noon.Add(time.Minute))
		})
		oneWinner(t, errs, ca.ErrConflict)
		stored := got[*acme.Order](t)(db.Order(t.Context(), o.ID))
		for i, err := range errs {
			if err == nil && string(stored.CSR) != string(csrs[i]) {
				t.Errorf("caller %d won, and the CSR is %q", i, stored.CSR)
			}
		}
	})
}

func TestFailOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, n := newAccount(t, db), name(t, "a.example")
		why := acme.Problemf(acme.BadCSR, "no")
		if err := db.FailOrder(ctx, operator, noon, readyOrder(t, db, account.ID, n).ID, why); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("an order that was not begun: %v", err)
		}
		if err := db.FailOrder(ctx, operator, noon, issued(t, db, account.ID, n).Order, why); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("an order with its certificate: %v", err)
		}
		if err := db.FailOrder(ctx, operator, noon, newID(noon), why); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("no order: %v", err)
		}
		o := begunOrder(t, db, account.ID, n)
		if err := db.FailOrder(ctx, operator, noon, o.ID, nil); err == nil {
			t.Error("failed for no reason")
		}
		must(t, db.FailOrder(ctx, operator, noon, o.ID, why))
		if err := db.FailOrder(ctx, operator, noon, o.ID, why); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("a second time: %v", err)
		}
		stored := got[*acme.Order](t)(db.Order(ctx, o.ID))
		if stored.StatusAt(noon) != acme.StatusInvalid || stored.Error.Kind != acme.BadCSR || stored.Error.Detail != "no" {
			t.Errorf("failed: %+v", stored)
		}
		if _, err := db.Reserve(ctx, operator, reservation4(t, o)); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("a serial for a failed order: %v", err)
		}
		if taken := got[[]*acme.Order](t)(db.TakeOverOrders(ctx, noon.Add(time.Hour), noon.Add(2*time.Hour), 10)); len(taken) != 0 {
			t.Errorf("taken over: %v", taken)
		}
	})
}

func TestAbandonedOrdersAreTakenOver(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		o := begunOrder(t, db, account.ID, name(t, "a.example"), name(t, "b.example"))
		issued(t, db, account.ID, name(t, "done.example"))
		if b := got[acme.Backlog](t)(db.Backlog(ctx)); b.Orders != 1 || b.Validations != 0 || !b.Oldest.Equal(noon) {
			t.Errorf("backlog %+v", b)
		}
		after, lease := noon.Add(time.Minute), noon.Add(time.Hour)
		if early := got[[]*acme.Order](t)(db.TakeOverOrders(ctx, after.Add(-time.Millisecond), lease, 10)); len(early) != 0 {
			t.Errorf("taken over early: %v", early)
		}
		taken := got[[]*acme.Order](t)(db.TakeOverOrders(ctx, after, lease, 10))
		if len(taken) != 1 || taken[0].ID != o.ID || len(taken[0].Authorizations) != 2 || string(taken[0].CSR) != "a CSR" || !taken[0].LeaseUntil.Equal(lease) {
			t.Fatalf("taken over: %+v", taken)
		}
		if again := got[[]*acme.Order](t)(db.TakeOverOrders(ctx, after, lease, 10)); len(again) != 0 {
			t.Errorf("taken over twice: %v", again)
		}
		events := got[[]ca.Event](t)(db.Events(ctx, ca.EventSearch{Object: o.ID, Action: actionOrderTakeOver, Limit: 10}))
		if len(events) != 1 || events[0].By != takers {
			t.Errorf("audit: %+v", events)
		}
	})
}

func TestOrdersAreListed(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, other := newAccount(t, db), newAccount(t, db)
		n := name(t, "a.example")
		first, second, third := newOrder(t, db, account.ID, n), newOrder(t, db, other.ID, n), newOrder(t, db, account.ID, n)
		for _, c := range []struct {
			search acme.OrderSearch
			want   []*acme.Order
		}{
			{acme.OrderSearch{Limit: 10}, []*acme.Order{third, second, first}},
			{acme.OrderSearch{Limit: 10, Account: account.ID}, []*acme.Order{third, first}},
			{acme.OrderSearch{Limit: 1, Account: account.ID, After: third.ID}, []*acme.Order{first}},
			{acme.OrderSearch{Limit: 1, Account: newID(noon)}, nil},
			{acme.OrderSearch{Limit: 1, Account: "nobody"}, nil},
		} {
			if orders := got[[]*acme.Order](t)(db.Orders(ctx, c.search)); !reflect.DeepEqual(orders, c.want) {
				t.Errorf("%+v: %v, not %v", c.search, orders, c.want)
			}
		}
		if _, err := db.Orders(ctx, acme.OrderSearch{After: newID(noon)}); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("behind an order that is not there: %v", err)
		}
	})
}
