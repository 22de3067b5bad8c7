package storage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func blocked(spki [32]byte, source ca.BlockSource) ca.BlockedKey {
	return ca.BlockedKey{SPKI: spki, At: noon, Source: source, Comment: "found on a street"}
}

// withKey stores certificates on one key: issued ones, and one that is only reserved.
func withKey(t *testing.T, db *DB, account string, spki [32]byte, n int) (serials []ca.Serial) {
	t.Helper()
	for i := range n {
		c := reservation4(t, begunOrder(t, db, account, name(t, fmt.Sprintf("h%d.example", i))))
		c.SPKI = spki
		c = got[*ca.Certificate](t)(db.Reserve(t.Context(), operator, c))
		if i > 0 {
			c.DER, c.TBS = []byte("signed"), nil
			must(t, db.PutCertificate(t.Context(), operator, c))
		}
		serials = append(serials, c.Serial)
	}
	return serials
}

// TestBlockKey: one transaction has the block, the revocations with their
// events, the shards that become due, and the account's end.
func TestBlockKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, holder := newAccount(t, db), newAccount(t, db)
		spki := holder.Key.SPKI()
		serials := withKey(t, db, account.ID, spki, 4)
		other := issued(t, db, account.ID, name(t, "other.example"))
		must(t, db.Revoke(ctx, ca.Revocation{By: operator, Serial: serials[2], Reason: ca.Superseded, At: noon.Add(-time.Hour)}))
		must(t, db.Revoke(ctx, ca.Revocation{By: operator, Serial: serials[3], Reason: ca.KeyCompromise, At: noon.Add(-time.Hour)}))
		if _, err := db.BlockedKey(ctx, spki); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("before: %v", err)
		}

		revoked := got[[]*ca.Certificate](t)(db.BlockKey(ctx, operator, blocked(spki, ca.BlockedByOperator)))
		if len(revoked) != 3 {
			t.Errorf("%d certificates were revoked, want 3", len(revoked))
		}
		for i, serial := range serials {
			c := got[*ca.Certificate](t)(db.Certificate(ctx, serial))
			if c.Revocation == nil || c.Revocation.Reason != ca.KeyCompromise {
				t.Errorf("certificate %d: %+v", i, c.Revocation)
			}
			if i == 2 && c.Revocation != nil && !c.Revocation.At.Equal(noon.Add(-time.Hour)) {
				t.Error("the first date of a revocation was lost (I50)")
			}
			events := got[[]ca.Event](t)(db.Events(ctx, ca.EventSearch{Object: serial.String(), Action: actionCertificateRevoke, Limit: 10}))
			if want := map[int]int{0: 1, 1: 1, 2: 2, 3: 1}[i]; len(events) != want {
				t.Errorf("certificate %d has %d events of revocation, want %d", i, len(events), want)
			}
		}
		if c := got[*ca.Certificate](t)(db.Certificate(ctx, other.Serial)); c.Revocation != nil {
			t.Error("a certificate with another key was revoked")
		}
		if a := got[*acme.Account](t)(db.Account(ctx, holder.ID)); a.Status() != acme.StatusRevoked {
			t.Errorf("the account that has the key is %s", a.Status())
		}
		if a := got[*acme.Account](t)(db.Account(ctx, account.ID)); a.Status() != acme.StatusValid {
			t.Errorf("the account that ordered is %s", a.Status())
		}
		k := got[*ca.BlockedKey](t)(db.BlockedKey(ctx, spki))
		if k.SPKI != spki || !k.At.Equal(noon) || k.Source != ca.BlockedByOperator || k.Comment != "found on a street" {
			t.Errorf("read %+v", k)
		}

		// Once more, nothing happens; proven, it can't be taken back.
		events := len(got[[]ca.Event](t)(db.Events(ctx, ca.EventSearch{Limit: 1000})))
		if again := got[[]*ca.Certificate](t)(db.BlockKey(ctx, operator, blocked(spki, ca.BlockedByOperator))); len(again) != 0 {
			t.Errorf("the second time revoked %d", len(again))
		}
		if n := len(got[[]ca.Event](t)(db.Events(ctx, ca.EventSearch{Limit: 1000}))); n != events {
			t.Errorf("the second time made %d events", n-events)
		}
		got[[]*ca.Certificate](t)(db.BlockKey(ctx, operator, blocked(spki, ca.BlockedAsCompromised)))
		if err := db.UnblockKey(ctx, operator, noon, spki); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("a proven key was unblocked: %v", err)
		}
		if err := db.UnblockKey(ctx, operator, noon, other.SPKI); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("a key that is not blocked: %v", err)
		}
	})
}

// TestBlockedKeyIsNotReserved: the last look is in the same transaction as the
// reservation; after the operator took the block back, the key is good again.
func TestBlockedKeyIsNotReserved(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		c := reservation4(t, begunOrder(t, db, account.ID, name(t, "a.example")))
		got[[]*ca.Certificate](t)(db.BlockKey(ctx, operator, blocked(c.SPKI, ca.BlockedByOperator)))
		if _, err := db.Reserve(ctx, operator, c); !errors.Is(err, ca.ErrBlockedKey) {
			t.Errorf("got %v", err)
		}
		if _, err := db.Certificate(ctx, c.Serial); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("it was stored: %v", err)
		}
		if got[bool](t)(db.KeyCertified(ctx, c.SPKI)) {
			t.Error("the key counts as certified")
		}
		must(t, db.UnblockKey(ctx, operator, noon, c.SPKI))
		got[*ca.Certificate](t)(db.Reserve(ctx, operator, c))
		if !got[bool](t)(db.KeyCertified(ctx, c.SPKI)) {
			t.Error("the key does not count as certified")
		}
	})
}

// TestBlockAgainstReserve: however they interleave, no certificate with a
// blocked key stays without its revocation.
func TestBlockAgainstReserve(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		spki := sha256.Sum256([]byte("raced"))
		const n = 24
		reservations := make([]*ca.Certificate, n)
		for i := range n {
			reservations[i] = reservation4(t, begunOrder(t, db, account.ID, name(t, fmt.Sprintf("r%d.example", i))))
			reservations[i].SPKI = spki
		}
		errs := race(n+1, func(i int) error {
			if i == n/2 {
				_, err := db.BlockKey(t.Context(), operator, blocked(spki, ca.BlockedAsCompromised))
				return err
			}
			_, err := db.Reserve(t.Context(), operator, reservations[i%n])
			return err
		})
		for _, err := range errs {
			if err != nil && !errors.Is(err, ca.ErrBlockedKey) {
				t.Errorf("got %v", err)
			}
		}
		for _, r := range reservations {
			c, err := db.Certificate(t.Context(), r.Serial)
			if errors.Is(err, ca.ErrNotFound) {
				continue
			}
			if must(t, err); c.Revocation == nil {
				t.Errorf("%s has a blocked key and is not revoked", c.Serial)
			}
		}
		t.Log(kinds(errs))
	})
}

// TestRevokeBlocked ends what BlockKey left over, and passes over what is over.
func TestRevokeBlocked(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		spki := sha256.Sum256([]byte("lost"))
		serials := withKey(t, db, account.ID, spki, 5)
		// A block without its revocations, as if it had been cut short.
		must(t, db.change(ctx, happened(operator, noon, actionKeyBlock, "x"), func(tx *tx) error {
			return tx.one(insertBlockedKey, digest(spki), stamp(noon), "compromise", "")
		}))
		for _, want := range []int{2, 2, 1, 0} {
			if revoked := got[[]*ca.Certificate](t)(db.RevokeBlocked(ctx, operator, noon, 2)); len(revoked) != want {
				t.Errorf("%d were revoked, want %d", len(revoked), want)
			}
		}
		for _, serial := range serials {
			if c := got[*ca.Certificate](t)(db.Certificate(ctx, serial)); c.Revocation == nil || c.Revocation.Reason != ca.KeyCompromise {
				t.Errorf("%s: %+v", serial, c.Revocation)
			}
		}
		late := sha256.Sum256([]byte("late"))
		old := withKey(t, db, account.ID, late, 1)
		got[[]*ca.Certificate](t)(db.BlockKey(ctx, operator, ca.BlockedKey{SPKI: late, At: noon.Add(91 * 24 * time.Hour), Source: ca.BlockedByOperator}))
		if c := got[*ca.Certificate](t)(db.Certificate(ctx, old[0])); c.Revocation != nil {
			t.Error("an expired certificate was revoked")
		}
	})
}

// TestBlockedKeysList pages through blocks of the same instant.
func TestBlockedKeysList(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		for i := range 7 {
			k := blocked(sha256.Sum256([]byte{byte(i)}), ca.BlockedByOperator)
			k.At = noon.Add(time.Duration(i/3) * time.Second)
			got[[]*ca.Certificate](t)(db.BlockKey(ctx, operator, k))
		}
		var all [][32]byte
		s := ca.BlockedKeySearch{Limit: 2}
		for {
			page := got[[]*ca.BlockedKey](t)(db.BlockedKeys(ctx, s))
			for _, k := range page {
				all = append(all, k.SPKI)
			}
			if len(page) < 2 {
				break
			}
			s.After = page[1].SPKI
		}
		distinct := slices.Clone(all)
		slices.SortFunc(distinct, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
		if len(all) != 7 || len(slices.Compact(distinct)) != 7 || all[0] != sha256.Sum256([]byte{6}) {
			t.Errorf("%d keys: %x", len(all), all)
		}
		if _, err := db.BlockedKeys(ctx, ca.BlockedKeySearch{After: [32]byte{1}, Limit: 1}); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("a cursor that names nothing: %v", err)
		}
	})
}
