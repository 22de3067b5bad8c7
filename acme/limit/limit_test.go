package limit

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestTake(t *testing.T) {
	ten := Rate{10, 10 * time.Minute} // a token a minute
	for _, c := range []struct {
		says string
		rate Rate
		tat  time.Time
		n    int
		next time.Time
		wait time.Duration
	}{
		{"off takes nothing", Rate{}, time.Time{}, 1, time.Time{}, 0},
		{"full, no row", ten, time.Time{}, 1, noon.Add(time.Minute), 0},
		{"full since long", ten, noon.Add(-time.Hour), 1, noon.Add(time.Minute), 0},
		{"full just now", ten, noon, 1, noon.Add(time.Minute), 0},
		{"nine taken", ten, noon.Add(9 * time.Minute), 1, noon.Add(10 * time.Minute), 0},
		{"ten taken", ten, noon.Add(10 * time.Minute), 1, noon.Add(10 * time.Minute), time.Minute},
		{"ten taken, a moment ago", ten, noon.Add(10*time.Minute - time.Second), 1, noon.Add(10*time.Minute - time.Second), 59 * time.Second},
		{"several at once", ten, time.Time{}, 10, noon.Add(10 * time.Minute), 0},
		{"more than there are", ten, noon.Add(8 * time.Minute), 3, noon.Add(8 * time.Minute), time.Minute},
		{"more than ever fits", ten, time.Time{}, 11, time.Time{}, time.Minute},
		{"a TAT that this rate can't have made: one passes, the bucket is empty", ten, noon.Add(365 * 24 * time.Hour), 1, noon.Add(10 * time.Minute), 0},
		{"rounded up, never down", Rate{7, time.Second}, time.Time{}, 7, noon.Add(7 * 142857143), 0},
	} {
		next, wait := c.rate.Take(c.tat, noon, c.n)
		if wait != c.wait || !next.Equal(c.next) && wait == 0 {
			t.Errorf("%s: got %v, wait %v; want %v, wait %v", c.says, next, wait, c.next, c.wait)
		}
		if wait > 0 && !next.Equal(c.tat) {
			t.Errorf("%s: a refusal took something", c.says)
		}
	}
}

// TestNeverMoreThanTheRate: over any stretch of time, as many events pass as
// the burst and what came back meanwhile, and not one more (SAFETY row 131).
// And a refusal is never wrong: after the wait that it named, one passes.
func TestNeverMoreThanTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{Burst: rapid.IntRange(1, 50).Draw(t, "burst"), Per: time.Duration(rapid.Int64Range(int64(MinPer), int64(2*time.Hour)).Draw(t, "per"))}
		steps := rapid.SliceOfN(rapid.Int64Range(0, int64(r.Per/2)), 1, 200).Draw(t, "steps")
		var tat time.Time
		var passed []time.Time
		now := noon
		for _, s := range steps {
			if s > int64(r.Per/4) {
				s = 0 // half of the time nobody waits
			}
			now = now.Add(time.Duration(s))
			left := r.Left(tat, now)
			next, wait := r.Take(tat, now, 1)
			if (wait == 0) != (left > 0) {
				t.Fatalf("Left says %d, wait is %v", left, wait)
			}
			if wait > 0 {
				if _, again := r.Take(tat, now.Add(wait), 1); again > 0 {
					t.Fatalf("after the wait of %v it is %v more", wait, again)
				}
				if _, early := r.Take(tat, now.Add(wait-1), 1); early == 0 {
					t.Fatalf("a wait of %v is longer than needed", wait)
				}
				continue
			}
			tat = next
			passed = append(passed, now)
		}
		for i := range passed {
			for j := i; j < len(passed); j++ {
				// In exact numbers: n <= burst + time * burst / per.
				n, stretch := int64(j-i+1), int64(passed[j].Sub(passed[i]))
				if (n-int64(r.Burst))*int64(r.Per) > stretch*int64(r.Burst) {
					t.Fatalf("%d events in %v under %v", n, time.Duration(stretch), r)
				}
			}
		}
	})
}

// TestClockSetBack (SAFETY F37): a clock that goes back shuts no bucket for
// longer than its rate says, and fills none.
func TestClockSetBack(t *testing.T) {
	r := Rate{10, time.Hour}
	for _, back := range []time.Duration{time.Second, time.Hour, 365 * 24 * time.Hour} {
		tat, _ := r.Take(time.Time{}, noon, 10) // emptied
		now := noon.Add(-back)
		passed := 0
		for range 100 {
			next, wait := r.Take(tat, now, 1)
			if wait > r.Per/10+back && back < time.Hour || wait > r.Per {
				t.Errorf("%v back: a wait of %v", back, wait)
			}
			if wait == 0 {
				passed, tat = passed+1, next
			}
		}
		if passed > 1 {
			t.Errorf("%v back: %d passed an empty bucket, want at most one", back, passed)
		}
	}
}

func TestCharge(t *testing.T) {
	r := Rate{5, 5 * time.Minute}
	var tat time.Time
	for i := range 20 {
		tat = r.Charge(tat, noon)
		if left := r.Left(tat, noon); left != max(0, 4-i) {
			t.Fatalf("after %d: %d left", i+1, left)
		}
	}
	// No debts: twenty failures under a limit of five don't shut it for longer.
	if _, wait := r.Take(tat, noon, 1); wait != time.Minute {
		t.Errorf("wait %v, want 1m", wait)
	}
	if got := r.Charge(noon.Add(time.Hour), noon); !got.Equal(noon.Add(5 * time.Minute)) {
		t.Errorf("a wrong TAT stays: %v", got)
	}
	if got := (Rate{}).Charge(noon, noon); !got.Equal(noon) {
		t.Error("off charges")
	}
}

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{1, "1s"},
		{time.Second, "1s"},
		{58*time.Second + 1, "59s"},
		{time.Minute, "1m"},
		{90 * time.Second, "1m30s"},
		{time.Hour, "1h"},
		{time.Hour + 1, "1h1m"},
		{90 * time.Minute, "1h30m"},
		{24 * time.Hour, "1d"},
		{25 * time.Hour, "1d1h"},
		{7 * 24 * time.Hour, "7d"},
	} {
		if got := Span(c.d); got != c.want {
			t.Errorf("%v: got %s, want %s", int64(c.d), got, c.want)
		}
	}
	if got := (Rate{20, time.Hour}).String() + " " + (Rate{}).String(); got != "20/1h off" {
		t.Error(got)
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3::4": "2001:db8:1::/48", "2001:db8:1:ffff::1": "2001:db8:1::/48",
		"fe80::1%eth0": "fe80::/48", "": "unknown", "x": "unknown", "192.0.2.7:80": "unknown",
	} {
		if got := Network(addr); got != want {
			t.Errorf("%q: got %s, want %s", addr, got, want)
		}
	}
}

func TestDomain(t *testing.T) {
	for name, want := range map[string]string{
		"a.b.example.com": "example.com", "example.co.uk": "example.co.uk", "x.y.example.co.uk": "example.co.uk", "*.example.org": "example.org",
		"co.uk": "co.uk", "me.github.io": "me.github.io", "a.me.github.io": "me.github.io", // suffixes of companies count too
		"db1.prod.corp.internal": "corp.internal", "corp.internal": "corp.internal", "localhost": "localhost", "a.localhost": "a.localhost", "b.a.localhost": "a.localhost",
		"192.0.2.7": "192.0.2.7/32", "2001:db8:1:2::1": "2001:db8:1::/48",
	} {
		if got := Domain(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// FuzzDomain: whatever a name is, it has one bucket, and its subdomains have
// the same one.
func FuzzDomain(f *testing.F) {
	for _, s := range []string{"a.example.com", "co.uk", "*.x", "", ".", "..", "192.0.2.7", "::1", "xn--p1ai", "a.\x00.b", "0.*.0", "0.::0%0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		d := Domain(name)
		if d == "" && strings.TrimPrefix(name, "*.") != "" {
			t.Errorf("%q has no bucket", name)
		}
		if _, err := netip.ParseAddr(name); err != nil && !strings.ContainsAny(name, "*:%") && Domain(d) != d { // with those in it, it is no identifier
			t.Errorf("%q: the domain of %q is %q", name, d, Domain(d))
		}
		if Network(name) == "" {
			t.Errorf("%q has no network", name)
		}
	})
}

func TestEveryKindHasOneRow(t *testing.T) {
	seen := map[string]bool{}
	for k := range Kinds {
		row := table[k]
		if row.kind != k || row.name == "" || row.says == "" || seen[row.name] {
			t.Errorf("row %d is %+v", k, row)
		}
		seen[row.name] = true
		if got, ok := ParseKind(k.String()); !ok || got != k {
			t.Errorf("%s is parsed as %v", k, got)
		}
	}
	if _, ok := ParseKind("nope"); ok {
		t.Error("an unknown limit has a kind")
	}
}

func TestView(t *testing.T) {
	five := 5
	r := Default()
	r.Overrides = map[string]Override{
		"account:a": {Rates: map[Kind]Rate{NewOrdersPerAccount: {1, time.Hour}, FailuresPerDomain: {2, time.Hour}, FailuresPerName: {}}},
		"eab:k":     {Rates: map[Kind]Rate{NewOrdersPerAccount: {9, time.Hour}, NewAccountsPerIP: {9, time.Hour}}, Concurrent: &five},
	}
	spend := func(v View, k Kind, about string) Spend { s, _ := v.Spend(k, about); return s }
	both, plain := r.For("a", "k"), r.For("b", "")

	if got := spend(both, NewOrdersPerAccount, ""); got.Rate.Burst != 1 {
		t.Errorf("the account's exception does not go before its key's: %v", got.Rate)
	}
	if got := spend(both, NewOrdersPerAccount, ""); got.Key == spend(plain, NewOrdersPerAccount, "").Key {
		t.Error("two accounts share a bucket")
	}
	if _, limited := both.Spend(FailuresPerName, "x"); limited {
		t.Error("off limits")
	}
	if _, limited := plain.Spend(NewOrdersPerDomain, "x"); limited {
		t.Error("what is off by default limits")
	}
	if spend(both, FailuresPerDomain, "x").Key == spend(plain, FailuresPerDomain, "x").Key {
		t.Error("an exception shares the bucket of all")
	}
	if spend(r.For("c", ""), FailuresPerDomain, "x").Key != spend(plain, FailuresPerDomain, "x").Key {
		t.Error("a limit over all accounts has a bucket for each")
	}
	if spend(plain, FailuresPerName, "x").Key == spend(plain, FailuresPerName, "y").Key {
		t.Error("two names share a bucket")
	}
	if got := spend(r.For("", "k"), NewAccountsPerIP, "192.0.2.1/32"); got.Rate.Burst != 9 {
		t.Errorf("a new account's key has no exception: %v", got.Rate)
	}
	if both.Concurrent() != 5 || plain.Concurrent() != 50 {
		t.Errorf("concurrent: %d and %d", both.Concurrent(), plain.Concurrent())
	}
	var none *Rules
	if _, limited := none.For("a", "k").Spend(NewOrdersPerAccount, ""); limited || none.For("a", "").Concurrent() != 0 {
		t.Error("no rules limit")
	}
}

func TestKeysDontRunTogether(t *testing.T) {
	if newKey("a", "bc") == newKey("ab", "c") || newKey("a", "") == newKey("", "a") || newKey("a") == newKey("a", "") {
		t.Error("two lists of parts have one key")
	}
}

func TestPause(t *testing.T) {
	p := Pause{After: 3, Over: time.Hour}
	for _, c := range []struct {
		p    Pause
		run  int
		ago  time.Duration
		want bool
	}{
		{p, 2, 2 * time.Hour, false}, {p, 3, time.Hour - 1, false}, {p, 3, time.Hour, true}, {p, 300, 0, false}, {Pause{}, 300, 365 * 24 * time.Hour, false},
	} {
		if got := c.p.Due(c.run, noon.Add(-c.ago), noon); got != c.want {
			t.Errorf("%+v with %d in %v: %v", c.p, c.run, c.ago, got)
		}
	}
}

func TestExceeded(t *testing.T) {
	s := Spend{Kind: FailuresPerName, Rate: Rate{1, time.Minute}, About: "a.example"}
	tat, err := s.Take(time.Time{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Take(tat, noon)
	var e *Exceeded
	if !errors.As(err, &e) || e.Wait != time.Minute || !strings.Contains(e.Error(), "failed_validations_per_name") {
		t.Errorf("got %v", err)
	}
}
