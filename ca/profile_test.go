package ca

import (
	"crypto/x509"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestProfileCheck(t *testing.T) {
	good := DefaultProfile()
	check(t, good.Check())
	if good.Validity != 90*24*time.Hour {
		t.Errorf("the default validity is %s", good.Validity)
	}
	for what, c := range map[string]struct {
		change func(p *Profile)
		field  string
	}{
		"no name":              {func(p *Profile) { p.Name = "" }, "name"},
		"name with a blank":    {func(p *Profile) { p.Name = "a b" }, "name"},
		"long name":            {func(p *Profile) { p.Name = strings.Repeat("a", 65) }, "name"},
		"no validity":          {func(p *Profile) { p.Validity = 0 }, "validity"},
		"validity over max":    {func(p *Profile) { p.Validity += time.Second }, "validity"},
		"fractions":            {func(p *Profile) { p.Validity -= time.Millisecond }, "validity"},
		"eleven years":         {func(p *Profile) { p.MaxValidity = 11 * 365 * day }, "max_validity"},
		"negative backdate":    {func(p *Profile) { p.Backdate = -time.Second }, "backdate"},
		"backdate of a day":    {func(p *Profile) { p.Backdate = day }, "backdate"},
		"backdate to the end":  {func(p *Profile) { p.Validity, p.Backdate = time.Hour, time.Hour }, "backdate"},
		"lead of a year":       {func(p *Profile) { p.MaxLead = 365 * day }, "max_lead"},
		"no usages":            {func(p *Profile) { p.ExtKeyUsages = nil }, "ext_key_usages"},
		"unknown usage":        {func(p *Profile) { p.ExtKeyUsages = []string{"codeSigning"} }, "ext_key_usages"},
		"usage twice":          {func(p *Profile) { p.ExtKeyUsages = []string{ServerAuth, ServerAuth} }, "ext_key_usages"},
		"no keys":              {func(p *Profile) { p.Keys = nil }, "keys"},
		"unknown key":          {func(p *Profile) { p.Keys = []string{"dsa"} }, "keys"},
		"key twice":            {func(p *Profile) { p.Keys = []string{"rsa", "rsa"} }, "keys"},
		"RSA-1024":             {func(p *Profile) { p.MinRSABits = 1024 }, "min_rsa_bits"},
		"RSA-16384":            {func(p *Profile) { p.MinRSABits = 16384 }, "min_rsa_bits"},
		"unknown common name":  {func(p *Profile) { p.CommonName = "last" }, "common_name"},
		"policy that is text":  {func(p *Profile) { p.Policies = []string{"any"} }, "policies"},
		"policy out of range":  {func(p *Profile) { p.Policies = []string{"3.1.2"} }, "policies"},
		"policy with one arc":  {func(p *Profile) { p.Policies = []string{"1"} }, "policies"},
		"policy with a zero":   {func(p *Profile) { p.Policies = []string{"1.02.3"} }, "policies"},
		"policy with two dots": {func(p *Profile) { p.Policies = []string{"1..3"} }, "policies"},
	} {
		p := DefaultProfile()
		c.change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), ": "+c.field+": ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	all := Profile{}
	if err := all.Check(); len(strings.Split(err.Error(), "\n")) < 7 {
		t.Errorf("not all mistakes are reported: %v", err)
	}
}

func TestValidity(t *testing.T) {
	p := DefaultProfile()
	p.MaxValidity = 100 * day
	issuer := &x509.Certificate{NotBefore: noon.Add(-day), NotAfter: noon.Add(200 * day)}
	var none time.Time
	for _, c := range []struct {
		what     string
		ask      span
		from, to time.Time // zero: refused
	}{
		{"nothing asked", span{}, noon.Add(-time.Minute), noon.Add(90*day - time.Minute - time.Second)},
		{"the most", span{noon, noon.Add(100*day - time.Second)}, noon, noon.Add(100*day - time.Second)},
		{"a second more", span{noon, noon.Add(100 * day)}, none, none},
		{"only the beginning", span{noon.Add(day), none}, noon.Add(day), noon.Add(91*day - time.Second)},
		{"only the end", span{none, noon.Add(day)}, noon.Add(-time.Minute), noon.Add(day)},
		{"as backdated as it may be", span{noon.Add(-time.Minute), none}, noon.Add(-time.Minute), noon.Add(90*day - time.Minute - time.Second)},
		{"more backdated", span{noon.Add(-61 * time.Second), none}, none, none},
		{"as late as it may be", span{noon.Add(7 * day), none}, noon.Add(7 * day), noon.Add(97*day - time.Second)},
		{"later", span{noon.Add(7*day + time.Second), none}, none, none},
		{"end before the beginning", span{noon.Add(day), noon}, none, none},
		{"no time at all", span{noon, noon}, none, none},
		{"in the past", span{none, noon.Add(-time.Second)}, none, none},
		{"fractions at the beginning", span{noon.Add(time.Millisecond), none}, none, none},
		{"fractions at the end", span{noon, noon.Add(day + time.Millisecond)}, none, none},
		{"year 1", span{time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), none}, none, none},
		{"year 9999", span{none, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}, none, none},
		{"year 292278", span{none, time.Date(292278, 1, 1, 0, 0, 0, 0, time.UTC)}, none, none},
	} {
		from, to, err := p.validity(c.ask, noon, p.Backdate, issuer)
		if c.from.IsZero() {
			if err == nil {
				t.Errorf("%s: given from %s to %s", c.what, from, to)
			} else {
				wantRefusal(t, err, BadValidity)
			}
			continue
		}
		if err != nil || !from.Equal(c.from) || !to.Equal(c.to) {
			t.Errorf("%s: %s to %s, %v", c.what, from, to, err)
		}
	}
}

// TestValidityInsideIssuer: what was asked for is never cut, the default is.
func TestValidityInsideIssuer(t *testing.T) {
	p := DefaultProfile()
	issuer := &x509.Certificate{NotBefore: noon, NotAfter: noon.Add(10 * day)}
	from, to, err := p.validity(span{}, noon, p.Backdate, issuer)
	if err != nil || !from.Equal(issuer.NotBefore) || !to.Equal(issuer.NotAfter) {
		t.Errorf("default: %s to %s, %v", from, to, err)
	}
	for _, ask := range []span{{noon.Add(-time.Second), time.Time{}}, {time.Time{}, noon.Add(10*day + time.Second)}} {
		_, _, err := p.validity(ask, noon, p.Backdate, issuer)
		wantRefusal(t, err, BadValidity)
	}
	_, _, err = p.validity(span{}, noon.Add(11*day), p.Backdate, issuer)
	wantRefusal(t, err, BadValidity)
}

// TestValidityIsInclusive walks through random instants until 2075 (I35).
func TestValidityIsInclusive(t *testing.T) {
	p := DefaultProfile()
	issuer := &x509.Certificate{NotBefore: noon.Add(-day), NotAfter: noon.Add(50 * 366 * day)}
	for range 200_000 {
		now := noon.Add(time.Duration(rand.Int64N(int64(49 * 365 * day))))
		from, to, err := p.validity(span{}, now, p.Backdate, issuer)
		if err != nil {
			t.Fatal(err)
		}
		if to.Sub(from)+time.Second != p.Validity || from.Nanosecond() != 0 || from.After(now) || now.Sub(from) > p.Backdate+time.Second {
			t.Fatalf("at %s: from %s to %s", now, from, to)
		}
	}
}
