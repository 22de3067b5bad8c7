package storage

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func TestAccountIsReadAsStored(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		a := newAccount(t, db)
		if stored := got[*acme.Account](t)(db.Account(ctx, a.ID)); !reflect.DeepEqual(stored, a) {
			t.Errorf("stored %+v, read %+v", a, stored)
		}
		if byKey := got[*acme.Account](t)(db.AccountByKey(ctx, a.Key.SPKI())); byKey.ID != a.ID {
			t.Errorf("by its key: account %s, not %s", byKey.ID, a.ID)
		}
		for _, id := range []string{newID(noon), "", "no ID", a.ID[:21], a.ID + "A", a.ID[:21] + "="} {
			if _, err := db.Account(ctx, id); !errors.Is(err, ca.ErrNotFound) {
				t.Errorf("Account(%q): %v, not ErrNotFound", id, err)
			}
		}
		if _, err := db.AccountByKey(ctx, [32]byte{1}); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("unknown key: %v", err)
		}
	})
}

func TestAccountsWithOneKeyHaveOneWinner(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		key := newKey(t)
		ids := make([]string, 64)
		errs := race(len(ids), func(i int) error {
			ids[i] = newID(noon)
			return db.CreateAccount(t.Context(), operator, noon, &acme.Account{ID: ids[i], Key: key, CreatedAt: noon})
		})
		winner := ""
		for i, err := range errs {
			if err == nil {
				winner += ids[i]
			}
		}
		for i, err := range errs {
			var inUse *acme.KeyInUse
			if err != nil && (!errors.As(err, &inUse) || inUse.Account != winner) {
				t.Errorf("caller %d: %v, not KeyInUse by %s", i, err, winner)
			}
		}
		if len(winner) != idLength {
			t.Errorf("not exactly one winner: %s", kinds(errs))
		}
	})
}

func newExternalKey(t testing.TB, db *DB, reusable bool) *acme.ExternalKey {
	t.Helper()
	k := &acme.ExternalKey{ID: newID(noon), Sealed: []byte{0, 1, 2}, Label: "for a test", Reusable: reusable, CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)}
	must(t, db.CreateExternalKey(t.Context(), operator, noon, k))
	return k
}

func TestExternalKeyBindsAsOftenAsItMay(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		bind := func(key string, now time.Time) error {
			return db.CreateAccount(ctx, operator, now, &acme.Account{ID: newID(now), Key: newKey(t), ExternalKeyID: key, CreatedAt: now})
		}
		once, often, revoked := newExternalKey(t, db, false), newExternalKey(t, db, true), newExternalKey(t, db, true)
		must(t, db.RevokeExternalKey(ctx, operator, noon, revoked.ID))
		must(t, db.RevokeExternalKey(ctx, operator, noon.Add(time.Minute), revoked.ID)) // the first date stays
		for _, c := range []struct {
			says string
			key  string
			now  time.Time
			want error
		}{
			{"first use", once.ID, noon, nil},
			{"second use of a single-use key", once.ID, noon, acme.ErrExternalKeyUsed},
			{"reusable", often.ID, noon, nil},
			{"reusable again", often.ID, noon.Add(time.Minute), nil},
			{"expired", often.ID, noon.Add(time.Hour), acme.ErrExternalKeyUsed},
			{"revoked", revoked.ID, noon, acme.ErrExternalKeyUsed},
			{"unknown", "nobody's", noon, acme.ErrExternalKeyUsed},
		} {
			if err := bind(c.key, c.now); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, not %v", c.says, err, c.want)
			}
		}
		want := *often
		want.Uses, want.UsedAt = 2, noon.Add(time.Minute)
		if k := got[*acme.ExternalKey](t)(db.ExternalKey(ctx, often.ID)); !reflect.DeepEqual(k, &want) {
			t.Errorf("read %+v, not %+v", k, want)
		}
		if k := got[*acme.ExternalKey](t)(db.ExternalKey(ctx, revoked.ID)); !k.RevokedAt.Equal(noon) {
			t.Errorf("revoked at %v", k.RevokedAt)
		}
	})
}

func TestSingleUseExternalKeyHasOneWinner(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		k := newExternalKey(t, db, false)
		keys := make([]acme.Key, 64)
		for i := range keys {
			keys[i] = newKey(t)
		}
		errs := race(len(keys), func(i int) error {
			return db.CreateAccount(t.Context(), operator, noon, &acme.Account{ID: newID(noon), Key: keys[i], ExternalKeyID: k.ID, CreatedAt: noon})
		})
		oneWinner(t, errs, acme.ErrExternalKeyUsed)
	})
}

// oneWinner checks that one caller won and that all others got want.
func oneWinner(t *testing.T, errs []error, want error) {
	t.Helper()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, want):
			t.Errorf("a loser got %v, not %v", err, want)
		}
	}
	if won != 1 {
		t.Errorf("%d winners: %s", won, kinds(errs))
	}
}

func TestExternalKeysAreListedNewestFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		first := newExternalKey(t, db, true)
		second := &acme.ExternalKey{ID: newID(noon), Sealed: []byte{1}, CreatedAt: noon.Add(time.Millisecond)}
		must(t, db.CreateExternalKey(ctx, operator, noon, second))
		keys := got[[]*acme.ExternalKey](t)(db.ExternalKeys(ctx))
		if len(keys) != 2 || keys[0].ID != second.ID || keys[1].ID != first.ID {
			t.Errorf("listed %v", keys)
		}
		if err := db.CreateExternalKey(ctx, operator, noon, first); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("the same key again: %v", err)
		}
		for _, id := range []string{"none", "with\x00zero", "not \xff UTF-8"} {
			if _, err := db.ExternalKey(ctx, id); !errors.Is(err, ca.ErrNotFound) {
				t.Errorf("ExternalKey(%q): %v", id, err)
			}
			if err := db.RevokeExternalKey(ctx, operator, noon, id); !errors.Is(err, ca.ErrNotFound) {
				t.Errorf("RevokeExternalKey(%q): %v", id, err)
			}
		}
	})
}

func TestAccountUpdate(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		a := newAccount(t, db)
		later := noon.Add(time.Minute)
		contact := []string{"mailto:b@example.org", "mailto:c@example.org"}
		a.Contact, a.TermsAgreedAt = contact, later
		updated := got[*acme.Account](t)(db.UpdateAccount(ctx, operator, later, a.ID, acme.AccountUpdate{Contact: &contact, TermsAgreedAt: &later}))
		if !reflect.DeepEqual(updated, a) {
			t.Errorf("answered %+v, not %+v", updated, a)
		}
		if stored := got[*acme.Account](t)(db.Account(ctx, a.ID)); !reflect.DeepEqual(stored, a) {
			t.Errorf("stored %+v, not %+v", stored, a)
		}
		unchanged := got[*acme.Account](t)(db.UpdateAccount(ctx, operator, later, a.ID, acme.AccountUpdate{}))
		if !reflect.DeepEqual(unchanged, a) {
			t.Errorf("no update answered %+v", unchanged)
		}
		if ended := got[*acme.Account](t)(db.UpdateAccount(ctx, operator, later, a.ID, acme.AccountUpdate{DeactivatedAt: &later})); ended.Status() != acme.StatusDeactivated {
			t.Errorf("after its deactivation it is %s", ended.Status())
		}
		if _, err := db.UpdateAccount(ctx, operator, later, a.ID, acme.AccountUpdate{RevokedAt: &later}); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("update of an ended account: %v", err)
		}
		if _, err := db.UpdateAccount(ctx, operator, later, newID(noon), acme.AccountUpdate{RevokedAt: &later}); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("update of no account: %v", err)
		}
		var actions []string
		for _, e := range got[[]ca.Event](t)(db.Events(ctx, ca.EventSearch{Object: a.ID, Limit: 10})) {
			actions = append(actions, e.Action)
		}
		if want := []string{actionAccountDeactivate, actionAccountUpdate, actionAccountCreate}; !reflect.DeepEqual(actions, want) {
			t.Errorf("audit: %q, not %q", actions, want)
		}
	})
}

func TestChangeKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		a, other, to := newAccount(t, db), newAccount(t, db), newKey(t)
		var inUse *acme.KeyInUse
		if err := db.ChangeKey(ctx, operator, noon, a.ID, a.Key.SPKI(), other.Key); !errors.As(err, &inUse) || inUse.Account != other.ID {
			t.Errorf("to another account's key: %v", err)
		}
		if err := db.ChangeKey(ctx, operator, noon, a.ID, other.Key.SPKI(), to); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("from a key that it has not: %v", err)
		}
		if err := db.ChangeKey(ctx, operator, noon, newID(noon), a.Key.SPKI(), to); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("of no account: %v", err)
		}
		must(t, db.ChangeKey(ctx, operator, noon, a.ID, a.Key.SPKI(), to))
		if stored := got[*acme.Account](t)(db.AccountByKey(ctx, to.SPKI())); stored.ID != a.ID || stored.Key.JWK() != to.JWK() {
			t.Errorf("by its new key: %+v", stored)
		}
		if _, err := db.AccountByKey(ctx, a.Key.SPKI()); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("by its old key: %v", err)
		}
		// The old key is free again.
		must(t, db.CreateAccount(ctx, operator, noon, &acme.Account{ID: newID(noon), Key: a.Key, CreatedAt: noon}))
		got[*acme.Account](t)(db.UpdateAccount(ctx, operator, noon, a.ID, acme.AccountUpdate{RevokedAt: &noon}))
		if err := db.ChangeKey(ctx, operator, noon, a.ID, to.SPKI(), newKey(t)); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("of a revoked account: %v", err)
		}
	})
}

func TestChangesToOneKeyHaveOneWinner(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		to := newKey(t)
		accounts := make([]*acme.Account, 32)
		for i := range accounts {
			accounts[i] = newAccount(t, db)
		}
		errs := race(len(accounts), func(i int) error {
			return db.ChangeKey(t.Context(), operator, noon, accounts[i].ID, accounts[i].Key.SPKI(), to)
		})
		won := 0
		for _, err := range errs {
			var inUse *acme.KeyInUse
			if err == nil {
				won++
			} else if !errors.As(err, &inUse) {
				t.Errorf("a loser got %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d winners: %s", won, kinds(errs))
		}
	})
}

func TestAccountsAreListed(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		k := newExternalKey(t, db, true)
		var all []*acme.Account
		for range 4 {
			all = append(all, newAccount(t, db))
		}
		bound := &acme.Account{ID: newID(noon), Key: newKey(t), ExternalKeyID: k.ID, CreatedAt: noon}
		must(t, db.CreateAccount(ctx, operator, noon, bound))
		got[*acme.Account](t)(db.UpdateAccount(ctx, operator, noon, all[1].ID, acme.AccountUpdate{RevokedAt: &noon}))
		got[*acme.Account](t)(db.UpdateAccount(ctx, operator, noon, all[2].ID, acme.AccountUpdate{DeactivatedAt: &noon}))
		for _, c := range []struct {
			search acme.AccountSearch
			want   []string
		}{
			{acme.AccountSearch{Limit: 10}, []string{bound.ID, all[3].ID, all[2].ID, all[1].ID, all[0].ID}},
			{acme.AccountSearch{Limit: 2}, []string{bound.ID, all[3].ID}},
			{acme.AccountSearch{Limit: 2, After: all[3].ID}, []string{all[2].ID, all[1].ID}},
			{acme.AccountSearch{Limit: 10, Status: acme.StatusValid}, []string{bound.ID, all[3].ID, all[0].ID}},
			{acme.AccountSearch{Limit: 10, Status: acme.StatusRevoked}, []string{all[1].ID}},
			{acme.AccountSearch{Limit: 10, Status: acme.StatusDeactivated}, []string{all[2].ID}},
			{acme.AccountSearch{Limit: 10, ExternalKeyID: k.ID}, []string{bound.ID}},
			{acme.AccountSearch{Limit: 10, ExternalKeyID: "none"}, nil},
		} {
			var ids []string
			for _, a := range got[[]*acme.Account](t)(db.Accounts(ctx, c.search)) {
				ids = append(ids, a.ID)
			}
			if !reflect.DeepEqual(ids, c.want) {
				t.Errorf("%+v: %q, not %q", c.search, ids, c.want)
			}
		}
		if _, err := db.Accounts(ctx, acme.AccountSearch{After: newID(noon)}); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("behind an account that is not there: %v", err)
		}
		if _, err := db.Accounts(ctx, acme.AccountSearch{Status: "asleep"}); err == nil {
			t.Error("a status that there is not was searched for")
		}
	})
}
