package ca

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRuleTables: the tables are whole, so that no rule set decides nothing.
func TestRuleTables(t *testing.T) {
	if len(ruleSets) != decisionSets {
		t.Fatalf("%d rule sets for %d columns", len(ruleSets), decisionSets)
	}
	for i, r := range ruleSets {
		if r.column != i {
			t.Errorf("%s reads column %d", r.Name, r.column)
		}
		for what, table := range map[string][]Dated{"validity": r.MaxValidity, "reuse": r.Reuse} {
			if len(table) == 0 || !table[0].From.IsZero() || !slices.IsSortedFunc(table, func(a, b Dated) int { return a.From.Compare(b.From) }) {
				t.Errorf("%s: the table of %s does not begin with always, or is not in order", r.Name, what)
			}
			if !slices.IsSortedFunc(table, func(a, b Dated) int { return int((b.Value - a.Value) / time.Second) }) {
				t.Errorf("%s: the table of %s grows milder", r.Name, what)
			}
		}
		if found, err := RulesByName(r.Name); err != nil || found != r {
			t.Errorf("%s is not found: %v", r.Name, err)
		}
	}
	if _, err := RulesByName("public"); err == nil {
		t.Error("a rule set that does not exist was found")
	}
	if r, err := RulesByName(""); err != nil || r.Name != PrivateStrict || (&Authority{}).rules() != r {
		t.Error("the default is not private-strict")
	}
	seen := map[string]bool{}
	for _, c := range slices.Concat(nameClasses, addressClasses) {
		if seen[c.Name] || c.What == "" || c.Reference == "" || c.Why == "" || (c.holds == nil) == (len(c.prefixes) == 0) {
			t.Errorf("class %q is there twice, or not whole", c.Name)
		}
		seen[c.Name] = true
		for _, d := range c.Decisions {
			if !slices.Contains([]Decision{Permit, Listed, Refuse}, d) {
				t.Errorf("class %q: decision %q", c.Name, d)
			}
		}
		if c.Decisions[1] != Refuse {
			t.Errorf("public-tls certifies %q", c.Name)
		}
	}
	if Decision("perhaps").rank() < Refuse.rank() {
		t.Error("an unknown decision is mild")
	}
}

// TestNameRules walks names through all rule sets (SAFETY R10, R11, rows 119,
// 122, 124). y: certified, l: only when listed, n: refused; in the sequence of
// ruleSets.
func TestNameRules(t *testing.T) {
	for name, want := range map[string]string{
		"www.bank.de": "yyy", "*.bank.de": "yyy", "bank.co.uk": "yyy", "a.github.io": "yyy", "github.io": "yyy", "*.github.io": "yyy",
		"de": "lny", "co.uk": "lny", "*.de": "lny", "*.co.uk": "lny", "kawasaki.jp": "yyy", "*.kawasaki.jp": "lny", "city.kawasaki.jp": "yyy",
		"localhost": "yny", "a.localhost": "yny", "*.localhost": "yny", "db": "yny", "corp": "yny", "*.corp": "yny", "db.corp": "yny",
		"printer.local": "yny", "a.internal": "yny", "*.internal": "yny", "nas.home.arpa": "yny", "home.arpa": "yny", "*.home.arpa": "yny",
		"1.0.0.10.in-addr.arpa": "lny", "1.ip6.arpa": "lny", "arpa": "lny", "e164.arpa": "lny", "xarpa": "yny",
		"a.test": "yny", "a.example": "yny", "example.com": "yny", "a.example.org": "yny", "notexample.com": "yyy",
		"a.invalid": "nny", "invalid": "nny", "abc.onion": "nnn", "onion": "nnn", "*.onion": "nnn", "a.alt": "nnn",
		"xn--mnchen-3ya.de": "yyy", "xn--fiqs8s": "lny", "xn--nothing-4ya.xn--nothing-4ya": "yny",

		"8.8.8.8": "yyy", "2a00:1450::1": "yyy", "1.1.1.1": "yyy",
		"10.0.0.1": "yny", "172.16.0.1": "yny", "172.32.0.1": "yyy", "192.168.1.1": "yny", "fd00::1": "yny", "100.64.0.1": "yny",
		"127.0.0.1": "yny", "127.255.0.1": "yny", "::1": "yny", "192.0.2.1": "yny", "203.0.113.9": "yny", "2001:db8::1": "yny", "3fff::1": "yny",
		"198.18.0.1": "yny", "2001:2::1": "yny",
		"169.254.169.254": "nny", "fe80::1": "nny", "0.0.0.0": "nnn", "0.1.2.3": "nnn", "255.255.255.255": "nnn", "::": "nnn",
		"224.0.0.1": "nnn", "239.255.255.255": "nnn", "ff02::1": "nnn",
		"64:ff9b::a00:1": "nny", "64:ff9b:1::1": "nny", "2002:a00:1::1": "nny", "2001:0:1::1": "nny", "::a00:1": "nny",
		"192.0.0.8": "lny", "192.88.99.1": "lny", "2001:20::1": "lny", "100::1": "lny", "5f00::1": "lny", "192.31.196.1": "lny",
		"240.0.0.1": "lny", "4000::1": "lny", "fec0::1": "lny", "1::1": "lny", "fe00::1": "lny", "8000::1": "lny",
	} {
		if strings.HasPrefix(name, "xn--nothing") {
			continue // no A-label; ParseIdentifier's own test has those
		}
		if a, err := netip.ParseAddr(name); err == nil && a.String() != name {
			name = a.String()
		}
		id := ids(t, name)[0]
		for i, r := range ruleSets {
			_, got := r.classOf(id)
			wanted := map[byte]Decision{'y': Permit, 'l': Listed, 'n': Refuse}[want[i]]
			if got != wanted {
				t.Errorf("%s under %s: %q, want %q", name, r.Name, got, wanted)
			}
		}
	}
}

// TestNameRulesAreEnforced: at the order, at the CSR, and before the
// signature; with a part for each name; and an allow-list opens what is
// "if listed" and nothing that is refused.
func TestNameRulesAreEnforced(t *testing.T) {
	h := newHouse(t, "ec256")
	_, err := h.authority.Permit("", ids(t, "a.internal", "*.co.uk", "a.onion", "169.254.169.254"), time.Time{}, time.Time{}, noon)
	r := wantRefusal(t, err, RejectedIdentifier)
	if len(r.Parts) != 3 {
		t.Fatalf("refusal %+v", r)
	}
	for i, name := range ids(t, "*.co.uk", "a.onion", "169.254.169.254") {
		if *r.Parts[i].Identifier != name || r.Parts[i].Code != RejectedIdentifier || !strings.Contains(r.Parts[i].Detail, name.Value()) {
			t.Errorf("part %d: %+v", i, r.Parts[i])
		}
	}
	for _, name := range []string{"*.co.uk", "a.onion", "a.invalid", "224.0.0.1"} {
		req := h.request(t, "o", newTestKey(t, "ec256"), name)
		wantRefusal(t, h.authority.Check(req), RejectedIdentifier)
		_, err := h.authority.Issue(t.Context(), req)
		wantRefusal(t, err, RejectedIdentifier)
		// What got past the first look does not get past the second.
		p := h.authority.Profiles["server"]
		_, err = h.authority.prepare(&accepted{req, p, noon, noon.Add(p.Validity - time.Second)})
		wantRefusal(t, err, LintFailed)
	}
	p := h.authority.Profiles["server"]
	p.AllowedNames = patterns(t, "co.uk", "onion", "10.in-addr.arpa", "de")
	for name, allowed := range map[string]bool{"*.co.uk": true, "a.co.uk": true, "de": true, "1.10.in-addr.arpa": true, "a.onion": false, "11.in-addr.arpa": false, "a.internal": false} {
		_, err := h.authority.Permit("", ids(t, name), time.Time{}, time.Time{}, noon)
		if (err == nil) != allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOwnCertificateIsNotBoundByLists: Chancery's doors have the names that
// they have; nothing that names an order, an account or a person is its own.
func TestOwnCertificateIsNotBoundByLists(t *testing.T) {
	h := newHouse(t, "ec256")
	h.authority.Profiles["server"].AllowedNames = patterns(t, "corp.example")
	own := h.request(t, "", newTestKey(t, "ec256"), "localhost", "127.0.0.1")
	own.Account = ""
	if _, err := h.authority.Issue(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(r *Request){
		"an order":    func(r *Request) { r.Order = "o" },
		"an account":  func(r *Request) { r.Account = "a" },
		"an operator": func(r *Request) { r.By.Kind = ActorOperator },
	} {
		r := h.request(t, "", newTestKey(t, "ec256"), "localhost")
		r.Account = ""
		change(r)
		_, err := h.authority.Issue(t.Context(), r)
		if err == nil {
			t.Errorf("%s got a name that is not listed", what)
		}
	}
}

func patterns(t testing.TB, texts ...string) *NameList {
	t.Helper()
	var list []NamePattern
	for _, s := range texts {
		p, err := ParseNamePattern(s)
		check(t, err)
		list = append(list, p)
	}
	return NewNameList(list)
}

func TestNameLists(t *testing.T) {
	l := patterns(t, "corp.example", "=host.other.example", "=*.wild.example", "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "a.b.deep.example")
	for name, want := range map[string]string{ // holds, touches
		"corp.example": "yy", "a.corp.example": "yy", "*.corp.example": "yy", "a.b.corp.example": "yy", "xcorp.example": "nn", "example": "nn",
		"host.other.example": "yy", "a.host.other.example": "nn", "*.host.other.example": "nn", "*.other.example": "ny", "other.example": "nn",
		"*.wild.example": "yy", "a.wild.example": "nn", "wild.example": "nn",
		"*.example": "ny", "*.b.deep.example": "ny", "*.deep.example": "nn", "a.b.deep.example": "yy",
		"10.1.2.3": "yy", "11.1.2.3": "nn", "192.0.2.7": "yy", "192.0.2.8": "nn", "2001:db8::5": "yy", "2001:db9::5": "nn",
	} {
		id := ids(t, name)[0]
		_, holds := l.Holds(id)
		_, touches := l.Touches(id)
		if holds != (want[0] == 'y') || touches != (want[1] == 'y') {
			t.Errorf("%s: holds %v, touches %v, want %s", name, holds, touches, want)
		}
	}
	var none *NameList
	if _, ok := none.Holds(ids(t, "a.example")[0]); ok || len(none.Patterns()) != 0 {
		t.Error("no list holds something")
	}
	for _, bad := range []string{
		"", " ", "a.example.", "A.example", ".example", "*.example", "=", "=A", "a_b", "10.0.0.1/8", "010.0.0.0/8", "::ffff:10.0.0.0/104",
		"2001:DB8::/32", "2001:0db8::/32", "10.0.0.0/33", "münchen.example", "xn--example-", "a b", "=10.0.0.0/8", "ab--cd.example", "300.0.0.1", "#",
	} {
		if p, err := ParseNamePattern(bad); err == nil {
			t.Errorf("%q was accepted as %+v", bad, p)
		}
	}
}

// TestListsOfAProfile: deny goes before allow; both name each name at fault.
func TestListsOfAProfile(t *testing.T) {
	h := newHouse(t, "ec256")
	p := h.authority.Profiles["server"]
	p.AllowedNames, p.DeniedNames = patterns(t, "example"), patterns(t, "secret.example", "=www.example")
	h.authority.DeniedNames = patterns(t, "bank.example")
	for name, allowed := range map[string]bool{
		"a.example": true, "*.a.example": true, "secret.example": false, "x.secret.example": false, "*.secret.example": false, "www.example": false,
		"a.www.example": true, "*.example": false, "bank.example": false, "BANK.example": false, "login.bank.example": false, "a.internal": false, "10.0.0.1": false,
	} {
		_, err := h.authority.Permit("", ids(t, name), time.Time{}, time.Time{}, noon)
		if allowed {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantRefusal(t, err, RejectedIdentifier)
	}
	p.AllowedNames = NewNameList(nil)
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "allowed_names: is empty") {
		t.Errorf("an empty list of what is allowed: %v", err)
	}
}

// TestDatedNumbers: BR 6.3.2 and 4.2.1, to the second at each date.
func TestDatedNumbers(t *testing.T) {
	public := ruleSets[1]
	for _, c := range []struct {
		at              string
		validity, reuse time.Duration
	}{
		{"2020-01-01T00:00:00Z", 398 * day, 398 * day},
		{"2026-03-14T23:59:59Z", 398 * day, 398 * day},
		{"2026-03-15T00:00:00Z", 200 * day, 200 * day},
		{"2027-03-14T23:59:59Z", 200 * day, 200 * day},
		{"2027-03-15T00:00:00Z", 100 * day, 100 * day},
		{"2029-03-14T23:59:59Z", 100 * day, 100 * day},
		{"2029-03-15T00:00:00Z", 47 * day, 10 * day},
		{"2040-01-01T00:00:00Z", 47 * day, 10 * day},
	} {
		now, err := time.Parse(time.RFC3339, c.at)
		check(t, err)
		if got := public.MaxValidityAt(now); got != c.validity {
			t.Errorf("%s: validity %s, want %s", c.at, got, c.validity)
		}
		if got := public.ReuseAt(now); got != c.reuse {
			t.Errorf("%s: reuse %s, want %s", c.at, got, c.reuse)
		}
	}
}

// TestRulesCutValidity: what was not asked for is cut at the date, what was
// asked for is refused; and the second look knows the date too.
func TestRulesCutValidity(t *testing.T) {
	now := since(2029, 3, 15)
	h := newHouseAt(t, "ec256", now)
	h.authority.Rules = ruleSets[1]
	p := h.authority.Profiles["server"]
	from, to, err := h.authority.validity(p, span{}, now, p.Backdate)
	if err != nil || to.Sub(from)+time.Second != 47*day {
		t.Errorf("%s to %s, %v", from, to, err)
	}
	from, to, err = h.authority.validity(p, span{}, now.Add(-time.Second), p.Backdate)
	if err != nil || to.Sub(from)+time.Second != 90*day {
		t.Errorf("a second before: %s to %s, %v", from, to, err)
	}
	_, err = h.authority.Permit("", ids(t, "www.bank.de"), now, now.Add(47*day-time.Second), now)
	check(t, err)
	_, err = h.authority.Permit("", ids(t, "www.bank.de"), now, now.Add(47*day), now)
	wantRefusal(t, err, BadValidity)
	r := h.request(t, "o", newTestKey(t, "ec256"), "www.bank.de")
	r.proven(now)
	_, err = h.authority.prepare(&accepted{r, p, now, now.Add(47 * day)})
	if refusal := wantRefusal(t, err, LintFailed); !strings.HasSuffix(refusal.Detail, "length of the validity") {
		t.Error(refusal)
	}
}

// TestRulesOfProfiles: each thing that public-tls asks of a profile.
func TestRulesOfProfiles(t *testing.T) {
	public := func() Profile {
		p := DefaultProfile()
		p.Keys, p.Policies = slices.Clone(ruleSets[1].Keys), []string{ruleSets[1].Policy}
		return p
	}
	good := public()
	check(t, ruleSets[1].CheckProfile(&good))
	for what, c := range map[string]struct {
		change func(p *Profile)
		field  string
	}{
		"Ed25519":       {func(p *Profile) { p.Keys = append(p.Keys, "ed25519") }, "key_types"},
		"no serverAuth": {func(p *Profile) { p.ExtKeyUsages = []string{ClientAuth} }, "extended_key_usage"},
		"no policy":     {func(p *Profile) { p.Policies = nil }, "policies"},
		"two policies":  {func(p *Profile) { p.Policies = append(p.Policies, "1.2.3") }, "policies"},
		"no revocation": {func(p *Profile) { p.CRL, p.OCSP = false, false }, "crl, ocsp"},
		"no issuer":     {func(p *Profile) { p.CAIssuers = false }, "ca_issuers"},
		"CAA reported":  {func(p *Profile) { p.CAA = CAAReport }, "caa"},
		"no CAA":        {func(p *Profile) { p.CAA = CAAOff }, "caa"},
		"too long":      {func(p *Profile) { p.MaxValidity = 399 * day }, "max_validity"},
	} {
		p := public()
		c.change(&p)
		if err := ruleSets[1].CheckProfile(&p); err == nil || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s: %v", what, err)
		}
	}
	standard := DefaultProfile()
	for _, i := range []int{0, 2} {
		check(t, ruleSets[i].CheckProfile(&standard))
	}
	standard.MaxValidity = 826 * day
	if ruleSets[0].CheckProfile(&standard) == nil || ruleSets[2].CheckProfile(&standard) != nil {
		t.Error("826 days")
	}
	h := newHouse(t, "ec256")
	h.authority.Rules = ruleSets[1]
	if err := h.authority.Verify(noon); err == nil || !strings.Contains(err.Error(), "policy.rules: public-tls") {
		t.Errorf("Verify: %v", err)
	}
	h.authority.Profiles["server"] = &good
	check(t, h.authority.Verify(noon))
}

func TestPerfectPower(t *testing.T) {
	for _, c := range []struct{ bits, k int }{{683, 3}, {410, 5}, {293, 7}, {108, 19}, {40, 51}, {11, 191}, {10, 211}} {
		root := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), uint(c.bits-1)), big.NewInt(int64(7919+c.k))) //nolint:gosec // small
		if c.bits < 16 {
			root = big.NewInt(1009)
		}
		n := new(big.Int).Exp(root, big.NewInt(int64(c.k)), nil)
		if !perfectPower(n) && big.NewInt(int64(c.k)).ProbablyPrime(0) {
			t.Errorf("a number of %d bits to the power of %d was not found", c.bits, c.k)
		}
		for _, d := range []int64{-2, 2} {
			if m := new(big.Int).Add(n, big.NewInt(d)); perfectPower(m) {
				t.Errorf("%d%+d is no power", c.k, d)
			}
		}
	}
	for range 20 {
		if perfectPower(randomModulus(t, 2048)) {
			t.Error("a random modulus is a power")
		}
	}
}

func ExampleRules_classOf() {
	id, _ := ParseIdentifier("dns", "*.co.uk")
	class, decision := ruleSets[0].classOf(id)
	fmt.Println(class.Name, "-", decision)
	// Output: wildcard on a public suffix - if listed
}

func FuzzParseNamePattern(f *testing.F) {
	for _, s := range []string{"corp.example", "=host.example", "=*.a", "10.0.0.0/8", "::1", "2001:db8::/32", "=10.0.0.1", "*.a", "xn--mnchen-3ya.de", "::ffff:1.2.3.4/128"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseNamePattern(text)
		if err != nil {
			return
		}
		if p.String() != text {
			t.Errorf("%q became %q", text, p)
		}
		l := NewNameList([]NamePattern{p})
		for _, id := range ids(t, "a.example", "*.example", "10.0.0.1", "::1") {
			if _, held := l.Holds(id); held {
				if _, touched := l.Touches(id); !touched {
					t.Errorf("%q holds %s and does not touch it", text, id)
				}
			}
		}
	})
}
