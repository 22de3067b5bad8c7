package storage

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func TestCertificateIsReservedThenPut(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account := newAccount(t, db)
		o := begunOrder(t, db, account.ID, name(t, "b.example"), name(t, "a.example"))
		c := reservation4(t, o)
		c.Names = []ca.Identifier{o.Identifiers[1], o.Identifiers[0]} // the certificate may sort them
		if reserved := got[*ca.Certificate](t)(db.Reserve(ctx, operator, c)); !reflect.DeepEqual(reserved, c) {
			t.Errorf("reserved %+v, not %+v", reserved, c)
		}
		if stored := got[*ca.Certificate](t)(db.Certificate(ctx, c.Serial)); !reflect.DeepEqual(stored, c) {
			t.Errorf("read %+v, not %+v", stored, c)
		}
		again := *c
		again.Serial = newSerial(t)
		if existing := got[*ca.Certificate](t)(db.Reserve(ctx, operator, &again)); !reflect.DeepEqual(existing, c) {
			t.Errorf("a second reservation for the order answered %+v, not the first", existing)
		}
		if _, err := db.Certificate(ctx, again.Serial); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("the second serial was stored: %v", err)
		}
		signed := *c
		signed.DER, signed.TBS = []byte("signed"), nil
		must(t, db.PutCertificate(ctx, operator, &signed))
		if stored := got[*ca.Certificate](t)(db.Certificate(ctx, c.Serial)); !reflect.DeepEqual(stored, &signed) {
			t.Errorf("read %+v, not %+v", stored, signed)
		}
		order := got[*acme.Order](t)(db.Order(ctx, o.ID))
		if order.Certificate != c.Serial || order.StatusAt(noon) != acme.StatusValid || !order.LeaseUntil.IsZero() {
			t.Errorf("its order is %+v", order)
		}
		other := signed
		other.DER = []byte("signed otherwise")
		if err := db.PutCertificate(ctx, operator, &other); !errors.Is(err, ca.ErrConflict) {
			t.Errorf("put a second time: %v", err)
		}
		if stored := got[*ca.Certificate](t)(db.Certificate(ctx, c.Serial)); string(stored.DER) != "signed" {
			t.Errorf("the second one stands there: %s", stored.DER)
		}
		if existing := got[*ca.Certificate](t)(db.Reserve(ctx, operator, &again)); string(existing.DER) != "signed" {
			t.Errorf("a reservation for an issued order answered %+v", existing)
		}
	})
}

func TestReserveRefuses(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, n := newAccount(t, db), name(t, "a.example")
		taken := issued(t, db, account.ID, n)
		for _, c := range []struct {
			says   string
			change func(c *ca.Certificate)
			want   error // nil: any
		}{
			{"a serial that is taken", func(c *ca.Certificate) { c.Serial = taken.Serial }, ca.ErrConflict},
			{"an order that was not finalized", func(c *ca.Certificate) { c.Order = readyOrder(t, db, account.ID, n).ID }, ca.ErrConflict},
			{"an order that is not there", func(c *ca.Certificate) { c.Order = newID(noon) }, ca.ErrNotFound},
			{"no serial", func(c *ca.Certificate) { c.Serial = ca.Serial{} }, nil},
			{"no TBS", func(c *ca.Certificate) { c.TBS = nil }, nil},
			{"signed already", func(c *ca.Certificate) { c.DER = []byte("signed") }, nil},
		} {
			r := reservation4(t, begunOrder(t, db, account.ID, n))
			c.change(r)
			if _, err := db.Reserve(ctx, operator, r); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: %v", c.says, err)
			}
		}
		nobody := reservation4(t, begunOrder(t, db, account.ID, n))
		nobody.DER = []byte("signed")
		if err := db.PutCertificate(ctx, operator, nobody); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("put without a reservation: %v", err)
		}
		if err := db.PutCertificate(ctx, operator, &ca.Certificate{Serial: taken.Serial}); err == nil {
			t.Error("put without a DER")
		}
	})
}

func TestOwnCertificateHasNoOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		for range 2 { // several without an order don't count as one order's
			c := reservation4(t, &acme.Order{Identifiers: []ca.Identifier{name(t, "localhost.example")}})
			got[*ca.Certificate](t)(db.Reserve(ctx, ca.System("tls"), c))
			c.DER, c.TBS = []byte("signed"), nil
			must(t, db.PutCertificate(ctx, ca.System("tls"), c))
			if stored := got[*ca.Certificate](t)(db.Certificate(ctx, c.Serial)); !reflect.DeepEqual(stored, c) {
				t.Errorf("read %+v, not %+v", stored, c)
			}
		}
	})
}

func TestOneOrderGetsOneSerial(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		o := begunOrder(t, db, newAccount(t, db).ID, name(t, "a.example"))
		var asked, answered [64]*ca.Certificate
		for i := range asked {
			asked[i] = reservation4(t, o)
		}
		for _, err := range race(len(asked), func(i int) (err error) {
			answered[i], err = db.Reserve(t.Context(), operator, asked[i])
			return err
		}) {
			must(t, err)
		}
		won := 0
		for i := range asked {
			if answered[i].Serial != answered[0].Serial {
				t.Errorf("two serials: %s and %s", answered[0].Serial, answered[i].Serial)
			}
			if answered[i].Serial == asked[i].Serial {
				won++
			}
		}
		if won != 1 {
			t.Errorf("%d reservations were stored", won)
		}
		put := *answered[0]
		put.DER = []byte("signed")
		oneWinner(t, race(64, func(int) error { return db.PutCertificate(t.Context(), operator, &put) }), ca.ErrConflict)
	})
}

func TestCertificateOfAFailedOrderIsKept(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		o := begunOrder(t, db, newAccount(t, db).ID, name(t, "a.example"))
		c := got[*ca.Certificate](t)(db.Reserve(ctx, operator, reservation4(t, o)))
		must(t, db.FailOrder(ctx, operator, noon, o.ID, acme.Problemf(acme.ServerInternal, "the key store is away")))
		c.DER = []byte("signed")
		must(t, db.PutCertificate(ctx, operator, c))
		if order := got[*acme.Order](t)(db.Order(ctx, o.ID)); order.StatusAt(noon) != acme.StatusValid || order.Certificate != c.Serial {
			t.Errorf("its order is %+v", order)
		}
	})
}

func TestRevoke(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		c := issued(t, db, newAccount(t, db).ID, name(t, "a.example"))
		revoke := func(serial ca.Serial, reason ca.Reason, at time.Time) error {
			return db.Revoke(ctx, ca.Revocation{By: operator, Serial: serial, Reason: reason, At: at})
		}
		check := func(says string, reason ca.Reason) {
			t.Helper()
			want := &ca.Revoked{Serial: c.Serial, At: noon, Reason: reason, NotAfter: c.NotAfter}
			if r := got[*ca.Certificate](t)(db.Certificate(ctx, c.Serial)).Revocation; !reflect.DeepEqual(r, want) {
				t.Errorf("%s: %+v, not %+v", says, r, want)
			}
		}
		if err := revoke(newSerial(t), ca.Superseded, noon); !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("of no certificate: %v", err)
		}
		must(t, revoke(c.Serial, ca.Superseded, noon))
		check("revoked", ca.Superseded)
		if err := revoke(c.Serial, ca.CessationOfOperation, noon.Add(time.Hour)); !errors.Is(err, ca.ErrAlreadyRevoked) {
			t.Errorf("a second time: %v", err)
		}
		must(t, revoke(c.Serial, ca.KeyCompromise, noon.Add(time.Hour)))
		check("compromised, from the first date on", ca.KeyCompromise)
		for _, reason := range []ca.Reason{ca.KeyCompromise, ca.Superseded} {
			if err := revoke(c.Serial, reason, noon.Add(time.Hour)); !errors.Is(err, ca.ErrAlreadyRevoked) {
				t.Errorf("after keyCompromise, for %d: %v", reason, err)
			}
		}
		reserved := got[*ca.Certificate](t)(db.Reserve(ctx, operator, reservation4(t, begunOrder(t, db, c.Account, c.Names[0]))))
		must(t, revoke(reserved.Serial, ca.KeyCompromise, noon)) // its signature may have left the process
	})
}

func TestRevocationHasOneWinner(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		c := issued(t, db, newAccount(t, db).ID, name(t, "a.example"))
		oneWinner(t, race(64, func(int) error {
			return db.Revoke(t.Context(), ca.Revocation{By: operator, Serial: c.Serial, Reason: ca.Superseded, At: noon})
		}), ca.ErrAlreadyRevoked)
	})
}

func TestCertificatesAreSearched(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		account, other := newAccount(t, db), newAccount(t, db)
		a, b, wild := name(t, "a.example"), name(t, "b.example"), name(t, "*.a.example")
		store := func(owner string, edit func(c *ca.Certificate), names ...ca.Identifier) *ca.Certificate {
			c := reservation4(t, begunOrder(t, db, owner, names...))
			edit(c)
			got[*ca.Certificate](t)(db.Reserve(ctx, operator, c))
			if c.TBS[0] != 'R' {
				c.DER, c.TBS = []byte("signed"), nil
				must(t, db.PutCertificate(ctx, operator, c))
			}
			return c
		}
		later := func(c *ca.Certificate, n byte) { c.Serial[5] += n } // so that they have an order
		c1 := store(account.ID, func(c *ca.Certificate) { later(c, 1) }, a, b)
		c2 := store(account.ID, func(c *ca.Certificate) { later(c, 2); c.NotAfter = noon.Add(time.Hour) }, b)
		c3 := store(other.ID, func(c *ca.Certificate) { later(c, 3); c.Issuer = "ffeeddccbbaa0099" }, a)
		c4 := store(account.ID, func(c *ca.Certificate) { later(c, 4); c.Profile = "short" }, wild)
		c5 := store(account.ID, func(c *ca.Certificate) { later(c, 5); c.TBS = []byte("R") }, b)
		must(t, db.Revoke(ctx, ca.Revocation{By: operator, Serial: c3.Serial, Reason: ca.Superseded, At: noon}))
		hour := noon.Add(time.Hour)
		for _, c := range []struct {
			says   string
			search ca.CertificateSearch
			want   []*ca.Certificate
		}{
			{"all", ca.CertificateSearch{At: noon}, []*ca.Certificate{c4, c3, c2, c1}},
			{"name", ca.CertificateSearch{At: noon, Name: b}, []*ca.Certificate{c2, c1}},
			{"name and page", ca.CertificateSearch{At: noon, Name: b, After: c2.Serial}, []*ca.Certificate{c1}},
			{"wildcard", ca.CertificateSearch{At: noon, Name: wild}, []*ca.Certificate{c4}},
			{"account", ca.CertificateSearch{At: noon, Account: account.ID}, []*ca.Certificate{c4, c2, c1}},
			{"no account", ca.CertificateSearch{At: noon, Account: "nobody"}, []*ca.Certificate{}},
			{"issuer", ca.CertificateSearch{At: noon, Issuer: c3.Issuer}, []*ca.Certificate{c3}},
			{"profile", ca.CertificateSearch{At: noon, Profile: "short"}, []*ca.Certificate{c4}},
			{"valid", ca.CertificateSearch{At: noon, Status: ca.CertificateValid}, []*ca.Certificate{c4, c2, c1}},
			{"the last second still is valid", ca.CertificateSearch{At: hour, Status: ca.CertificateValid}, []*ca.Certificate{c4, c2, c1}},
			{"expired", ca.CertificateSearch{At: hour.Add(time.Second), Status: ca.CertificateExpired}, []*ca.Certificate{c2}},
			{"revoked", ca.CertificateSearch{At: noon, Status: ca.CertificateRevoked}, []*ca.Certificate{c3}},
			{"reserved", ca.CertificateSearch{At: noon, Status: ca.CertificateReserved}, []*ca.Certificate{c5}},
			{"expiring", ca.CertificateSearch{At: noon, ExpiringBefore: hour.Add(time.Second)}, []*ca.Certificate{c2}},
			{"expiring, exactly", ca.CertificateSearch{At: noon, ExpiringBefore: hour}, []*ca.Certificate{}},
			{"limit", ca.CertificateSearch{At: noon, Limit: 1}, []*ca.Certificate{c4}},
			{"next page", ca.CertificateSearch{At: noon, Limit: 2, After: c4.Serial}, []*ca.Certificate{c3, c2}},
			{"all together", ca.CertificateSearch{At: noon, Name: b, Account: account.ID, Issuer: c1.Issuer, Profile: c1.Profile, Status: ca.CertificateValid, ExpiringBefore: hour.Add(time.Second)}, []*ca.Certificate{c2}},
		} {
			if c.search.Limit == 0 {
				c.search.Limit = 10
			}
			found := got[[]*ca.Certificate](t)(db.Certificates(ctx, c.search))
			if !reflect.DeepEqual(serials(found), serials(c.want)) {
				t.Errorf("%s: %v, not %v", c.says, serials(found), serials(c.want))
			}
			for _, f := range found {
				status := f.StatusAt(c.search.At)
				if c.search.Status != "" && status != c.search.Status {
					t.Errorf("%s: %s is %s", c.says, f.Serial, status)
				}
			}
		}
		if _, err := db.Certificates(ctx, ca.CertificateSearch{Status: "asleep"}); err == nil {
			t.Error("a status that there is not was searched for")
		}
	})
}

func serials(list []*ca.Certificate) []string {
	all := make([]string, len(list))
	for i, c := range list {
		all[i] = c.Serial.String()
	}
	return all
}

func TestEventsAreSearched(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		for i, e := range []event{
			{ca.System("a"), noon, "one.thing", "x", nil},
			{operator, noon.Add(time.Minute), "one.thing", "y", map[string]any{"of": 7}},
			{operator, noon.Add(time.Hour), "other.thing", "x", nil},
		} {
			if err := db.change(ctx, e, func(*tx) error { return nil }); err != nil {
				t.Fatal(i, err)
			}
		}
		all := got[[]ca.Event](t)(db.Events(ctx, ca.EventSearch{Limit: 10}))
		if len(all) != 3 || all[0].Action != "other.thing" || all[1].By != operator || all[1].Detail != `{"of":7}` || all[2].Detail != "" || !all[1].At.Equal(noon.Add(time.Minute)) {
			t.Fatalf("events: %+v", all)
		}
		for _, c := range []struct {
			search ca.EventSearch
			want   []ca.Event
		}{
			{ca.EventSearch{Action: "one.thing"}, all[1:]},
			{ca.EventSearch{Object: "x"}, []ca.Event{all[0], all[2]}},
			{ca.EventSearch{Actor: operator.ID}, all[:2]},
			{ca.EventSearch{Since: noon.Add(time.Minute)}, all[:2]},
			{ca.EventSearch{After: all[0].Seq}, all[1:]},
			{ca.EventSearch{Object: "x", Action: "one.thing", Actor: "a"}, all[2:]},
			{ca.EventSearch{Object: "z"}, []ca.Event{}},
		} {
			c.search.Limit = 10
			if found := got[[]ca.Event](t)(db.Events(ctx, c.search)); !reflect.DeepEqual(found, c.want) {
				t.Errorf("%+v: %+v, not %+v", c.search, found, c.want)
			}
		}
		if page := got[[]ca.Event](t)(db.Events(ctx, ca.EventSearch{Limit: 1})); len(page) != 1 {
			t.Errorf("a page of 1 has %d", len(page))
		}
	})
}
