// Package crltest is the conformance suite of crl.Store: what the contract
// says in words, as tests that each store runs over itself.
package crltest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"chancery/ca"
	"chancery/crl"
)

// Store is a crl.Store together with the ledger that feeds it.
type Store interface {
	crl.Store
	ca.Ledger
}

// Start is the instant at which the suite's world begins.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Run runs the suite. open returns an empty store, which it closes by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"Due":             testDue,
		"DueByRevocation": testDueByRevocation,
		"Numbers":         testNumbers,
		"OneClaim":        testOneClaim,
		"Revoked":         testRevoked,
		"RevokedEarlyEnd": testRevokedEarlyEnd,
		"PutConflict":     testPutConflict,
		"Latest":          testLatest,
		"LateRevocation":  testLateRevocation,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// By is the actor of the suite.
var By = ca.System("crl")

// Issue puts a certificate of the shard into the ledger.
func Issue(t testing.TB, l ca.Ledger, s crl.Shard, at, notAfter time.Time) ca.Serial {
	t.Helper()
	serial, err := ca.NewSerial(at, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name, err := ca.ParseIdentifier("dns", "a.example")
	if err != nil {
		t.Fatal(err)
	}
	c := &ca.Certificate{
		Serial: serial, Issuer: s.Issuer, Shard: s.Number, Profile: "server", Names: []ca.Identifier{name},
		NotBefore: at, NotAfter: notAfter, ReservedAt: at, TBS: []byte{0x30, 0x00},
	}
	if _, err := l.Reserve(context.Background(), By, c); err != nil {
		t.Fatalf("Reserve: %v", err)
	}
	signed := *c
	signed.TBS, signed.DER = nil, append([]byte{0x30, 0x10}, serial[:]...)
	if err := l.PutCertificate(context.Background(), By, &signed); err != nil {
		t.Fatalf("PutCertificate: %v", err)
	}
	return serial
}

// Revoke revokes it.
func Revoke(t testing.TB, l ca.Ledger, serial ca.Serial, reason ca.Reason, at time.Time) {
	t.Helper()
	if err := l.Revoke(context.Background(), ca.Revocation{By: By, Serial: serial, Reason: reason, At: at}); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
}

func shard(n int) crl.Shard { return crl.Shard{Issuer: "0123456789abcdef", Number: n} }

func due(t *testing.T, s Store, now time.Time, shards ...crl.Shard) []crl.Shard {
	t.Helper()
	got, err := s.Due(context.Background(), now, shards)
	if err != nil {
		t.Fatalf("Due: %v", err)
	}
	return got
}

func begin(t *testing.T, s Store, now time.Time, id crl.Shard) crl.Claim {
	t.Helper()
	c, err := s.Begin(context.Background(), now, id, now.Add(10*time.Second))
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	if c.Shard != id || c.Number <= 0 {
		t.Fatalf("Begin(%v) = %+v", id, c)
	}
	return c
}

func list(c crl.Claim, now time.Time) *crl.List {
	return &crl.List{
		Shard: c.Shard, Number: c.Number, Mark: c.Mark, ThisUpdate: now, NextUpdate: now.Add(24 * time.Hour),
		RefreshAt: now.Add(6 * time.Hour), Entries: 3, DER: []byte("list"),
	}
}

func put(t *testing.T, s Store, now time.Time, c crl.Claim) *crl.List {
	t.Helper()
	l := list(c, now)
	if err := s.Put(context.Background(), By, now, l); err != nil {
		t.Fatalf("Put: %v", err)
	}
	return l
}

func revoked(t *testing.T, s Store, id crl.Shard, since time.Time) []ca.Revoked {
	t.Helper()
	var out []ca.Revoked
	for r, err := range s.Revoked(context.Background(), id, since) {
		if err != nil {
			t.Fatalf("Revoked: %v", err)
		}
		out = append(out, r)
	}
	return out
}

func testDue(t *testing.T, s Store) {
	if got := due(t, s, Start); len(got) != 0 {
		t.Errorf("of no shards, %v are due", got)
	}
	got := due(t, s, Start, shard(0), shard(1))
	if len(got) != 2 || !slices.Contains(got, shard(0)) || !slices.Contains(got, shard(1)) {
		t.Fatalf("shards without a list: %v are due", got)
	}
	c := begin(t, s, Start, shard(0))
	if got := due(t, s, Start, shard(0), shard(1)); !slices.Equal(got, []crl.Shard{shard(1)}) {
		t.Errorf("while shard 0 is claimed, %v are due", got)
	}
	if got := due(t, s, Start.Add(10*time.Second), shard(0)); len(got) != 1 {
		t.Error("a claim that ran out still keeps the shard")
	}
	l := put(t, s, Start, c)
	for _, c := range []struct {
		at   time.Time
		want int
	}{{Start, 0}, {l.RefreshAt.Add(-time.Second), 0}, {l.RefreshAt, 1}, {l.RefreshAt.Add(time.Hour), 1}} {
		if got := due(t, s, c.at, shard(0)); len(got) != c.want {
			t.Errorf("%v after the list: %v are due, want %d", c.at.Sub(Start), got, c.want)
		}
	}
}

func testDueByRevocation(t *testing.T, s Store) {
	mine, other := Issue(t, s, shard(0), Start, Start.Add(time.Hour)), Issue(t, s, shard(1), Start, Start.Add(time.Hour))
	put(t, s, Start, begin(t, s, Start, shard(0)))
	put(t, s, Start, begin(t, s, Start, shard(1)))
	Revoke(t, s, other, ca.Superseded, Start)
	if got := due(t, s, Start, shard(0), shard(1)); !slices.Equal(got, []crl.Shard{shard(1)}) {
		t.Errorf("after a revocation in shard 1, %v are due", got)
	}
	before := begin(t, s, Start, shard(0))
	Revoke(t, s, mine, ca.Superseded, Start)
	put(t, s, Start, before)
	if got := due(t, s, Start, shard(0)); len(got) != 1 {
		t.Error("a revocation after Begin is not covered by that list, and it is not due")
	}
	c := begin(t, s, Start, shard(0))
	if c.Mark <= before.Mark {
		t.Errorf("the mark went from %d to %d over a revocation", before.Mark, c.Mark)
	}
	put(t, s, Start, c)
	if got := due(t, s, Start, shard(0)); len(got) != 0 {
		t.Error("a covered revocation is still due")
	}
	// I50: the reason changed, so the list has to.
	Revoke(t, s, mine, ca.KeyCompromise, Start.Add(time.Minute))
	if got := due(t, s, Start, shard(0)); len(got) != 1 {
		t.Error("a second revocation, for keyCompromise, makes no list due")
	}
	if err := s.Revoke(context.Background(), ca.Revocation{By: By, Serial: mine, Reason: ca.Superseded, At: Start}); !errors.Is(err, ca.ErrAlreadyRevoked) {
		t.Errorf("a third revocation: %v", err)
	}
}

func testNumbers(t *testing.T, s Store) {
	first := begin(t, s, Start, shard(0))
	if first.Number < Start.UnixMilli() {
		t.Errorf("number %d is below the time in milliseconds: it would repeat after a restore", first.Number)
	}
	if again := begin(t, s, Start.Add(10*time.Second), shard(0)); again.Number <= first.Number {
		t.Errorf("number %d after %d, which was never published", again.Number, first.Number)
	}
	late := begin(t, s, Start.Add(time.Hour), shard(0))
	// The clock goes back; the numbers don't. (A claim lasts to 10 s after
	// its Begin, so a clock behind that has to wait.)
	put(t, s, Start, late)
	if back := begin(t, s, Start, shard(0)); back.Number <= late.Number {
		t.Errorf("number %d after %d, when the clock went back", back.Number, late.Number)
	}
}

func testOneClaim(t *testing.T, s Store) {
	const replicas = 8
	var (
		mu      sync.Mutex
		numbers = map[int64]bool{}
		wg      sync.WaitGroup
	)
	for range replicas {
		wg.Go(func() {
			for n := range 10 {
				now := Start.Add(time.Duration(n) * 10 * time.Second)
				c, err := s.Begin(context.Background(), now, shard(0), now.Add(10*time.Second))
				mu.Lock()
				switch {
				case errors.Is(err, ca.ErrConflict):
				case err != nil:
					t.Errorf("Begin: %v", err)
				case numbers[c.Number]:
					t.Errorf("number %d was handed out twice", c.Number)
				default:
					numbers[c.Number] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(numbers) == 0 || len(numbers) > 10 {
		t.Errorf("%d claims were won in 10 leases", len(numbers))
	}
}

func testRevoked(t *testing.T, s Store) {
	if got := revoked(t, s, shard(0), crl.Beginning); len(got) != 0 {
		t.Fatalf("of an empty store: %v", got)
	}
	var want []ca.Revoked
	for n := range 40 {
		notAfter := Start.Add(time.Duration(n) * time.Hour)
		// In a sequence that is not the serials'.
		serial := Issue(t, s, shard(0), Start.Add(time.Duration(n*7%40)*time.Second), notAfter)
		at := Start.Add(time.Duration(n)*time.Second + 250*time.Millisecond)
		Revoke(t, s, serial, ca.Superseded, at)
		want = append(want, ca.Revoked{Serial: serial, At: at, Reason: ca.Superseded, NotAfter: notAfter})
		Issue(t, s, shard(0), Start, notAfter) // not revoked
	}
	Revoke(t, s, Issue(t, s, shard(1), Start, Start.Add(time.Hour)), ca.Unspecified, Start)
	Revoke(t, s, want[0].Serial, ca.KeyCompromise, Start.Add(time.Hour))
	want[0].Reason = ca.KeyCompromise
	slices.SortFunc(want, func(a, b ca.Revoked) int { return bytes.Compare(a.Serial[:], b.Serial[:]) })
	for _, since := range []time.Time{crl.Beginning, Start, Start.Add(20 * time.Hour), Start.Add(20*time.Hour + time.Second), Start.Add(1000 * time.Hour)} {
		expect := slices.DeleteFunc(slices.Clone(want), func(r ca.Revoked) bool { return r.NotAfter.Before(since) })
		got := revoked(t, s, shard(0), since)
		same := slices.EqualFunc(got, expect, func(a, b ca.Revoked) bool {
			return a.Serial == b.Serial && a.Reason == b.Reason && a.At.Equal(b.At) && a.NotAfter.Equal(b.NotAfter)
		})
		if !same {
			t.Errorf("since %v: got %d, want %d:\n%v\n%v", since, len(got), len(expect), got, expect)
		}
	}
}

func testRevokedEarlyEnd(t *testing.T, s Store) {
	for range 3 {
		Revoke(t, s, Issue(t, s, shard(0), Start, Start.Add(time.Hour)), ca.Unspecified, Start)
	}
	for range 20 { // more often than any pool has connections
		for _, err := range s.Revoked(context.Background(), shard(0), crl.Beginning) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	Revoke(t, s, Issue(t, s, shard(0), Start, Start.Add(time.Hour)), ca.Unspecified, Start)
	if got := revoked(t, s, shard(0), time.Time{}); len(got) != 4 {
		t.Errorf("since the zero time: %d, want 4: a list must never be short for want of an instant", len(got))
	}
	if got := revoked(t, s, shard(0), crl.Beginning); len(got) != 4 {
		t.Errorf("%d are revoked, want 4", len(got))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var last error
	for _, err := range s.Revoked(ctx, shard(0), crl.Beginning) {
		last = err
	}
	if last == nil {
		t.Error("a cancelled look ended without an error: it would pass for a whole list")
	}
}

func testPutConflict(t *testing.T, s Store) {
	slow := begin(t, s, Start, shard(0))
	later := Start.Add(10 * time.Second)
	fast := begin(t, s, later, shard(0))
	kept := put(t, s, later, fast)
	if err := s.Put(context.Background(), By, later, list(slow, later)); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("publishing %d over %d: %v", slow.Number, fast.Number, err)
	}
	if err := s.Put(context.Background(), By, later, list(fast, later.Add(time.Second))); !errors.Is(err, ca.ErrConflict) {
		t.Errorf("publishing %d twice: %v", fast.Number, err)
	}
	l, err := s.Latest(context.Background(), shard(0), 0)
	if err != nil || l.Number != kept.Number || !l.ThisUpdate.Equal(kept.ThisUpdate) {
		t.Errorf("after conflicts the list is %+v, %v", l, err)
	}
	begin(t, s, later, shard(0)) // Put ended the claim
}

func testLatest(t *testing.T, s Store) {
	ctx := context.Background()
	if _, err := s.Latest(ctx, shard(0), 0); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("before any list: %v", err)
	}
	c := begin(t, s, Start, shard(0))
	if _, err := s.Latest(ctx, shard(0), 0); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("while the first is made: %v", err)
	}
	want := put(t, s, Start, c)
	if _, err := s.Latest(ctx, shard(0), want.Number); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("nothing newer than %d: %v", want.Number, err)
	}
	if _, err := s.Latest(ctx, shard(1), 0); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("of another shard: %v", err)
	}
	got, err := s.Latest(ctx, shard(0), want.Number-1)
	if err != nil {
		t.Fatal(err)
	}
	if got.Shard != want.Shard || got.Number != want.Number || got.Entries != want.Entries || !bytes.Equal(got.DER, want.DER) ||
		!got.ThisUpdate.Equal(want.ThisUpdate) || !got.NextUpdate.Equal(want.NextUpdate) || !got.RefreshAt.Equal(want.RefreshAt) {
		t.Errorf("Latest = %+v, want %+v", got, want)
	}
}

// A revocation that comes between Begin and Revoked is on the list, and makes
// one more list due: never the other way round.
func testLateRevocation(t *testing.T, s Store) {
	serial := Issue(t, s, shard(0), Start, Start.Add(time.Hour))
	c := begin(t, s, Start, shard(0))
	Revoke(t, s, serial, ca.Unspecified, Start)
	if got := revoked(t, s, shard(0), crl.Beginning); len(got) != 1 {
		t.Errorf("%d are revoked, want 1", len(got))
	}
	put(t, s, Start, c)
	if got := due(t, s, Start, shard(0)); len(got) != 1 {
		t.Error("the shard is not due")
	}
}
