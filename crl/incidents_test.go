package crl_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chancery/ca"
	"chancery/crl"
	"chancery/crl/crltest"
)

// Public incidents of other CAs whose defence is the publisher's;
// docs/safety.md has them all.

// TestIncident_I49: an error of a sign made revoked certificates leave the CRL
// early. Against a model of its own, over most of a year: no list
// lacks what is revoked and not expired, nor what no list after its expiry
// showed. And a list that shrinks for no such reason is not published.
func TestIncident_I49(t *testing.T) {
	b := newBench(t)
	random := rand.New(rand.NewPCG(49, 1))
	expires := map[ca.Serial]time.Time{}
	shown := map[ca.Serial]bool{} // by a list that was made after its expiry
	left := 0
	for range 300 {
		b.now = b.now.Add(time.Duration(random.IntN(20*3600)+1) * time.Second)
		for range random.IntN(3) {
			notAfter := b.now.Add(time.Duration(random.IntN(60*24*3600)+1) * time.Second)
			serial := crltest.Issue(t, b.store, b.shard(), b.now, notAfter)
			crltest.Revoke(t, b.store, serial, ca.Superseded, b.now)
			expires[serial] = notAfter
		}
		b.sync(t)
		l := b.list(t)
		for serial, notAfter := range expires {
			listed := entry(l, serial) != nil
			switch {
			case listed && l.ThisUpdate.After(notAfter):
				shown[serial] = true
			case !listed && !shown[serial]:
				t.Fatalf("list %d of %v lacks %s, which expires at %v", l.Number, l.ThisUpdate, serial, notAfter)
			case !listed:
				delete(expires, serial)
				left++
			}
		}
	}
	if left < 100 {
		t.Errorf("only %d entries ever left", left)
	}
	// The look-back with the wrong sign: all that expires within ten days goes.
	before := b.list(t)
	b.store.tamper = func(all []ca.Revoked) (kept []ca.Revoked) {
		for _, r := range all {
			if r.NotAfter.After(b.now.Add(10 * 24 * time.Hour)) {
				kept = append(kept, r)
			}
		}
		return kept
	}
	b.now = b.now.Add(7 * time.Hour)
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err) // there is a list to serve
	}
	if l := b.list(t); l.Number.Cmp(before.Number) != 0 || b.Status()[0].Err == nil {
		t.Errorf("list %d with %d of %d entries was published", l.Number, len(l.RevokedCertificateEntries), len(before.RevokedCertificateEntries))
	}
}

// TestIncident_I51: two updaters moved the CRL number backwards. Five race for
// one shard, some die between claim and publication, one's clock is behind, and
// the database is set back: whatever is seen, its number only grows.
func TestIncident_I51(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := bubble(t, 0)
		benches := []*bench{first}
		for i := range 4 {
			b := &bench{store: first.store, issuer: first.issuer, logs: first.logs}
			c := config(first.store, first.issuer, first.logs)
			c.Now = func() time.Time { return time.Now().Add(time.Duration(i-2) * 20 * time.Second) }
			b.Publisher = publisher(t, c)
			benches = append(benches, b)
		}
		for _, b := range benches {
			b.run(t)
		}
		time.Sleep(30 * time.Second)
		seen := make([]int64, len(benches))
		for n := range 100 {
			crltest.Revoke(t, first.store, crltest.Issue(t, first.store, first.shard(), time.Now(), time.Now().AddDate(0, 3, 0)), ca.Superseded, time.Now())
			for _, b := range benches {
				b.Kick()
			}
			if n%50 == 7 { // a replica died with its claim
				_, _ = first.store.Begin(t.Context(), time.Now(), first.shard(), time.Now().Add(5*time.Second))
			}
			time.Sleep(time.Duration(n%4) * 500 * time.Millisecond)
			for i, b := range benches {
				number := b.list(t).Number.Int64()
				if number < seen[i] {
					t.Fatalf("replica %d went from list %d to %d", i, seen[i], number)
				}
				seen[i] = number
			}
		}
		time.Sleep(crl.ClaimTime * 2)
		last := first.list(t).Number.Int64()
		if n := len(first.list(t).RevokedCertificateEntries); n != 100 {
			t.Errorf("%d entries", n)
		}
		// A backup is restored: the row of the shard says what it said long ago.
		first.store.mu.Lock()
		row := first.store.rows[first.shard()]
		row.number, row.list = 1, nil
		first.store.mu.Unlock()
		again := &bench{store: first.store, issuer: first.issuer, logs: first.logs}
		again.Publisher = publisher(t, config(first.store, first.issuer, first.logs))
		again.run(t)
		time.Sleep(time.Minute)
		if number := again.list(t).Number.Int64(); number <= last {
			t.Errorf("after the restoring, list %d follows %d", number, last)
		}
	})
}

// TestIncident_I53: nobody noticed that answers grew old. What is served says
// itself how old it is, and readiness fails long before relying parties do;
// what is damaged in the store is replaced, and never served.
func TestIncident_I53(t *testing.T) {
	b := newBench(t)
	b.sync(t)
	made := b.now
	b.store.setFault(func(string) error { return errors.New("no database") })
	for hours := range 24 {
		b.now = made.Add(time.Duration(hours) * time.Hour)
		_ = b.Sync(context.Background())
		fresh, age := b.Fresh(b.now) == nil, b.Status()[0].Age(b.now)
		if age < time.Duration(hours)*time.Hour {
			t.Errorf("after %d hours its age is %v", hours, age)
		}
		if hours <= 6 && !fresh || hours >= 18 && fresh {
			t.Errorf("after %d hours of 24, fresh: %t", hours, fresh)
		}
	}
	b.store.setFault(nil)
	serial := crltest.Issue(t, b.store, b.shard(), crltest.Start, crltest.Start.AddDate(0, 3, 0))
	crltest.Revoke(t, b.store, serial, ca.KeyCompromise, b.now)
	b.now = b.now.Add(time.Hour)
	b.sync(t)
	for i, damage := range []func(l *crl.List){
		func(l *crl.List) { l.DER[len(l.DER)/2] ^= 1 },
		func(l *crl.List) { l.DER = nil },
		func(l *crl.List) { l.DER = l.DER[:len(l.DER)-1] },
		func(l *crl.List) { l.Entries++ },
		func(l *crl.List) { l.NextUpdate = l.NextUpdate.AddDate(1, 0, 0) },
		func(l *crl.List) { l.ThisUpdate = time.Time{} },
	} {
		stored := *b.store.rows[b.shard()].list
		stored.DER = append([]byte(nil), stored.DER...)
		damage(&stored)
		b.store.rows[b.shard()].list = &stored
		b.now = b.now.Add(time.Minute)
		again := &bench{store: b.store, issuer: b.issuer, logs: new(logs)}
		c := config(b.store, b.issuer, again.logs)
		c.Now = func() time.Time { return b.now }
		again.Publisher = publisher(t, c)
		again.sync(t)
		if entry(again.list(t), serial) == nil || again.logs.count("damaged") == 0 {
			t.Errorf("damage %d: %s", i, again.logs.text.String())
		}
	}
}

// TestIncident_I55: the database was overloaded, and with it went the status
// of all certificates. The list that was made is served without the store.
func TestIncident_I55(t *testing.T) {
	b := newBench(t)
	serial := crltest.Issue(t, b.store, b.shard(), b.now, b.now.AddDate(0, 3, 0))
	crltest.Revoke(t, b.store, serial, ca.Superseded, b.now)
	b.sync(t)
	b.store.setFault(func(string) error { return errors.New("no database") })
	for range 23 {
		b.now = b.now.Add(time.Hour)
		_ = b.Sync(context.Background())
		if l := b.list(t); entry(l, serial) == nil || b.now.After(l.NextUpdate) {
			t.Fatalf("at %v a list of %v is served", b.now, l.ThisUpdate)
		}
	}
}

// TestIncident_I57: after an upgrade nextUpdate lay too far away. The bounds
// are in the code, whatever the configuration says, and each list keeps them.
func TestIncident_I57(t *testing.T) {
	issuer := crl.SomeWorld(t, "ec256").Issuer
	for hours := range 400 {
		c := config(newMemory(), issuer, new(logs))
		c.Validity, c.Refresh = time.Duration(hours)*time.Hour, 0
		now := crltest.Start
		c.Now = func() time.Time { return now }
		p, err := crl.New(c)
		if ok := hours == 0 || hours >= 8 && hours <= 240; (err == nil) != ok {
			t.Errorf("a validity of %d hours: %v", hours, err)
			continue
		}
		if err != nil || hours%20 != 0 {
			continue
		}
		b := &bench{Publisher: p, issuer: issuer}
		b.sync(t)
		if l := b.list(t); l.NextUpdate.Sub(l.ThisUpdate) < 8*time.Hour || l.NextUpdate.Sub(l.ThisUpdate) > 10*24*time.Hour {
			t.Errorf("with %d hours, a list is from %v to %v", hours, l.ThisUpdate, l.NextUpdate)
		}
	}
}

// TestIncident_I59: support said "revoked", and for hours nobody saw it. With
// nobody kicking, on every replica, within seconds.
func TestIncident_I59(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := bubble(t, 0)
		other := &bench{store: first.store, issuer: first.issuer, logs: first.logs}
		other.Publisher = publisher(t, config(first.store, first.issuer, first.logs))
		first.run(t)
		other.run(t)
		time.Sleep(time.Hour)
		for range 50 {
			serial := crltest.Issue(t, first.store, first.shard(), time.Now(), time.Now().AddDate(0, 3, 0))
			crltest.Revoke(t, first.store, serial, ca.KeyCompromise, time.Now())
			began := time.Now()
			for entry(first.list(t), serial) == nil || entry(other.list(t), serial) == nil {
				if time.Since(began) > 5*time.Second {
					t.Fatal("after five seconds it is not on both lists")
				}
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(7 * time.Second)
		}
	})
}

// TestIncident_I62: the CRL was loaded only after the first request, which so
// passed. Here the first request of a fresh process gets no list rather than
// an empty one.
func TestIncident_I62(t *testing.T) {
	b := newBench(t)
	serial := crltest.Issue(t, b.store, b.shard(), b.now, b.now.AddDate(0, 3, 0))
	crltest.Revoke(t, b.store, serial, ca.KeyCompromise, b.now)
	b.sync(t)
	again := &bench{store: b.store, issuer: b.issuer, logs: new(logs)}
	c := config(b.store, b.issuer, again.logs)
	c.Now = func() time.Time { return b.now }
	again.Publisher = publisher(t, c)
	out := httptest.NewRecorder()
	again.Publisher.Handler().ServeHTTP(out, httptest.NewRequest(http.MethodGet, crl.Path(b.issuer.ID()), nil))
	if out.Code != http.StatusServiceUnavailable || again.Fresh(b.now) == nil {
		t.Errorf("before anything was read: status %d, fresh %v", out.Code, again.Fresh(b.now))
	}
	again.sync(t)
	if entry(again.list(t), serial) == nil {
		t.Error("the entry is not on the first list")
	}
}

// TestIncident_I94: a fail-safe of one part stopped all of it. What is wrong
// with one issuer's list stops that list.
func TestIncident_I94(t *testing.T) {
	store, l := newMemory(), new(logs)
	sick, well := crl.SomeWorld(t, "ec256").Issuer, crl.SomeWorld(t, "ec256").Issuer
	c := config(store, sick, l)
	c.Issuers = []*ca.Issuer{sick, well}
	now := crltest.Start
	c.Now = func() time.Time { return now }
	p := publisher(t, c)
	var serials []ca.Serial
	for _, issuer := range c.Issuers {
		serial := crltest.Issue(t, store, crl.Shard{Issuer: issuer.ID()}, now, now.AddDate(0, 3, 0))
		crltest.Revoke(t, store, serial, ca.Superseded, now)
		serials = append(serials, serial)
	}
	if err := p.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	before := p.Status()
	store.tamper = func(all []ca.Revoked) (kept []ca.Revoked) {
		for _, r := range all {
			if r.Serial != serials[0] {
				kept = append(kept, r)
			}
		}
		return kept
	}
	now = now.Add(7 * time.Hour)
	_ = p.Sync(context.Background())
	for i, s := range p.Status() {
		stopped := s.Number == before[i].Number
		if stopped != (i == 0) || (s.Err != nil) != (i == 0) {
			t.Errorf("issuer %d: list %d after %d, %v", i, s.Number, before[i].Number, s.Err)
		}
	}
}

// TestIncident_I98: revocations came late and in part. Ten thousand at once
// are on one list, whole, in seconds.
func TestIncident_I98(t *testing.T) {
	b := newBench(t)
	b.sync(t)
	const many = 10_000
	for range many {
		crltest.Revoke(t, b.store, crltest.Issue(t, b.store, b.shard(), crltest.Start, crltest.Start.AddDate(0, 3, 0)), ca.KeyCompromise, b.now)
	}
	b.now = b.now.Add(time.Minute)
	began := time.Now()
	b.sync(t)
	if n := len(b.list(t).RevokedCertificateEntries); n != many {
		t.Errorf("%d entries", n)
	}
	if took := time.Since(began); took > 10*time.Second { // measured: 0.2 s
		t.Errorf("the list took %s", took)
	}
	if strings.Contains(fmt.Sprint(b.Status()[0].Err), "refused") {
		t.Error(b.Status()[0].Err)
	}
}
