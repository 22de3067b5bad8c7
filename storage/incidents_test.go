package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
	"chancery/crl"
)

// Public incidents of other CAs, and of the libraries under them, whose
// defence is the store's; docs/safety.md has them all.

// TestIncident_I79: a cancelled Scan returned the row of another query. Reads
// that are given up at any moment, of each kind of row, beside others that are
// not: each answer is of what was asked for.
func TestIncident_I79(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		type mine struct {
			account *acme.Account
			cert    *ca.Certificate
		}
		var all [6]mine
		for i := range all {
			all[i].account = newAccount(t, db)
			all[i].cert = issued(t, db, all[i].account.ID, name(t, fmt.Sprintf("n%d.example", i)))
		}
		for _, err := range race(len(all), func(i int) error {
			want := all[i]
			for n := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%40)*10*time.Microsecond)
				if n%3 == 0 {
					ctx, cancel = context.WithCancel(t.Context())
				}
				c, errCert := db.Certificate(ctx, want.cert.Serial)
				o, errOrder := db.Order(ctx, want.cert.Order)
				a, errAccount := db.AccountByKey(ctx, want.account.Key.SPKI())
				cancel()
				switch {
				case errCert == nil && (c.Serial != want.cert.Serial || c.Account != want.account.ID || string(c.DER) != string(want.cert.DER)):
					return fmt.Errorf("asked for certificate %s, got %s", want.cert.Serial, c.Serial)
				case errOrder == nil && (o.ID != want.cert.Order || o.Authorizations[0].Account != want.account.ID):
					return fmt.Errorf("asked for order %s, got %s", want.cert.Order, o.ID)
				case errAccount == nil && a.ID != want.account.ID:
					return fmt.Errorf("asked for account %s, got %s", want.account.ID, a.ID)
				}
				for _, err := range []error{errCert, errOrder, errAccount} {
					if err != nil && (n%3 == 0 || !errors.Is(err, context.DeadlineExceeded)) {
						return err
					}
				}
			}
			return nil
		}) {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// TestIncident_I80: values that left their quotes, by a size that wrapped or a
// placeholder in a comment. Only the protocol that sends values apart is
// spoken, and what looks like SQL is stored as it is.
func TestIncident_I80(t *testing.T) {
	if _, err := Open(t.Context(), newDatabase(t, "template0")+"&default_query_exec_mode=simple_protocol"); err == nil || !strings.Contains(err.Error(), "simple protocol") {
		t.Errorf("the simple protocol: %v", err)
	}
	eachEngine(t, func(t *testing.T, db *DB) {
		for i, s := range []string{
			"'; DROP TABLE accounts; --", "$1", "?", "-- $1 ?", "/* ? */", "\\'", "'' OR ''=''", "$$x$$", "e'\\x41'", strings.Repeat("'", 9999), strings.Repeat("?", 70_000), "\u2019;--",
		} {
			a := &acme.Account{ID: newID(noon), Key: newKey(t), Contact: []string{"mailto:" + s}, CreatedAt: noon}
			must(t, db.CreateAccount(t.Context(), ca.Actor{Kind: ca.ActorOperator, ID: s, Addr: s}, noon, a))
			if read := got[*acme.Account](t)(db.Account(t.Context(), a.ID)); read.Contact[0] != a.Contact[0] {
				t.Errorf("%d: stored %.40q, read %.40q", i, a.Contact[0], read.Contact[0])
			}
			if found := got[[]ca.Event](t)(db.Events(t.Context(), ca.EventSearch{Actor: s, Limit: 10})); len(found) != 1 || found[0].By.ID != s {
				t.Errorf("%d: by its actor, %d events are found", i, len(found))
			}
			if _, err := db.Account(t.Context(), s); !errors.Is(err, ca.ErrNotFound) {
				t.Errorf("%d: as an ID: %v", i, err)
			}
		}
	})
}

// TestIncident_I81: sessions ran with an isolation level that nobody had
// chosen. It is asserted at the start, and what stands on it holds: of many
// that would spend one thing, one does.
func TestIncident_I81(t *testing.T) {
	db := openTestPostgres(t)
	level := func(what string, read func(context.Context, func(*session) error) error, want string) {
		t.Helper()
		var found string
		must(t, read(t.Context(), func(s *session) error { return s.get(&found, "SHOW transaction_isolation") }))
		if found != want {
			t.Errorf("%s run at %q, want %q", what, found, want)
		}
	}
	level("reads", db.read, "read committed")
	level("snapshots", db.snapshot, "repeatable read")
	level("changes", func(ctx context.Context, do func(*session) error) error {
		return db.change(ctx, happened(operator, noon, "test", ""), func(t *tx) error { return do(&t.session) })
	}, "read committed")
	// A server whose default is another one does not change that.
	dsn := newDatabase(t, "migrated")
	other := opened(t, dsn+"&options=-c%20default_transaction_isolation%3Dserializable")
	must(t, other.read(t.Context(), func(s *session) error {
		var found string
		must(t, s.get(&found, "SHOW transaction_isolation"))
		if found != "read committed" {
			t.Errorf("with another default, it is %q", found)
		}
		return nil
	}))
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		o := readyOrder(t, db, account.ID, name(t, "a.example"))
		oneWinner(t, race(16, func(int) error {
			return db.BeginFinalize(t.Context(), operator, noon, o.ID, []byte("CSR"), noon.Add(time.Minute))
		}), ca.ErrConflict)
		pending := newOrder(t, db, account.ID, name(t, "b.example")).Authorizations[0]
		oneWinner(t, race(16, func(int) error {
			return db.BeginValidation(t.Context(), operator, noon, pending.ID, acme.HTTP01, noon.Add(time.Minute))
		}), ca.ErrConflict)
		// The skew: deactivating an authorization beside finalizing on it. Never both.
		for range 10 {
			o := readyOrder(t, db, account.ID, name(t, "c.example"))
			errs := race(2, func(i int) error {
				if i == 0 {
					return db.DeactivateAuthorization(t.Context(), operator, noon, o.Authorizations[0].ID)
				}
				return db.BeginFinalize(t.Context(), operator, noon, o.ID, []byte("CSR"), noon.Add(time.Minute))
			})
			if errs[0] != nil || errs[1] != nil && !errors.Is(errs[1], ca.ErrConflict) {
				t.Errorf("deactivation %v, finalization %v", errs[0], errs[1])
			}
			stored := got[*acme.Order](t)(db.Order(t.Context(), o.ID))
			if errs[1] != nil && !stored.BeganAt.IsZero() {
				t.Error("a refused finalization was stored")
			}
		}
	})
}

// TestIncident_I82: tasks of a bulk revocation shared one error variable. Of
// many at once, each gets its own outcome, and the store has exactly those.
func TestIncident_I82(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		const many = 200
		serials := make([]ca.Serial, many)
		for i := range serials {
			serials[i] = newSerial(t) // of nobody
			if i%10 != 0 {
				serials[i] = issued(t, db, account.ID, name(t, "a.example")).Serial
			}
			if i%10 == 1 {
				must(t, db.Revoke(t.Context(), ca.Revocation{By: operator, Serial: serials[i], Reason: ca.Superseded, At: noon}))
			}
		}
		errs := race(many, func(i int) error {
			return db.Revoke(t.Context(), ca.Revocation{By: operator, Serial: serials[i], Reason: ca.Superseded, At: noon})
		})
		for i, err := range errs {
			want := map[int]error{0: ca.ErrNotFound, 1: ca.ErrAlreadyRevoked}[i%10]
			if !errors.Is(err, want) {
				t.Errorf("number %d: %v, want %v", i, err, want)
			}
		}
		listed := 0
		for _, err := range db.Revoked(t.Context(), shard, noon) {
			must(t, err)
			listed++
		}
		if listed != many-many/10 {
			t.Errorf("%d are listed", listed)
		}
	})
}

// TestIncident_I89: a log daemon folded equal lines into "repeated", and the
// checksums over the log broke. Equal events are events of their own, each
// with its number, without a gap, however many come at once.
func TestIncident_I89(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		e := event{by: operator, at: noon, action: "same.thing", object: "same"}
		for _, err := range race(50, func(int) error { return db.change(t.Context(), e, func(*tx) error { return nil }) }) {
			must(t, err)
		}
		events := got[[]ca.Event](t)(db.Events(t.Context(), ca.EventSearch{Action: "same.thing", Limit: 100}))
		if len(events) != 50 {
			t.Fatalf("%d events", len(events))
		}
		for i := 1; i < len(events); i++ {
			if events[i].Seq >= events[i-1].Seq {
				t.Errorf("number %d follows %d", events[i-1].Seq, events[i].Seq)
			}
		}
	})
}

// TestIncident_I90: what one tenant did showed in another's answers. Accounts
// are the only tenants here. The same questions of one account, with and
// without another one beside it that has the same names, get the same answers.
func TestIncident_I90(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		mine := newAccount(t, db)
		n, wild := name(t, "a.example"), name(t, "*.a.example")
		o := readyOrder(t, db, mine.ID, n)
		answers := func() string {
			valid, err := db.ValidAuthorizations(ctx, mine.ID, []ca.Identifier{n, wild}, noon)
			must(t, err)
			var found []string
			for _, a := range valid {
				found = append(found, a.ID+a.Account)
			}
			authorized := got[bool](t)(db.Authorized(ctx, mine.ID, []ca.Identifier{n}, noon))
			wildcard := got[bool](t)(db.Authorized(ctx, mine.ID, []ca.Identifier{wild}, noon))
			ids := got[[]string](t)(db.OrderIDs(ctx, mine.ID, "", noon, 100))
			again := got[*acme.Order](t)(db.Order(ctx, o.ID))
			certs := got[[]*ca.Certificate](t)(db.Certificates(ctx, ca.CertificateSearch{At: noon, Account: mine.ID, Limit: 100}))
			return fmt.Sprint(found, authorized, wildcard, ids, again.StatusAt(noon), len(certs))
		}
		before := answers()
		other := newAccount(t, db)
		issued(t, db, other.ID, n, wild)
		theirs := readyOrder(t, db, other.ID, n, wild)
		must(t, db.DeactivateAuthorization(ctx, operator, noon, theirs.Authorizations[0].ID))
		if after := answers(); after != before {
			t.Errorf("alone: %s\nbeside another: %s", before, after)
		}
		// An order can't stand on what belongs to another.
		stolen := &acme.Order{
			ID: newID(noon), Account: mine.ID, Profile: "server", Identifiers: []ca.Identifier{wild},
			Authorizations: theirs.Authorizations[1:], CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
		}
		if err := db.CreateOrder(ctx, operator, noon, stolen, nil); err == nil {
			t.Error("an order stands on another account's authorization")
		}
	})
}

// TestIncident_I97: rogue certificates were made past the CA's own books. What
// somebody with the database writes without the store contradicts what the
// store keeps beside it, and the check finds it. (A signature that is in no
// book at all is for the comparison with the key store's count: not built.)
func TestIncident_I97(t *testing.T) {
	for says, fault := range map[string]string{
		"a certificate of nobody's order": `INSERT INTO certificates (serial, issuer, shard, profile, account, order_id, names, spki, not_before, not_after, reserved_at, der, tbs)
SELECT X'0199AA00BB11CC22DD33EE44FF556677', issuer, shard, profile, account, NULL, '["dns:google.com"]', spki, not_before, not_after, reserved_at, X'3000', NULL FROM certificates`,
		"names changed":                `UPDATE certificates SET names = '["dns:google.com"]'`,
		"a verdict nobody gave":        `UPDATE authorizations SET validated_at = NULL`,
		"the trail cut":                `DELETE FROM audit_events WHERE action = 'certificate.issue'`,
		"the trail of the proof cut":   `DELETE FROM audit_events WHERE action = 'authorization.validate'`,
		"an event without an actor":    `UPDATE audit_events SET actor_kind = ''`,
		"an order of another identity": `UPDATE orders SET identifiers = '["dns:google.com"]'`,
	} {
		t.Run(says, func(t *testing.T) {
			db := openTestMemory(t)
			issued(t, db, newAccount(t, db).ID, name(t, "a.example"))
			must(t, db.read(t.Context(), func(s *session) error { // in memory, readers may write
				n, err := s.exec(fault)
				if n == 0 && err == nil {
					t.Error("the fault changed nothing")
				}
				return err
			}))
			if findings := got[[]string](t)(db.Check(t.Context())); len(findings) == 0 {
				t.Error("it was not found")
			}
		})
	}
}

// TestIncident_I51: the number of a CRL went backwards. Claims of one shard
// have one winner at a time and growing numbers, whoever makes them; a list
// with an older number is not stored; a database that was set back goes on
// above all that was ever published.
func TestIncident_I51(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		last, now := int64(0), noon
		for n := range 20 {
			// The clock stands, goes back, goes on.
			at := now.Add([]time.Duration{0, -time.Hour, time.Minute}[n%3])
			claims := make([]crl.Claim, 5)
			errs := race(len(claims), func(i int) (err error) {
				claims[i], err = db.Begin(ctx, at, shard, at.Add(2*time.Hour))
				return err
			})
			oneWinner(t, errs, ca.ErrConflict)
			for i, err := range errs {
				if err != nil {
					continue
				}
				if claims[i].Number <= last {
					t.Fatalf("number %d after %d", claims[i].Number, last)
				}
				last = claims[i].Number
				must(t, db.Put(ctx, operator, at, newList(claims[i], at)))
			}
		}
		now = now.Add(time.Hour)
		old := newList(crl.Claim{Shard: shard, Number: last - 1}, now)
		if err := db.Put(ctx, operator, now, old); err == nil {
			t.Error("a list with an older number was stored")
		}
		if l := got[*crl.List](t)(db.Latest(ctx, shard, 0)); l.Number != last {
			t.Errorf("list %d is the latest, not %d", l.Number, last)
		}
		// The numbers follow the clock, so that a restored backup, which has
		// forgotten the last of them, is above them again.
		fresh := openTestMemory(t)
		claim := got[crl.Claim](t)(fresh.Begin(ctx, now, shard, now.Add(time.Minute)))
		if claim.Number <= last {
			t.Errorf("an older database goes on with %d, and %d was published", claim.Number, last)
		}
	})
}

// TestIncident_I08: the mail domain of an address was marked as validated. No
// row of the store is for a name that nobody asked for.
func TestIncident_I08(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		readyOrder(t, db, account.ID, name(t, "a.b.example"), name(t, "*.c.example"))
		for _, other := range []string{"b.example", "example", "*.b.example", "*.a.b.example", "c.example", "x.c.example", "www.a.b.example", "aa.b.example"} {
			if got[bool](t)(db.Authorized(t.Context(), account.ID, []ca.Identifier{name(t, other)}, noon)) {
				t.Errorf("authorized for %s", other)
			}
			if found := got[[]*acme.Authorization](t)(db.ValidAuthorizations(t.Context(), account.ID, []ca.Identifier{name(t, other)}, noon)); !reflect.DeepEqual(found, []*acme.Authorization(nil)) {
				t.Errorf("an authorization for %s", other)
			}
		}
	})
}
