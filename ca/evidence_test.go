package ca

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestIncident_I01 is the signer's part: of a hundred names each has evidence
// of its own, fresh. For each k, name k alone lacks it, or has it stale, in the
// future, another's or negative: nothing is signed, nothing reserved.
func TestIncident_I01(t *testing.T) {
	h := newHouse(t, "ec256")
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("n%d.example", i))
	}
	good := h.request(t, "order", newTestKey(t, "ec256"), names...)
	spoil := []struct {
		how    string
		code   Code
		change func(list []NameEvidence, k int) []NameEvidence
	}{
		{"missing", NotProven, func(l []NameEvidence, k int) []NameEvidence { return slices.Delete(l, k, k+1) }},
		{"not looked up", NotProven, func(l []NameEvidence, k int) []NameEvidence { l[k].CAA = nil; return l }},
		{"8 h and 1 s old", NotProven, func(l []NameEvidence, k int) []NameEvidence {
			l[k].CAA = &CAAEvidence{At: noon.Add(-CAALife - time.Second), Allowed: true}
			return l
		}},
		{"of the future", NotProven, func(l []NameEvidence, k int) []NameEvidence {
			l[k].CAA = &CAAEvidence{At: noon.Add(2 * maxSkew), Allowed: true}
			return l
		}},
		{"the neighbour's", NotProven, func(l []NameEvidence, k int) []NameEvidence { l[k] = l[(k+1)%len(l)]; return l }},
		{"forbidden", CAAForbids, func(l []NameEvidence, k int) []NameEvidence {
			l[k].CAA = &CAAEvidence{At: noon, Why: "CAA at x forbids it"}
			return l
		}},
	}
	for k, name := range good.Names {
		for _, s := range spoil {
			r := *good
			r.Evidence = s.change(slices.Clone(good.Evidence), k)
			_, err := h.authority.Issue(t.Context(), &r)
			refusal := wantRefusal(t, err, s.code)
			if refusal.Identifier == nil || *refusal.Identifier != name && s.how != "the neighbour's" {
				t.Errorf("%s of name %d: the refusal is about %v", s.how, k, refusal.Identifier)
			}
		}
	}
	if len(h.ledger.certs) != 0 {
		t.Fatalf("%d reservations", len(h.ledger.certs))
	}
	two := *good
	two.Evidence = slices.Clone(good.Evidence)
	for _, k := range []int{3, 97} {
		two.Evidence[k].CAA = &CAAEvidence{At: noon, Why: "no"}
	}
	_, err := h.authority.Issue(t.Context(), &two)
	if refusal := wantRefusal(t, err, CAAForbids); len(refusal.Parts) != 2 || *refusal.Parts[1].Identifier != good.Names[97] {
		t.Errorf("two forbidden names: %+v", refusal)
	}
	c, err := h.authority.Issue(t.Context(), good)
	check(t, err)
	h.verify(t, c, "n99.example")
	if len(h.ledger.certs) != 1 {
		t.Errorf("%d reservations", len(h.ledger.certs))
	}
}

// TestEvidenceTable: what else the signer wants of the evidence, one row each.
func TestEvidenceTable(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	for i, row := range []struct {
		what   string
		name   string
		ok     bool
		change func(e *NameEvidence)
	}{
		{"as it should be", "a.example", true, func(*NameEvidence) {}},
		{"http-01", "a.example", true, func(e *NameEvidence) { e.Method = "http-01" }},
		{"tls-alpn-01", "a.example", true, func(e *NameEvidence) { e.Method = "tls-alpn-01" }},
		{"no method", "a.example", false, func(e *NameEvidence) { e.Method = "" }},
		{"unknown method", "a.example", false, func(e *NameEvidence) { e.Method = "email-01" }},
		{"other spelling", "a.example", false, func(e *NameEvidence) { e.Method = "DNS-01" }},
		{"wildcard by dns-01", "*.a.example", true, func(*NameEvidence) {}},
		{"wildcard by http-01", "*.a.example", false, func(e *NameEvidence) { e.Method = "http-01" }},
		{"wildcard by tls-alpn-01", "*.a.example", false, func(e *NameEvidence) { e.Method = "tls-alpn-01" }},
		{"address by http-01", "192.0.2.1", true, func(*NameEvidence) {}},
		{"address by dns-01", "192.0.2.1", false, func(e *NameEvidence) { e.Method = "dns-01" }},
		{"never validated", "a.example", false, func(e *NameEvidence) { e.ValidatedAt = time.Time{} }},
		{"validated tomorrow", "a.example", false, func(e *NameEvidence) { e.ValidatedAt = noon.Add(day) }},
		{"validated by a fast clock", "a.example", true, func(e *NameEvidence) { e.ValidatedAt = noon.Add(maxSkew) }},
		{"validated 398 days ago", "a.example", true, func(e *NameEvidence) { e.ValidatedAt = noon.Add(-maxProofAge) }},
		{"validated before that", "a.example", false, func(e *NameEvidence) { e.ValidatedAt = noon.Add(-maxProofAge - time.Second) }},
		{"of the base of the wildcard", "*.a.example", false, func(e *NameEvidence) { e.Name = e.Name.Base() }},
		{"of a name that was not ordered", "a.example", false, func(e *NameEvidence) { e.Name = ids(t, "b.example")[0] }},
		{"looked up 8 h ago", "a.example", true, func(e *NameEvidence) { e.CAA = &CAAEvidence{At: noon.Add(-CAALife), Allowed: true} }},
		{"looked up for another profile", "a.example", false, func(e *NameEvidence) { e.CAA = &CAAEvidence{At: noon, Allowed: true, Require: []string{"a=b"}} }},
		{"no look below localhost", "a.localhost", true, func(e *NameEvidence) { e.CAA = nil }},
		{"no look at localhost", "localhost", true, func(e *NameEvidence) { e.CAA = nil }},
		{"no look at an address", "192.0.2.1", true, func(e *NameEvidence) { e.CAA = nil }},
		{"no look elsewhere", "localhost.example", false, func(e *NameEvidence) { e.CAA = nil }},
	} {
		r := h.request(t, fmt.Sprintf("order-%d", i), key, row.name)
		row.change(&r.Evidence[0])
		_, err := h.authority.Issue(t.Context(), r)
		switch {
		case row.ok:
			if err != nil {
				t.Errorf("%s: %v", row.what, err)
			}
		default:
			wantRefusal(t, err, NotProven)
		}
	}
	r := h.request(t, "more", key, "a.example")
	r.Evidence = append(r.Evidence, proof(ids(t, "b.example")[0], noon))
	_, err := h.authority.Issue(t.Context(), r)
	wantRefusal(t, err, NotProven)
	r = h.request(t, "twice", key, "a.example")
	r.Evidence = append(r.Evidence, r.Evidence[0])
	_, err = h.authority.Issue(t.Context(), r)
	wantRefusal(t, err, NotProven)
}

// TestEvidenceOfWhom: only Chancery's own certificate is signed without
// evidence, and an order, an account or another actor makes it somebody's.
func TestEvidenceOfWhom(t *testing.T) {
	h := newHouse(t, "ec256")
	r := h.request(t, "", newTestKey(t, "ec256"), "ca.example")
	r.Evidence, r.Account = nil, ""
	_, err := h.authority.Issue(t.Context(), r)
	check(t, err)
	for what, change := range map[string]func(r *Request){
		"an order": func(r *Request) { r.Order = "order" }, "an account": func(r *Request) { r.Account = "a" },
		"an operator": func(r *Request) { r.By = Actor{Kind: ActorOperator} }, "nobody": func(r *Request) { r.By = Actor{} },
	} {
		other := *r
		change(&other)
		if _, err := h.authority.Issue(t.Context(), &other); err == nil {
			t.Errorf("%s got a certificate without evidence", what)
		}
	}
}

// TestCAAModes: what the three modes ask for, and what is not one of them is
// the strictest.
func TestCAAModes(t *testing.T) {
	h := newHouse(t, "ec256")
	key := newTestKey(t, "ec256")
	n := 0
	issue := func(mode CAAMode, e *CAAEvidence) error {
		n++
		p := DefaultProfile()
		p.CAA = mode
		h.authority.Profiles[p.Name] = &p
		r := h.request(t, fmt.Sprint("o", n), key, "a.example")
		r.Evidence[0].CAA = e
		_, err := h.authority.Issue(t.Context(), r)
		return err
	}
	forbidden := &CAAEvidence{At: noon, Problem: "caa", Why: "no"}
	for _, row := range []struct {
		mode                       CAAMode
		forbidden, nothing, allows bool
	}{
		{CAAEnforce, false, false, true}, {CAAReport, true, false, true}, {CAAOff, true, true, true}, {"", false, false, true}, {"Off", false, false, true},
	} {
		got := []bool{issue(row.mode, forbidden) == nil, issue(row.mode, nil) == nil, issue(row.mode, &CAAEvidence{At: noon, Allowed: true}) == nil}
		if want := []bool{row.forbidden, row.nothing, row.allows}; !slices.Equal(got, want) {
			t.Errorf("mode %q: got %v, want %v", row.mode, got, want)
		}
	}
	for want, modes := range map[CAAMode][][]CAAMode{
		CAAEnforce: {{CAAEnforce}, {CAAEnforce, ""}}, CAAOff: {{CAAOff}, {CAAOff, CAAOff}},
		CAAReport: {{CAAReport}, {CAAEnforce, CAAOff}, {CAAOff, CAAReport, CAAEnforce}, {CAAEnforce, CAAReport}},
	} {
		for _, some := range modes {
			a := Authority{Profiles: map[string]*Profile{}}
			for i, mode := range some {
				a.Profiles[fmt.Sprint(i)] = &Profile{CAA: mode, CAARequire: []string{"a=b"}}
			}
			if got, err := a.CAAPolicy(""); err != nil || got.Mode != want || got.Require != nil {
				t.Errorf("of %q: %+v, %v, want %s", some, got, err, want)
			}
			if got, err := a.CAAPolicy("0"); err != nil || got.Mode == "" || len(got.Require) != 1 {
				t.Errorf("of profile 0 of %q: %+v, %v", some, got, err)
			}
		}
	}
	_, err := h.authority.CAAPolicy("none")
	wantRefusal(t, err, InvalidProfile)
}

func TestProfileCAA(t *testing.T) {
	for _, row := range []struct {
		mode    CAAMode
		require []string
		says    string
	}{
		{CAAEnforce, nil, ""},
		{CAAReport, []string{"cansignhttpexchanges=yes", "a-b=", "a=b=c"}, ""},
		{"", nil, "none of enforce, report, off"},
		{"ENFORCE", nil, "none of"},
		{CAAOff, []string{"a=b"}, "not looked up"},
		{CAAEnforce, []string{"a"}, "tag=value"},
		{CAAEnforce, []string{"A=b"}, "tag=value"},
		{CAAEnforce, []string{"-a=b"}, "tag=value"},
		{CAAEnforce, []string{"a=b;c"}, "tag=value"},
		{CAAEnforce, []string{"a=b c"}, "tag=value"},
		{CAAEnforce, slices.Repeat([]string{"a=b"}, 11), "at most 10"},
	} {
		p := DefaultProfile()
		p.CAA, p.CAARequire = row.mode, row.require
		err := p.Check()
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%q %q: got %v, want %q", row.mode, row.require, err, row.says)
		}
	}
}
