package validate

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/acme"
	"chancery/ca"
)

const accountURL = "https://ca.example/acme/account/1"

// caaSet reads "flags tag value" lines, values without quotes.
func caaSet(lines ...string) []property {
	var set []property
	for _, line := range lines {
		var p property
		flags, rest, _ := strings.Cut(line, " ")
		tag, value, _ := strings.Cut(rest, " ")
		_, _ = fmt.Sscan(flags, &p.flags)
		p.tag, p.value = strings.ToLower(tag), value
		set = append(set, p)
	}
	return set
}

func us() asker {
	return asker{identities: []string{"ca.example", "alias.example"}, method: "dns-01", account: accountURL}
}

// TestCAATable: the table has a row for every case, and no other.
func TestCAATable(t *testing.T) {
	if len(caaTable) != 18 {
		t.Errorf("%d rows", len(caaTable))
	}
	for _, wildcard := range []bool{false, true} {
		for issue := absent; issue <= allows; issue++ {
			for issuewild := absent; issuewild <= allows; issuewild++ {
				if _, ok := caaTable[caaCase{wildcard, issue, issuewild}]; !ok {
					t.Errorf("no row for %v %v %v", wildcard, issue, issuewild)
				}
			}
		}
	}
}

// rfc8659 is another reading of RFC 8659 section 4: it filters records, and
// asks whether a list of them is empty or has our name in it. It knows only
// values without parameters.
func rfc8659(records []string, wildcard bool) bool {
	grantees := func(tag string) (list []string, some bool) {
		for _, r := range records {
			f := strings.Fields(r)
			if strings.EqualFold(f[1], tag) {
				some = true
				list = append(list, strings.TrimSuffix(strings.Join(f[2:], " "), ";"))
			}
		}
		return list, some
	}
	if wildcard {
		// Section 4.3: each issue property MUST be ignored if at least one issuewild property is there.
		if list, some := grantees("issuewild"); some {
			return slices.Contains(list, "ca.example")
		}
	}
	// Section 4.2, and section 4.3: issuewild MUST be ignored for a name that is no wildcard.
	list, some := grantees("issue")
	return !some || slices.Contains(list, "ca.example")
}

// combinations of issue and issuewild, each absent, ours, another's, nobody's,
// and of two of them, in both sequences: more than the 2^4 of the row.
func combinations() (all [][]string) {
	values := []string{"ca.example", "other.example", ";"}
	ways := func(tag string) [][]string {
		out := [][]string{nil}
		for _, a := range values {
			out = append(out, []string{"0 " + tag + " " + a})
			for _, b := range values {
				out = append(out, []string{"0 " + tag + " " + a, "0 " + tag + " " + b})
			}
		}
		return out
	}
	for _, issue := range ways("issue") {
		for _, wild := range ways("issuewild") {
			all = append(all, slices.Concat(issue, wild), slices.Concat(wild, issue))
		}
	}
	return all
}

func decideAll(t *testing.T, extra ...string) (n int) {
	t.Helper()
	for _, wildcard := range []bool{false, true} {
		for _, records := range combinations() {
			records = slices.Concat(records, extra)
			a := us()
			a.wildcard = wildcard
			got, why := a.decide(caaSet(records...))
			if want := rfc8659(records, wildcard); got != want {
				t.Errorf("wildcard %v, %q: got %v (%v), want %v", wildcard, records, got, why, want)
			}
			if !got && len(why) == 0 {
				t.Errorf("wildcard %v, %q: refused without a reason", wildcard, records)
			}
			n++
		}
	}
	return n
}

// TestIncident_I13: `issue ";"` holds for wildcards too when there is no
// issuewild. All combinations, against another reading of the RFC.
func TestIncident_I13(t *testing.T) {
	a := us()
	a.wildcard = true
	if ok, _ := a.decide(caaSet("0 issue ;")); ok {
		t.Error(`a wildcard passed by issue ";"`)
	}
	if n := decideAll(t); n < 16 {
		t.Errorf("%d combinations", n)
	}
}

// TestIncident_I14: records that say nothing about issuing forbid nothing,
// neither names nor wildcards.
func TestIncident_I14(t *testing.T) {
	for _, set := range [][]string{nil, {"0 iodef mailto:a@b.example"}, {"128 iodef mailto:a@b.example"}, {"0 contactemail a@b.example"}, {"0 other x"}} {
		for _, wildcard := range []bool{false, true} {
			a := us()
			a.wildcard = wildcard
			if ok, why := a.decide(caaSet(set...)); !ok {
				t.Errorf("%q, wildcard %v: refused: %v", set, wildcard, why)
			}
		}
	}
	decideAll(t, "0 iodef mailto:a@b.example", "0 other x")
}

// TestCAAValues is SAFETY rows 168 to 175 and 177.
func TestCAAValues(t *testing.T) {
	const us1 = "ca.example; "
	for _, row := range []struct {
		set  string // lines between /
		want string // "" allowed, else part of the reason
	}{
		// Row 168: the grammar of RFC 8659 section 4.2.
		{"0 issue ;", "allows nobody"},
		{"0 issue ", "allows nobody"},
		{"0 issue   ", "allows nobody"},
		{"0 issue %%%", "malformed"},
		{"0 issue  ca.example ", ""},
		{"0 issue \tca.example\t;\t", ""},
		{"0 issue CA.example", ""}, // domain names are equal in any case
		{"0 issue alias.example", ""},
		{"0 issue " + us1 + "x", "malformed"},
		{"0 issue " + us1, ""},
		{"0 issue ca.example;;", "malformed"},
		{"0 issue " + us1 + "a=b;", "malformed"},
		{"0 issue " + us1 + "=b", "malformed"},
		{"0 issue " + us1 + "a=", ""},
		{"0 issue " + us1 + "a=b c", "malformed"},
		{"0 issue " + us1 + "a b=c", "malformed"},
		{"0 issue " + us1 + "a = b ; c\t=\td", ""},
		{"0 issue " + us1 + "a=b=c", ""},
		{"0 issue " + us1 + "a=\x7f", "malformed"},
		{"0 issue " + us1 + "a=\u00fc", "malformed"},
		{"0 issue " + us1 + "a=\x00", "malformed"},
		{"0 issue ca.example.", "malformed"},
		{"0 issue .ca.example", "malformed"},
		{"0 issue ca..example", "malformed"},
		{"0 issue -ca.example", "malformed"},
		{"0 issue ca-.example", "malformed"},
		{"0 issue c_a.example", "malformed"},
		{"0 issue *.ca.example", "malformed"},
		{"0 issue https://ca.example", "malformed"},
		{"0 issue ca.example other.example", "malformed"},
		{"0 issue sub.ca.example", "another CA"},
		{"0 issue example", "another CA"},
		{"0 issue \"ca.example\"", "malformed"},
		// A bad value beside a good one forbids nothing: it is one nobody satisfies.
		{"0 issue %%%/0 issue ca.example", ""},
		// Row 169.
		{"0 issue " + us1 + "a-b=c", ""},
		{"0 issue " + us1 + "a--b=c", ""},
		{"0 issue " + us1 + "-a=c", "malformed"},
		{"0 issue " + us1 + "a-=c", "malformed"},
		{"0 issue " + us1 + "a_b=c", "malformed"},
		// Row 170.
		{"0 issuewild ;", ""},
		// Row 171: 128 is critical, and 1 is pinned to count as if it were.
		{"128 unknown x", "critical"},
		{"1 unknown x", "critical"},
		{"129 unknown x", "critical"},
		{"255 unknown x", "critical"},
		{"128 unknown x/0 issue ca.example", "critical"},
		{"0 issue ca.example/128 unknown x", "critical"},
		{"128 issue ca.example", ""},
		{"128 issue other.example", "another CA"},
		{"128 tbs x", "critical"},
		// Row 172.
		{"0 unknown x", ""},
		{"2 unknown x", ""},
		{"64 unknown x", ""},
		{"0 unknown x/0 issue ca.example", ""},
		// Row 173.
		{"128 iodef mailto:a@b.example", ""},
		{"128 issuemail ;", ""},
		{"128 contactphone 1", ""},
		// Row 177.
		{"0 ISSUE ;", "allows nobody"},
		{"0 IsSuE ca.example", ""},
		{"128 IODEF x", ""},
		// Row 174, RFC 8657 section 3.
		{"0 issue " + us1 + "accounturi=" + accountURL, ""},
		{"0 issue " + us1 + "AccountURI=" + accountURL, ""},
		{"0 issue " + us1 + "AccountURI=" + accountURL + "2", "only the account"},
		{"0 issue " + us1 + "accounturi=", "only the account"},
		{"0 issue " + us1 + "accounturi=" + accountURL + "2/0 issue " + us1 + "accounturi=" + accountURL, ""},
		// Row 175, RFC 8657 section 4.
		{"0 issue " + us1 + "validationmethods=dns-01", ""},
		{"0 issue " + us1 + "validationmethods=http-01,dns-01", ""},
		{"0 issue " + us1 + "validationmethods=ca-own,dns-01", ""},
		{"0 issue " + us1 + "validationmethods=http-01", "only the validation methods"},
		{"0 issue " + us1 + "validationmethods=unknown", "only the validation methods"},
		{"0 issue " + us1 + "validationmethods=", "only the validation methods"},
		{"0 issue " + us1 + "validationmethods=DNS-01", "only the validation methods"},
		{"0 issue " + us1 + "validationmethods=dns-01,", "malformed"},
		{"0 issue " + us1 + "validationmethods=,dns-01", "malformed"},
		{"0 issue " + us1 + "validationmethods=dns_01,dns-01", "malformed"},
		{"0 issue " + us1 + "validationmethods=dns-01 , http-01", "malformed"},
		{"0 issue " + us1 + "accounturi=" + accountURL + ";validationmethods=dns-01", ""},
		{"0 issue " + us1 + "accounturi=" + accountURL + ";validationmethods=http-01", "only the validation methods"},
		// Of other CAs, nothing is asked.
		{"0 issue other.example; accounturi=" + accountURL, "another CA"},
	} {
		ok, why := us().decide(caaSet(strings.Split(row.set, "/0 ")...))
		if strings.Contains(row.set, "/128 ") {
			a, b, _ := strings.Cut(row.set, "/128 ")
			ok, why = us().decide(caaSet(a, "128 "+b))
		} else if strings.Contains(row.set, "/0 ") {
			a, b, _ := strings.Cut(row.set, "/0 ")
			ok, why = us().decide(caaSet(a, "0 "+b))
		}
		got := strings.Join(why, "; ")
		if ok != (row.want == "") || !strings.Contains(got, row.want) || !printable(got) {
			t.Errorf("%q: got %v %q, want %q", row.set, ok, got, row.want)
		}
	}
}

// TestIncident_I17: a parameter that is there twice makes a value that nobody
// satisfies, in either sequence.
func TestIncident_I17(t *testing.T) {
	mine, other := "accounturi="+accountURL, "accounturi="+accountURL+"2"
	for _, value := range []string{
		mine + ";" + other, other + ";" + mine, mine + ";" + mine, "AccountUri=" + accountURL + "; " + other,
		"validationmethods=dns-01;validationmethods=http-01", "validationmethods=http-01;validationmethods=dns-01",
		"validationmethods=dns-01;accounturi=" + accountURL + ";validationmethods=dns-01", "a=b;a=b", "a=b;A=c",
	} {
		ok, why := us().decide(caaSet("0 issue ca.example; " + value))
		if ok || !strings.Contains(strings.Join(why, ""), "twice") {
			t.Errorf("%s: got %v %v", value, ok, why)
		}
	}
}

// TestIncident_I18: a profile may need a consent of its own. Without it, and
// without any record, it is refused.
func TestIncident_I18(t *testing.T) {
	const want = "cansignhttpexchanges=yes"
	for _, row := range []struct {
		set      []string
		wildcard bool
		ok       bool
	}{
		{nil, false, false},
		{[]string{"0 iodef mailto:a@b.example"}, false, false},
		{[]string{"0 issue ca.example"}, false, false},
		{[]string{"0 issue ca.example; cansignhttpexchanges=no"}, false, false},
		{[]string{"0 issue ca.example; cansignhttpexchanges=YES"}, false, false},
		{[]string{"0 issue other.example; " + want}, false, false},
		{[]string{"0 issuewild ca.example; " + want}, false, false},
		{[]string{"0 issue ca.example; " + want}, false, true},
		{[]string{"0 issue ca.example", "0 issue ca.example; a=b; CanSignHttpExchanges=yes"}, false, true},
		{nil, true, false},
		{[]string{"0 issuewild ca.example; " + want}, true, true},
		{[]string{"0 issue ca.example; " + want}, true, true},
		{[]string{"0 issue ca.example; " + want, "0 issuewild ca.example"}, true, false},
	} {
		a := us()
		a.require, a.wildcard = []string{want}, row.wildcard
		ok, why := a.decide(caaSet(row.set...))
		if ok != row.ok || !ok && len(why) == 0 {
			t.Errorf("%q, wildcard %v: got %v %v", row.set, row.wildcard, ok, why)
		}
	}
}

// TestIncident_I22: accounturi is this account's URL, octet for octet.
func TestIncident_I22(t *testing.T) {
	if ok, why := us().decide(caaSet("0 issue ca.example; accounturi=" + accountURL)); !ok {
		t.Fatal(why)
	}
	for _, uri := range []string{
		"https://ca.example/acme/account/2", "http://ca.example/acme/account/1", "https://ca.example:443/acme/account/1", accountURL + "/",
		"https://ca.example/ACME/account/1", "HTTPS://ca.example/acme/account/1", "https://CA.example/acme/account/1", "https://other.example/acme/account/1",
		"/acme/account/1", "https://ca.example/acme/%61ccount/1", "https://ca.example//acme/account/1", accountURL + "?", accountURL + "#", "1",
	} {
		if ok, why := us().decide(caaSet("0 issue ca.example; accounturi=" + uri)); ok || !strings.Contains(why[0], "only the account") {
			t.Errorf("%s: got %v %v", uri, ok, why)
		}
	}
	a := us()
	a.account = "" // an engine that does not say which: nobody's
	if ok, _ := a.decide(caaSet("0 issue ca.example; accounturi=")); ok {
		t.Error("no account passed for the empty one")
	}
}

// caaValidator asks the zone as the CA ca.example.
func caaValidator(t *testing.T, server string) *Validator {
	t.Helper()
	return validator(t, Config{Resolvers: []string{server}, CAAIdentities: []string{"ca.example"}, Timeout: 2 * time.Second})
}

// look asks about a name and holds what every answer must have.
func look(t *testing.T, v *Validator, name string) (*ca.CAAEvidence, *acme.Problem) {
	t.Helper()
	started := time.Now()
	e, problem := v.CheckCAA(t.Context(), acme.CAAQuestion{Name: dnsName(t, name), Method: acme.DNS01, AccountURL: accountURL})
	if took := time.Since(started); took > v.timeout+time.Second {
		t.Errorf("took %s, longer than %s", took, v.timeout)
	}
	if e == nil || e.Allowed != (problem == nil) || e.Allowed != (e.Problem == "") || e.At.Before(started.Add(-time.Second)) || len(e.Asked) > maxAsked {
		t.Fatalf("evidence %+v beside %v", e, problem)
	}
	for _, w := range append(slices.Clone(e.Asked), e.Why) {
		if !printable(w) || len(w) > maxWords {
			t.Errorf("evidence holds %q", w)
		}
	}
	if problem != nil && (!printable(problem.Detail) || len(problem.Detail) > 4<<10) {
		t.Errorf("detail %q", problem.Detail)
	}
	return e, problem
}

func wantKind(t *testing.T, problem *acme.Problem, kind acme.Kind, says ...string) {
	t.Helper()
	if problem == nil || problem.Kind != kind {
		t.Fatalf("got %v, want %v", problem, kind)
	}
	for _, s := range says {
		if !strings.Contains(problem.Detail, s) {
			t.Errorf("got %q, want it to say %q", problem.Detail, s)
		}
	}
}

// TestCAAClimbs is SAFETY rows 158 and 176, RFC 8659 section 3.
func TestCAAClimbs(t *testing.T) {
	z := startZone(t,
		"example.org. A 192.0.2.1", "org. TXT x", "internal. TXT x",
		`yes.example.org. CAA 0 issue "ca.example"`, "sub.yes.example.org. A 192.0.2.1",
		`no.example.org. CAA 0 issue "other.example"`, "a.b.no.example.org. A 192.0.2.1",
		`yes.no.example.org. CAA 0 issue "ca.example"`, "a.yes.no.example.org. A 192.0.2.1",
		`near.yes.example.org. CAA 0 iodef "mailto:a@b.example"`,
		"alias.yes.example.org. CNAME no.example.org.", "alias.no.example.org. CNAME yes.example.org.",
		"bare.no.example.org. CNAME deep.other.example.org.", "deep.other.example.org. A 192.0.2.1", `other.example.org. CAA 0 issue "ca.example"`,
		"dangling.no.example.org. CNAME gone.example.org.", "dangling.yes.example.org. CNAME gone.example.org.",
		"loop.yes.example.org. CNAME loop.yes.example.org.",
		`tld. CAA 0 issue "other.example"`,
		`*.wild.example.org. A 192.0.2.1`,
	)
	for i := range 20 {
		z.add(t, fmt.Sprintf("c%d.yes.example.org. CNAME c%d.yes.example.org.", i, i+1))
	}
	for _, row := range []struct {
		name  string
		kind  acme.Kind // 0 with ok
		ok    bool
		found string
	}{
		{"www.example.org", 0, true, ""},
		{"gone.gone.example.org", 0, true, ""}, // a name that does not exist yet, by dns-01
		{"yes.example.org", 0, true, "yes.example.org"},
		{"sub.yes.example.org", 0, true, "yes.example.org"},
		{"gone.sub.yes.example.org", 0, true, "yes.example.org"},
		{"no.example.org", acme.CAA, false, "no.example.org"},
		{"a.b.no.example.org", acme.CAA, false, "no.example.org"},
		{"*.no.example.org", acme.CAA, false, "no.example.org"},
		{"a.yes.no.example.org", 0, true, "yes.no.example.org"},   // the closest set wins,
		{"near.yes.example.org", 0, true, "near.yes.example.org"}, // also when it says nothing,
		{"alias.yes.example.org", acme.CAA, false, "alias.yes.example.org"},
		{"alias.no.example.org", 0, true, "alias.no.example.org"}, // an alias' target is asked,
		{"x.alias.no.example.org", 0, true, "alias.no.example.org"},
		{"bare.no.example.org", acme.CAA, false, "no.example.org"}, // and what stands above the target is not.
		{"dangling.no.example.org", acme.CAA, false, "no.example.org"},
		{"dangling.yes.example.org", 0, true, "yes.example.org"},
		{"loop.yes.example.org", acme.DNS, false, ""},
		{"c0.yes.example.org", acme.DNS, false, ""},
		{"a.tld", acme.CAA, false, "tld"},
		{"tld", acme.CAA, false, "tld"},
		{"host.corp.internal", 0, true, ""},
		{"host.private", 0, true, ""}, // no public top-level domain: NXDOMAIN is what it says
		{strings.Repeat("a.", 110) + "no.example.org", acme.CAA, false, "no.example.org"},
	} {
		t.Run(cut(row.name, 40), func(t *testing.T) {
			e, problem := look(t, caaValidator(t, z.addr), row.name)
			if row.ok != (problem == nil) || problem != nil && problem.Kind != row.kind || e.Found != row.found {
				t.Errorf("got %v, %+v", problem, e)
			}
		})
	}
}

// TestCAARefusalSays: who asked whom about what, which record forbids it, and
// what to change.
func TestCAARefusalSays(t *testing.T) {
	z := startZone(t, "org. TXT x", `example.org. CAA 0 issue "other.example"`, `example.org. CAA 0 issuewild ";"`)
	v := caaValidator(t, z.addr)
	_, problem := look(t, v, "www.example.org")
	wantKind(t, problem, acme.CAA, "CAA at example.org", z.addr, "certify www.example.org", `0 issue "other.example" allows another CA`, "This CA is ca.example", `add 0 issue "ca.example" at example.org`)
	if problem.HTTPStatus() != 403 {
		t.Errorf("status %d", problem.HTTPStatus())
	}
	_, problem = look(t, v, "*.example.org")
	wantKind(t, problem, acme.CAA, `0 issuewild ";" allows nobody`, `add 0 issuewild "ca.example" at example.org`)
	nobody := validator(t, Config{Resolvers: []string{z.addr}})
	_, problem = look(t, nobody, "www.example.org")
	wantKind(t, problem, acme.CAA, "acme.caa_identities")
	if e, problem := look(t, nobody, "www.example.net"); problem == nil || e.Found != "" { // net does not exist here
		t.Errorf("got %+v, %v", e, problem)
	}
	if e, problem := look(t, nobody, "www.org"); problem != nil || !e.Allowed {
		t.Errorf("without records, a CA without a name: %v", problem)
	}
}

// TestIncident_I15: an answer that says that it is cut, or is cut without
// saying so, decides nothing: over TCP it is whole, or nobody knows.
func TestIncident_I15(t *testing.T) {
	hidden := func(w dns.ResponseWriter, q *dns.Msg, network string) bool {
		if q.Question[0].Qtype != dns.TypeCAA || !strings.EqualFold(q.Question[0].Name, "a.example.") {
			return false
		}
		m := new(dns.Msg)
		m.SetReply(q)
		records := []string{`a.example. CAA 0 issue "ca.example"`, `a.example. CAA 128 unknown "x"`}
		if network == "udp" {
			records, m.Truncated = records[:1], true
		}
		for _, line := range records {
			rr, _ := dns.NewRR(line)
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
		return true
	}
	z := startZone(t, "a.example. A 192.0.2.1", "example. TXT x")
	z.play(hidden)
	_, problem := look(t, caaValidator(t, z.addr), "a.example")
	wantKind(t, problem, acme.CAA, "128 unknown", "critical")
	if !slices.Contains(z.questions(), "tcp CAA a.example") {
		t.Errorf("asked %v", z.questions())
	}
	_, problem = look(t, caaValidator(t, truncating(t, true)), "a.example")
	wantKind(t, problem, acme.DNS, "truncated answer over UDP, and over TCP sent a truncated answer")
	_, problem = look(t, caaValidator(t, truncating(t, false)), "a.example")
	wantKind(t, problem, acme.DNS, "over TCP refused the connection")

	// Two records announced, the second cut off at its beginning, no TC bit.
	short := packets(t, func(reply func([]byte), q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + ` CAA 0 issue "ca.example"`)
		m.Answer = append(m.Answer, rr)
		b, _ := m.Pack()
		b[7] = 2
		reply(b)
	})
	_, problem = look(t, caaValidator(t, short), "a.example")
	wantKind(t, problem, acme.DNS, "sent fewer records than it announced")
}

// TestIncident_I16: NXDOMAIN for what must exist is a broken resolver, not the
// absence of CAA records.
func TestIncident_I16(t *testing.T) {
	z := startZone(t, "www.example.com. A 192.0.2.1", "example.com. A 192.0.2.1", "example.co.uk. A 192.0.2.1", "uk. TXT x")
	v := caaValidator(t, z.addr)
	for name, liar := range map[string]string{"www.example.com": "com", "example.com": "com", "example.co.uk": "co.uk", "com": "com", "*.example.com": "com"} {
		_, problem := look(t, v, name)
		wantKind(t, problem, acme.DNS, "CAA "+liar+": resolver "+z.addr+" said NXDOMAIN")
	}
	z.add(t, "com. TXT x")
	if _, problem := look(t, v, "www.example.com"); problem != nil {
		t.Error(problem)
	}
	if _, problem := look(t, v, "new.gone.com"); problem != nil { // a registered domain need not exist yet
		t.Error(problem)
	}
}

// TestCAALookupFails is SAFETY rows 151 to 153, 155 and 157 for CAA: whatever
// goes wrong is not a permission, also when it goes wrong above the name only.
func TestCAALookupFails(t *testing.T) {
	rcodeZone := func(code int, at string) string {
		z := startZone(t, "www.a.example. A 192.0.2.1", "a.example. A 192.0.2.1", "example. TXT x")
		z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
			if at != "" && canonical(q.Question[0].Name) != at {
				return false
			}
			m := new(dns.Msg)
			m.SetRcode(q, code)
			_ = w.WriteMsg(m)
			return true
		})
		return z.addr
	}
	raw := func(b string) string {
		return packets(t, func(reply func([]byte), q *dns.Msg) {
			reply(append([]byte{byte(q.Id >> 8), byte(q.Id)}, b...))
		})
	}
	for name, row := range map[string]struct{ server, says string }{
		"SERVFAIL":            {rcodeZone(dns.RcodeServerFailure, ""), "SERVFAIL"},
		"REFUSED":             {rcodeZone(dns.RcodeRefused, ""), "REFUSED"},
		"FORMERR":             {rcodeZone(dns.RcodeFormatError, ""), "FORMERR"},
		"NOTIMP":              {rcodeZone(dns.RcodeNotImplemented, ""), "NOTIMP"},
		"SERVFAIL above":      {rcodeZone(dns.RcodeServerFailure, "a.example"), "CAA a.example"},
		"SERVFAIL at its top": {rcodeZone(dns.RcodeServerFailure, "example"), "CAA example"},
		"silent":              {silent(t), "did not answer in time"},
		"closed":              {closed(t), "refused the connection"},
		"nonsense":            {raw("\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00nonsense"), "can't be parsed"},
		"4000 records":        {raw("\x81\x80\x00\x01\x0f\xa0\x00\x00\x00\x00"), "4000 records"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problem := look(t, caaValidator(t, row.server), "www.a.example")
			wantKind(t, problem, acme.DNS, row.says)
		})
	}
	t.Run("the closest set is enough", func(t *testing.T) {
		z := startZone(t, `www.a.example. CAA 0 issue "ca.example"`)
		z.play(func(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
			return canonical(q.Question[0].Name) != "www.a.example" // silence
		})
		if _, problem := look(t, caaValidator(t, z.addr), "www.a.example"); problem != nil {
			t.Error(problem)
		}
	})
}

// TestMalformedCAA is SAFETY row 178, on the wire.
func TestMalformedCAA(t *testing.T) {
	for name, rdata := range map[string]string{
		"tag length 0":  "\x00\x00x",
		"tag of 16":     "\x00\x10aaaaaaaaaaaaaaaax",
		"tag of 255":    "\x00\xff" + strings.Repeat("a", 255),
		"tag too long":  "\x00\x20issue",
		"tag with dash": "\x00\x05is-ueca.example",
		"tag with NUL":  "\x00\x05iss\x00eca.example",
		"tag with ü":    "\x00\x06iss\xc3\xbceca.example",
		"flags only":    "\x00",
		"nothing":       "",
		"value of 5000": "\x00\x05issue" + strings.Repeat("x", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := startZone(t, "a.example. A 192.0.2.1")
			z.play(func(w dns.ResponseWriter, q *dns.Msg, network string) bool {
				m := new(dns.Msg)
				m.SetReply(q)
				m.Truncated = network == "udp" && len(rdata) > 1000
				if !m.Truncated {
					m.Answer = append(m.Answer, &dns.RFC3597{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeCAA, Class: dns.ClassINET}, Rdata: fmt.Sprintf("%x", rdata)})
				}
				_ = w.WriteMsg(m)
				return true
			})
			_, problem := look(t, caaValidator(t, z.addr), "a.example")
			wantKind(t, problem, acme.DNS, z.addr)
		})
	}
}

// TestCAAWithTheChallenge: an attempt looks at CAA records beside the
// challenge, and their word counts as its mode says.
func TestCAAWithTheChallenge(t *testing.T) {
	digest := txtDigest()
	z := startZone(t, "org. TXT x", `_acme-challenge.no.example.org. TXT "`+digest+`"`, `no.example.org. CAA 0 issue "other.example"`,
		`_acme-challenge.yes.example.org. TXT "`+digest+`"`, `yes.example.org. CAA 0 issue "ca.example; accounturi=`+accountURL+`; validationmethods=dns-01"`,
		`wild.example.org. CAA 0 issue "ca.example"`, `wild.example.org. CAA 0 issuewild ";"`, `_acme-challenge.wild.example.org. TXT "`+digest+`"`)
	v := caaValidator(t, z.addr)
	for _, row := range []struct {
		name     string
		wildcard bool
		mode     ca.CAAMode
		kind     acme.Kind
		ok       bool
		allowed  string // "", "yes", "no": the evidence
	}{
		{"no.example.org", false, "", 0, true, ""},
		{"no.example.org", false, ca.CAAOff, 0, true, ""},
		{"no.example.org", false, ca.CAAReport, 0, true, "no"},
		{"no.example.org", false, ca.CAAEnforce, acme.CAA, false, "no"},
		{"yes.example.org", false, ca.CAAEnforce, 0, true, "yes"},
		{"wild.example.org", false, ca.CAAEnforce, 0, true, "yes"},
		{"wild.example.org", true, ca.CAAEnforce, acme.CAA, false, "no"},
		{"none.example.org", false, ca.CAAEnforce, acme.DNS, false, "yes"}, // the challenge's own problem
	} {
		a := attemptAt(acme.DNS01, dnsName(t, row.name))
		a.Wildcard, a.CAA, a.AccountURL = row.wildcard, row.mode, accountURL
		e, problem := v.Validate(t.Context(), a)
		if row.ok != (problem == nil) || problem != nil && problem.Kind != row.kind {
			t.Errorf("%+v: got %v", row, problem)
		}
		switch {
		case (e.CAA == nil) != (row.allowed == ""), e.CAA != nil && e.CAA.Allowed != (row.allowed == "yes"):
			t.Errorf("%+v: evidence %+v", row, e.CAA)
		case row.allowed == "no" && (e.CAA.Problem != "caa" || !strings.Contains(e.CAA.Why, row.name)):
			t.Errorf("%+v: evidence %+v", row, e.CAA)
		}
	}
	web := serveRaw(t, "127.0.0.1:0", func(c net.Conn) { _ = c.Close() })
	for _, id := range []ca.Identifier{ipName(t, "127.0.0.1"), dnsName(t, "my.localhost")} { // no DNS knows them
		before := len(z.questions())
		a := attemptAt(acme.HTTP01, id)
		a.CAA = ca.CAAEnforce
		local := validator(t, Config{Resolvers: []string{z.addr}, CAAIdentities: []string{"ca.example"}, HTTPPort: web})
		if e, _ := local.Validate(t.Context(), a); e.CAA != nil || len(z.questions()) != before {
			t.Errorf("%s: looked for CAA records: %v", id, z.questions())
		}
		if e, problem := local.CheckCAA(t.Context(), acme.CAAQuestion{Name: id}); problem != nil || !e.Allowed || len(z.questions()) != before {
			t.Errorf("%s: %v", id, problem)
		}
	}
}

// FuzzCAAValue: any value. What is accepted must be in the grammar by another
// reading of it, and no reason ever holds what a terminal would obey.
func FuzzCAAValue(f *testing.F) {
	for _, s := range []string{
		"ca.example", "", ";", " ca.example ", "CA.EXAMPLE;", "ca.example; a=b", "ca.example; accounturi=" + accountURL, "ca.example;validationmethods=dns-01,http-01",
		"ca.example; a=b; a=b", "ca.example; a-b = c ", "%%%", "ca.example;;", "\x00", "ca.example; a=\x1b[31m",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, wildcard := range []bool{false, true} {
			a := us()
			a.wildcard = wildcard
			ok, why := a.decide([]property{{tag: "issue", value: value}})
			if ok && !grammar(value) {
				t.Errorf("took %q", value)
			}
			if ok == (len(why) > 0) || !printable(strings.Join(why, "")) || len(strings.Join(why, "")) > 2000 {
				t.Errorf("%q: %v %q", value, ok, why)
			}
		}
		if _, err := parseConsent(value); (err == nil) != grammar(value) && (err == nil || !strings.Contains(err.Error(), "twice")) {
			t.Errorf("%q: parsed %v, grammar says %v", value, err, grammar(value))
		}
	})
}
