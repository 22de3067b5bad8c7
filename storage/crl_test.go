package storage

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"chancery/ca"
	"chancery/crl"
)

var shard = crl.Shard{Issuer: "00112233aabbccdd"}

func TestShardBecomesDue(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		other := crl.Shard{Issuer: shard.Issuer, Number: 1}
		due := func(now time.Time, want ...crl.Shard) {
			t.Helper()
			if found := got[[]crl.Shard](t)(db.Due(ctx, now, []crl.Shard{shard, other})); !reflect.DeepEqual(found, want) {
				t.Errorf("due: %v, not %v", found, want)
			}
		}
		due(noon, shard, other)
		publish := func(now time.Time) crl.Claim {
			t.Helper()
			claim := got[crl.Claim](t)(db.Begin(ctx, now, shard, now.Add(time.Minute)))
			must(t, db.Put(ctx, operator, now, newList(claim, now)))
			return claim
		}
		first := publish(noon)
		if first.Number != noon.UnixMilli() || first.Mark != 0 || first.Shard != shard {
			t.Errorf("first claim: %+v", first)
		}
		due(noon, other)
		due(noon.Add(6*time.Hour), shard, other) // to be refreshed
		c := issued(t, db, newAccount(t, db).ID, name(t, "a.example"))
		must(t, db.Revoke(ctx, ca.Revocation{By: operator, Serial: c.Serial, Reason: ca.Superseded, At: noon}))
		due(noon, shard, other)
		claim := got[crl.Claim](t)(db.Begin(ctx, noon, shard, noon.Add(time.Minute)))
		if claim.Number != first.Number+1 || claim.Mark != 1 {
			t.Errorf("second claim: %+v", claim)
		}
		due(noon, other)                         // claimed
		due(noon.Add(time.Minute), shard, other) // its lease ran out
		// A revocation while the list is being made leaves the shard due.
		must(t, db.Revoke(ctx, ca.Revocation{By: operator, Serial: c.Serial, Reason: ca.KeyCompromise, At: noon}))
		must(t, db.Put(ctx, operator, noon, newList(claim, noon)))
		due(noon, shard, other)
		publish(noon)
		due(noon, other)
	})
}

func newList(c crl.Claim, now time.Time) *crl.List {
	return &crl.List{
		Shard: c.Shard, Number: c.Number, Mark: c.Mark, ThisUpdate: now, NextUpdate: now.Add(24 * time.Hour), RefreshAt: now.Add(6 * time.Hour),
		Entries: int(c.Mark), DER: []byte{0x30, byte(c.Number)},
	}
}

func TestNumbersOnlyGrow(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		if _, err := db.Latest(ctx, shard, 0); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("no list yet: %v", err)
		}
		if err := db.Put(ctx, operator, noon, newList(crl.Claim{Shard: shard, Number: 1}, noon)); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("a list that was never begun: %v", err)
		}
		claims := make([]crl.Claim, 64)
		oneWinner(t, race(len(claims), func(i int) (err error) {
			claims[i], err = db.Begin(ctx, noon, shard, noon.Add(time.Minute))
			return err
		}), ca.ErrConflict)
		late := got[crl.Claim](t)(db.Begin(ctx, noon.Add(time.Minute), shard, noon.Add(2*time.Minute)))
		old := crl.Claim{}
		for _, c := range claims {
			if c.Number != 0 {
				old = c
			}
		}
		if late.Number <= old.Number {
			t.Fatalf("numbers %d, then %d", old.Number, late.Number)
		}
		// The first one comes back late: its list is good, and the claim of the other stays.
		must(t, db.Put(ctx, operator, noon, newList(old, noon)))
		if _, err := db.Begin(ctx, noon.Add(time.Minute), shard, noon.Add(3*time.Minute)); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("the late list ended another's claim: %v", err)
		}
		must(t, db.Put(ctx, operator, noon, newList(late, noon)))
		for _, c := range []crl.Claim{old, late} {
			if err := db.Put(ctx, operator, noon, newList(c, noon)); !errors.Is(err, ca.ErrConflict) {
				t.Errorf("list %d again: %v", c.Number, err)
			}
		}
		if l := got[*crl.List](t)(db.Latest(ctx, shard, old.Number)); !reflect.DeepEqual(l, newList(late, noon)) {
			t.Errorf("latest: %+v", l)
		}
		if _, err := db.Latest(ctx, shard, late.Number); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("nothing newer: %v", err)
		}
		// A clock that was set back does not matter.
		if c := got[crl.Claim](t)(db.Begin(ctx, noon.Add(-time.Hour), shard, noon)); c.Number != late.Number+1 {
			t.Errorf("number %d after %d", c.Number, late.Number)
		}
	})
}

func TestRevokedYieldsWhatIsToBeListed(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, n := newAccount(t, db), name(t, "a.example")
		var want []ca.Revoked
		for i := range 30 {
			c := reservation4(t, begunOrder(t, db, account.ID, n))
			c.Serial[5] += byte(i)
			if i%3 == 1 {
				c.Shard = 1
			}
			if i%3 == 2 {
				c.NotAfter = noon.Add(-time.Hour)
			}
			got[*ca.Certificate](t)(db.Reserve(ctx, operator, c))
			r := ca.Revocation{By: operator, Serial: c.Serial, Reason: ca.Reason(i % 6), At: noon.Add(time.Duration(i) * time.Second)}
			must(t, db.Revoke(ctx, r))
			if i%3 == 0 {
				want = append(want, ca.Revoked{Serial: c.Serial, At: r.At, Reason: r.Reason, NotAfter: c.NotAfter})
			}
		}
		var found []ca.Revoked
		for r, err := range db.Revoked(ctx, shard, noon) {
			must(t, err)
			found = append(found, r)
			if _, err := db.Certificate(ctx, r.Serial); err != nil { // a consumer may use the store
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(found, want) {
			t.Errorf("yielded %v, not %v", found, want)
		}
		n1 := 0
		for _, err := range db.Revoked(ctx, shard, noon.Add(-time.Hour)) { // inclusive
			must(t, err)
			n1++
		}
		if n1 != 20 {
			t.Errorf("%d with those that ended at the instant, not 20", n1)
		}
		for range db.Revoked(ctx, shard, noon) { // stopping early gives the connection back
			break
		}
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		var last error
		for _, err := range db.Revoked(cancelled, shard, noon) {
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			t.Errorf("after its end the last thing was %v", last)
		}
	})
}
