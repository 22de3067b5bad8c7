package crl_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chancery/ca"
	"chancery/crl"
	"chancery/crl/crltest"
)

// logs keeps what was logged, for tests that want a loud failure.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

type bench struct {
	*crl.Publisher
	store  *memory
	issuer *ca.Issuer
	logs   *logs
	now    time.Time // when the test turns the clock itself
}

func config(store *memory, issuer *ca.Issuer, l *logs) crl.Config {
	return crl.Config{Store: store, Certificates: store, Issuers: []*ca.Issuer{issuer}, Log: slog.New(slog.NewTextHandler(l, nil))}
}

// newBench makes a publisher whose clock the test turns. In a synctest bubble
// use the clock of the bubble: bubble.
func newBench(t testing.TB) *bench {
	t.Helper()
	issuer := crl.SomeWorld(t, "ec256").Issuer
	b := &bench{store: newMemory(), issuer: issuer, logs: new(logs), now: crltest.Start}
	c := config(b.store, issuer, b.logs)
	c.Now = func() time.Time { return b.now }
	b.Publisher = publisher(t, c)
	return b
}

func bubble(t testing.TB, poll time.Duration) *bench {
	t.Helper()
	time.Sleep(time.Until(crltest.Start)) // bubbles begin in 2000, before any serial number
	issuer := crl.SomeWorld(t, "ec256").Issuer
	b := &bench{store: newMemory(), issuer: issuer, logs: new(logs)}
	c := config(b.store, issuer, b.logs)
	c.Poll = poll
	b.Publisher = publisher(t, c)
	return b
}

func publisher(t testing.TB, c crl.Config) *crl.Publisher {
	t.Helper()
	p, err := crl.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *bench) shard() crl.Shard { return crl.Shard{Issuer: b.issuer.ID()} }

// run runs the publisher until the test is over.
func (b *bench) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (b *bench) sync(t testing.TB) {
	t.Helper()
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// list is the served list, parsed; its signature and number are checked.
func (b *bench) list(t testing.TB) *x509.RevocationList {
	t.Helper()
	l, err := x509.ParseRevocationList(fetch(t, b.Publisher, crl.Path(b.issuer.ID())))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.CheckSignatureFrom(b.issuer.Certificate()); err != nil {
		t.Fatal(err)
	}
	// A newer list may have come in between.
	if s := b.Status()[0]; s.Number == l.Number.Int64() && (s.Entries != len(l.RevokedCertificateEntries) || s.Bytes != len(l.Raw)) || s.Number < l.Number.Int64() {
		t.Fatalf("status %+v of list %d", s, l.Number)
	}
	return l
}

func entry(l *x509.RevocationList, serial ca.Serial) *x509.RevocationListEntry {
	for i := range l.RevokedCertificateEntries {
		if l.RevokedCertificateEntries[i].SerialNumber.Cmp(serial.BigInt()) == 0 {
			return &l.RevokedCertificateEntries[i]
		}
	}
	return nil
}

func TestRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, 10*time.Second)
		b.run(t)
		numbers := map[int64]bool{}
		time.Sleep(time.Minute)
		for range 2*24*4 - 1 {
			time.Sleep(15 * time.Minute)
			l := b.list(t)
			numbers[l.Number.Int64()] = true
			if left := time.Until(l.NextUpdate); left < 17*time.Hour {
				t.Fatalf("the list runs out in %v", left)
			}
			if err := b.Fresh(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if len(numbers) != 8 {
			t.Errorf("%d lists in two days, want one every six hours", len(numbers))
		}
	})
}

func TestRevocationShowsWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, 0)
		b.run(t)
		time.Sleep(time.Hour)
		for _, kick := range []bool{true, false} {
			serial := crltest.Issue(t, b.store, b.shard(), time.Now(), time.Now().AddDate(0, 3, 0))
			crltest.Revoke(t, b.store, serial, ca.KeyCompromise, time.Now())
			began := time.Now()
			if kick {
				b.Kick()
			}
			for entry(b.list(t), serial) == nil {
				if time.Since(began) > 2*time.Second {
					t.Fatalf("kick %v: not on the list after %v", kick, time.Since(began))
				}
				time.Sleep(10 * time.Millisecond)
			}
			if e := entry(b.list(t), serial); e.ReasonCode != int(ca.KeyCompromise) || !e.RevocationTime.Equal(began.Truncate(time.Second)) {
				t.Errorf("entry %+v", e)
			}
			if kick && time.Since(began) > 50*time.Millisecond {
				t.Errorf("a kick took %v", time.Since(began))
			}
			time.Sleep(5 * time.Second)
		}
	})
}

// A thousand revocations in ten seconds share about ten lists, whose dates differ.
func TestManyRevocationsShareLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, 0)
		b.run(t)
		time.Sleep(time.Minute)
		dates, number := map[time.Time]int64{}, int64(0)
		for range 1000 {
			crltest.Revoke(t, b.store, crltest.Issue(t, b.store, b.shard(), time.Now(), time.Now().AddDate(0, 3, 0)), ca.Superseded, time.Now())
			b.Kick()
			time.Sleep(10 * time.Millisecond)
			l := b.list(t)
			if n := l.Number.Int64(); n != number {
				if n < number || dates[l.ThisUpdate] != 0 {
					t.Fatalf("list %d of %v after %d; lists of that date: %d", n, l.ThisUpdate, number, dates[l.ThisUpdate])
				}
				dates[l.ThisUpdate], number = n, n
			}
		}
		time.Sleep(2 * time.Second)
		if n := len(b.list(t).RevokedCertificateEntries); n != 1000 {
			t.Errorf("%d entries", n)
		}
		if len(dates) < 5 || len(dates) > 12 {
			t.Errorf("%d lists in ten seconds", len(dates))
		}
	})
}

// The store is away for hours: the list before is served on, trouble is logged
// at a bounded pace, and it recovers by itself.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bubble(t, 0)
		b.run(t)
		time.Sleep(time.Hour)
		before := b.list(t).Number
		b.store.setFault(func(string) error { return errors.New("no database") })
		time.Sleep(13 * time.Hour)
		if l := b.list(t); l.Number.Cmp(before) != 0 || time.Now().After(l.NextUpdate) {
			t.Errorf("list %d is served, of %v", l.Number, l.ThisUpdate)
		}
		if n := b.logs.count("level=ERROR"); n < 700 || n > 800 {
			t.Errorf("%d errors were logged in 13 hours; one a minute is right", n)
		}
		time.Sleep(2 * time.Hour)
		if err := b.Fresh(time.Now()); err == nil {
			t.Error("a list that is nine hours overdue is fresh")
		}
		b.store.setFault(nil)
		time.Sleep(2 * time.Minute)
		if l := b.list(t); l.Number.Cmp(before) <= 0 {
			t.Error("no new list after the store came back")
		}
		if err := b.Fresh(time.Now()); err != nil {
			t.Error(err)
		}
	})
}

// A fault between claim and publication costs a number and a lease, no more.
func TestFaultAtEachStep(t *testing.T) {
	for _, method := range []string{"Latest", "Due", "Begin", "Revoked", "Put"} {
		synctest.Test(t, func(t *testing.T) {
			b := bubble(t, 0)
			b.run(t)
			time.Sleep(time.Minute)
			faults := 0
			b.store.setFault(func(m string) error {
				if m == method && faults < 2 {
					faults++
					return fmt.Errorf("%s fails", m)
				}
				return nil
			})
			serial := crltest.Issue(t, b.store, b.shard(), time.Now(), time.Now().AddDate(0, 3, 0))
			crltest.Revoke(t, b.store, serial, ca.Unspecified, time.Now())
			b.Kick()
			time.Sleep(2*crl.ClaimTime + 5*time.Second)
			if entry(b.list(t), serial) == nil || faults != 2 {
				t.Errorf("%s: not on the list after %d faults", method, faults)
			}
			if s := b.Status()[0]; s.Failures != 0 || s.Err != nil {
				t.Errorf("%s: still in trouble: %+v", method, s)
			}
		})
	}
}

// The query that makes lists loses an entry (I49): nothing is published.
func TestLostEntryIsNotPublished(t *testing.T) {
	b := newBench(t)
	var serials []ca.Serial
	for range 5 {
		serial := crltest.Issue(t, b.store, b.shard(), b.now, b.now.AddDate(0, 3, 0))
		crltest.Revoke(t, b.store, serial, ca.Superseded, b.now)
		serials = append(serials, serial)
	}
	b.sync(t)
	before := b.list(t).Number
	b.store.tamper = func(all []ca.Revoked) []ca.Revoked { return append(all[:2:2], all[3:]...) }
	b.now = b.now.Add(7 * time.Hour)
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err) // there is a list to serve
	}
	if l := b.list(t); l.Number.Cmp(before) != 0 || len(l.RevokedCertificateEntries) != 5 {
		t.Errorf("list %d with %d entries was published", l.Number, len(l.RevokedCertificateEntries))
	}
	if s := b.Status()[0]; s.Err == nil || !strings.Contains(s.Err.Error(), "refused to publish") || b.logs.count("level=ERROR") != 1 {
		t.Errorf("no loud failure: %+v", s)
	}
	b.store.tamper = nil
	b.now = b.now.Add(time.Minute)
	b.sync(t)
	if l := b.list(t); l.Number.Cmp(before) <= 0 || entry(l, serials[2]) == nil || b.Status()[0].Err != nil {
		t.Error("it did not recover")
	}
}

// A stored list that was damaged is never served; a new one takes its place.
func TestDamagedListIsReplaced(t *testing.T) {
	b := newBench(t)
	serial := crltest.Issue(t, b.store, b.shard(), b.now, b.now.Add(time.Hour))
	crltest.Revoke(t, b.store, serial, ca.Superseded, b.now)
	b.sync(t)
	first := b.list(t).Number
	stored := b.store.rows[b.shard()].list
	stored.DER = append([]byte(nil), stored.DER...)
	stored.DER[len(stored.DER)/2] ^= 4
	b.now = b.now.Add(48 * time.Hour)
	stored.RefreshAt = b.now.Add(time.Hour) // not due by itself

	again := &bench{store: b.store, issuer: b.issuer, logs: new(logs)} // after a restart
	c := config(b.store, b.issuer, again.logs)
	c.Now = func() time.Time { return b.now }
	again.Publisher = publisher(t, c)
	again.sync(t)
	l := again.list(t)
	if l.Number.Cmp(first) <= 0 || entry(l, serial) == nil {
		t.Errorf("list %d after the damaged %d, with %d entries", l.Number, first, len(l.RevokedCertificateEntries))
	}
	if again.logs.count("damaged") != 1 {
		t.Errorf("logged: %s", again.logs.text.String())
	}
}

func TestClock(t *testing.T) {
	b := newBench(t)
	b.sync(t)
	revoke := func() ca.Serial {
		serial := crltest.Issue(t, b.store, b.shard(), crltest.Start, crltest.Start.AddDate(0, 3, 0))
		crltest.Revoke(t, b.store, serial, ca.Superseded, b.now)
		return serial
	}
	last := b.list(t)
	for _, back := range []time.Duration{0, time.Second, time.Minute, 50 * time.Second} {
		b.now = last.ThisUpdate.Add(1500*time.Millisecond - back)
		serial := revoke()
		b.sync(t)
		b.now = b.now.Add(crl.MinInterval)
		b.sync(t)
		l := b.list(t)
		if e := entry(l, serial); e == nil || e.RevocationTime.After(l.ThisUpdate) || !l.ThisUpdate.After(last.ThisUpdate) || l.Number.Cmp(last.Number) <= 0 {
			t.Errorf("clock %v back: list %d of %v after %d of %v", back, l.Number, l.ThisUpdate, last.Number, last.ThisUpdate)
		}
		last = l
	}
	// With the clock behind, thisUpdate can't pace the lists: they still are.
	b.now = last.ThisUpdate.Add(-time.Minute)
	for range 5 {
		revoke()
		b.sync(t)
	}
	if l := b.list(t); l.ThisUpdate.Sub(last.ThisUpdate) != time.Second {
		t.Errorf("at one instant, the lists went from %v to %v", last.ThisUpdate, l.ThisUpdate)
	}
	b.now = last.ThisUpdate
	// Another replica, whose clock is ahead, revoked: no entry is later than its list.
	b.now = b.now.Add(time.Minute)
	ahead := b.now.Add(30 * time.Second)
	serial := crltest.Issue(t, b.store, b.shard(), crltest.Start, crltest.Start.AddDate(0, 3, 0))
	crltest.Revoke(t, b.store, serial, ca.Superseded, ahead)
	b.sync(t)
	if last = b.list(t); entry(last, serial) == nil || !last.ThisUpdate.Equal(ahead.Truncate(time.Second)) {
		t.Errorf("the list is of %v, and its newest entry of %v", last.ThisUpdate, ahead)
	}
	b.now = b.now.Add(-time.Hour)
	revoke()
	b.sync(t)
	if l := b.list(t); l.Number.Cmp(last.Number) != 0 {
		t.Error("a list was made by a clock that is an hour back")
	}
	if err := b.Status()[0].Err; !errors.Is(err, crl.ErrClockBack) {
		t.Errorf("the failure is %v", err)
	}
}

// Several replicas on one store: the numbers of what is seen grow, whoever made
// it, and each replica serves the newest within a poll.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := bubble(t, 0)
		first.run(t)
		replicas := []*bench{first}
		for range 3 {
			b := &bench{store: first.store, issuer: first.issuer, logs: first.logs}
			b.Publisher = publisher(t, config(first.store, first.issuer, first.logs))
			b.run(t)
			replicas = append(replicas, b)
		}
		time.Sleep(10 * time.Second)
		seen := make([]int64, len(replicas))
		for n := range 300 {
			serial := crltest.Issue(t, first.store, first.shard(), time.Now(), time.Now().AddDate(0, 3, 0))
			crltest.Revoke(t, first.store, serial, ca.Superseded, time.Now())
			replicas[n%len(replicas)].Kick()
			time.Sleep(time.Duration(n%5) * 700 * time.Millisecond)
			for i, b := range replicas {
				number := b.list(t).Number.Int64()
				if number < seen[i] {
					t.Fatalf("replica %d went from list %d to %d", i, seen[i], number)
				}
				seen[i] = number
			}
		}
		time.Sleep(3 * time.Second)
		for i, b := range replicas {
			if l := b.list(t); len(l.RevokedCertificateEntries) != 300 || l.Number.Int64() != replicas[0].list(t).Number.Int64() {
				t.Errorf("replica %d serves list %d with %d entries", i, l.Number, len(l.RevokedCertificateEntries))
			}
		}
		if first.logs.count("level=ERROR") != 0 {
			t.Error(first.logs.text.String())
		}
	})
}

// The model of I49: over 400 days of random revocations and expiries, each list
// has every revoked certificate that is not expired, and an entry leaves only
// after it was on a list made after its expiry.
func TestEntriesStayOneListPastExpiry(t *testing.T) {
	b := newBench(t)
	random := rand.New(rand.NewPCG(1, 2))
	type fact struct {
		notAfter time.Time
		shown    bool // on a list that was made after the expiry
	}
	facts := map[ca.Serial]*fact{}
	left := 0
	for end := b.now.AddDate(0, 0, 400); b.now.Before(end); b.now = b.now.Add(time.Duration(random.IntN(18*3600)+1) * time.Second) {
		if random.IntN(20) == 0 { // nothing was running for longer than a list is valid
			b.now = b.now.Add(time.Duration(random.IntN(5*24)) * time.Hour)
		}
		for range random.IntN(4) {
			notAfter := b.now.Add(time.Duration(random.IntN(40*24*3600)+1) * time.Second)
			serial := crltest.Issue(t, b.store, b.shard(), b.now, notAfter)
			crltest.Revoke(t, b.store, serial, ca.Superseded, b.now)
			facts[serial] = &fact{notAfter: notAfter}
		}
		b.sync(t)
		l := b.list(t)
		on := map[string]bool{}
		for _, e := range l.RevokedCertificateEntries {
			on[e.SerialNumber.Text(16)] = true
		}
		for serial, f := range facts {
			switch listed := on[serial.BigInt().Text(16)]; {
			case listed && f.notAfter.Before(l.ThisUpdate):
				f.shown = true
			case !listed && !f.shown:
				t.Fatalf("%s, which expires at %v, is not on the list of %v", serial, f.notAfter, l.ThisUpdate)
			case !listed:
				delete(facts, serial)
				left++
			}
		}
	}
	if left < 300 || len(facts) > 100 {
		t.Errorf("%d entries left their lists, %d are there: nothing ever leaves?", left, len(facts))
	}
	if b.logs.count("level=ERROR") != 0 {
		t.Error(b.logs.text.String())
	}
}

func TestSync(t *testing.T) {
	b := newBench(t)
	if err := b.Fresh(b.now); err == nil {
		t.Error("fresh without a list")
	}
	b.store.setFault(func(m string) error {
		if m == "Revoked" {
			return errors.New("broken")
		}
		return nil
	})
	if err := b.Sync(context.Background()); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("Sync with a broken store: %v", err)
	}
	b.store.setFault(nil)
	// A claim of a replica that died lasts, and Sync waits no longer than its context.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	b.now = b.now.Add(2 * time.Second)
	if err := b.Sync(ctx); err == nil {
		t.Error("Sync without a list returned nil")
	}
	b.now = b.now.Add(crl.ClaimTime)
	b.sync(t)
	if err := b.Fresh(b.now); err != nil {
		t.Error(err)
	}
	if err := b.Fresh(b.now.Add(24 * time.Hour)); err == nil {
		t.Error("a list that ran out is fresh")
	}
	if age := b.Status()[0].Age(b.now.Add(time.Hour)); age < time.Hour || age > time.Hour+time.Second {
		t.Errorf("age %v", age)
	}
}

func TestNewRefuses(t *testing.T) {
	issuer := crl.SomeWorld(t, "ec256").Issuer
	for name, change := range map[string]func(*crl.Config){
		"no store":          func(c *crl.Config) { c.Store = nil },
		"no certificates":   func(c *crl.Config) { c.Certificates = nil },
		"no issuer":         func(c *crl.Config) { c.Issuers = nil },
		"a nil issuer":      func(c *crl.Config) { c.Issuers = []*ca.Issuer{nil} },
		"one issuer twice":  func(c *crl.Config) { c.Issuers = []*ca.Issuer{issuer, issuer} },
		"short validity":    func(c *crl.Config) { c.Validity = time.Hour },
		"long validity":     func(c *crl.Config) { c.Validity = 11 * 24 * time.Hour },
		"refresh too rare":  func(c *crl.Config) { c.Refresh = 7 * time.Hour },
		"refresh too often": func(c *crl.Config) { c.Refresh = time.Second },
		"negative poll":     func(c *crl.Config) { c.Poll = -1 },
	} {
		c := config(newMemory(), issuer, new(logs))
		change(&c)
		if _, err := crl.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
