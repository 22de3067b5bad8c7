package acme

import (
	"encoding/base64"
	"testing"
	"time"

	"chancery/ca"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestOrderStatus(t *testing.T) {
	pending := &Authorization{ExpiresAt: noon.Add(time.Hour)}
	valid := &Authorization{ExpiresAt: noon.Add(time.Hour), ValidatedAt: noon}
	failed := &Authorization{ExpiresAt: noon.Add(time.Hour), Error: Problemf(DNS, "x")}
	lapsed := &Authorization{ExpiresAt: noon, ValidatedAt: noon.Add(-time.Hour)}
	given := &Authorization{ExpiresAt: noon.Add(time.Hour), ValidatedAt: noon, DeactivatedAt: noon}
	later := noon.Add(time.Hour)
	for _, c := range []struct {
		name  string
		order Order
		want  Status
	}{
		{"nothing proven", Order{ExpiresAt: later, Authorizations: []*Authorization{valid, pending}}, StatusPending},
		{"all proven", Order{ExpiresAt: later, Authorizations: []*Authorization{valid, valid}}, StatusReady},
		{"one failed", Order{ExpiresAt: later, Authorizations: []*Authorization{valid, failed, pending}}, StatusInvalid},
		{"one lapsed", Order{ExpiresAt: later, Authorizations: []*Authorization{valid, lapsed}}, StatusInvalid},
		{"one given up", Order{ExpiresAt: later, Authorizations: []*Authorization{given}}, StatusInvalid},
		{"expired when ready", Order{ExpiresAt: noon, Authorizations: []*Authorization{valid}}, StatusInvalid},
		{"begun", Order{ExpiresAt: later, BeganAt: noon, Authorizations: []*Authorization{valid}}, StatusProcessing},
		{"begun, then expired", Order{ExpiresAt: noon, BeganAt: noon.Add(-time.Second)}, StatusProcessing},
		{"begun, then an authorization lapsed", Order{ExpiresAt: later, BeganAt: noon, Authorizations: []*Authorization{lapsed}}, StatusProcessing},
		{"issued", Order{ExpiresAt: noon, BeganAt: noon, Certificate: ca.Serial{1}}, StatusValid},
		{"refused", Order{ExpiresAt: later, BeganAt: noon, Error: Problemf(BadCSR, "x")}, StatusInvalid},
	} {
		if got := c.order.StatusAt(noon); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestAuthorizationStatus(t *testing.T) {
	later := noon.Add(time.Hour)
	for _, c := range []struct {
		name      string
		a         Authorization
		want      Status
		challenge Status // of http-01
	}{
		{"offered", Authorization{ExpiresAt: later}, StatusPending, StatusPending},
		{"lapsed before any answer", Authorization{ExpiresAt: noon}, StatusInvalid, StatusPending},
		{"attempted", Authorization{ExpiresAt: later, Attempt: HTTP01}, StatusPending, StatusProcessing},
		{"another one attempted", Authorization{ExpiresAt: later, Attempt: DNS01}, StatusPending, StatusPending},
		{"failed", Authorization{ExpiresAt: later, Attempt: HTTP01, Error: Problemf(DNS, "x")}, StatusInvalid, StatusInvalid},
		{"proven", Authorization{ExpiresAt: later, Attempt: HTTP01, ValidatedAt: noon}, StatusValid, StatusValid},
		{"lapsed", Authorization{ExpiresAt: noon, Attempt: HTTP01, ValidatedAt: noon.Add(-time.Hour)}, StatusExpired, StatusValid},
		{"given up", Authorization{ExpiresAt: later, Attempt: HTTP01, ValidatedAt: noon, DeactivatedAt: noon}, StatusDeactivated, StatusValid},
	} {
		if got := c.a.StatusAt(noon); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := c.a.ChallengeStatus(HTTP01); got != c.challenge {
			t.Errorf("%s: challenge %s, want %s", c.name, got, c.challenge)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	a, b := &Authorization{Seed: [32]byte{1}}, &Authorization{Seed: [32]byte{2}}
	seen := map[string]bool{}
	for _, z := range []*Authorization{a, b} {
		for _, typ := range []ChallengeType{HTTP01, DNS01, TLSALPN01} {
			token := z.Token(typ)
			if len(token) != 43 || seen[token] {
				t.Errorf("token %q is short or not the only one", token)
			}
			seen[token] = true
		}
	}
}

func TestNewIDsGrowAndAreValid(t *testing.T) {
	last := ""
	for i := range 100 {
		id := newID(noon.Add(time.Duration(i) * time.Millisecond))
		if !ValidID(id) {
			t.Fatalf("%q is not valid", id)
		}
		if i > 0 && last == id {
			t.Fatalf("%q came twice", id)
		}
		last = id
	}
	for _, bad := range []string{"", "short", last + "A", last[:21] + "!", last[:21] + "/", last[:20] + "\n\n", "../../../../../etc/pas"} {
		if ValidID(bad) {
			t.Errorf("%q is valid", bad)
		}
	}
}

func TestCheckContact(t *testing.T) {
	many := make([]string, maxContacts+1)
	for i := range many {
		many[i] = "mailto:a@b.example"
	}
	for _, c := range []struct {
		contact []string
		want    Kind
		ok      bool
	}{
		{nil, 0, true},
		{[]string{"mailto:admin@example.org", "MAILTO:a.b+c@x.example"}, 0, true},
		{[]string{"tel:+12025551212"}, UnsupportedContact, false},
		{[]string{"https://example.org"}, UnsupportedContact, false},
		{[]string{"admin@example.org"}, UnsupportedContact, false},
		{[]string{""}, UnsupportedContact, false},
		{[]string{"mailto:"}, InvalidContact, false},
		{[]string{"mailto:admin"}, InvalidContact, false},
		{[]string{"mailto:a@b.example,c@d.example"}, InvalidContact, false},
		{[]string{"mailto:a@b.example?subject=x"}, InvalidContact, false},
		{[]string{"mailto:a@b.example#x"}, InvalidContact, false},
		{[]string{"mailto:a%40b@b.example"}, InvalidContact, false},
		{[]string{"mailto:a@b.example\r\nX: y"}, InvalidContact, false},
		{[]string{"mailto:ü@b.example"}, InvalidContact, false},
		{[]string{"mailto:Name <a@b.example>"}, InvalidContact, false},
		{[]string{"mailto:a@münchen.example"}, InvalidContact, false},
		{[]string{"mailto:a@*.b.example"}, InvalidContact, false},
		{many, InvalidContact, false},
	} {
		err := CheckContact(c.contact)
		if c.ok != (err == nil) {
			t.Errorf("%q: %v", c.contact, err)
		} else if p := AsProblem(err); !c.ok && p.Kind != c.want {
			t.Errorf("%q: %v, want %v", c.contact, p, c.want)
		}
	}
}

// TestExternalSecretsAreNoOptions: `certbot --eab-hmac-key -abc` is a usage
// error, and one key in 64 began so.
func TestExternalSecretsAreNoOptions(t *testing.T) {
	for range 2000 {
		if text := base64.RawURLEncoding.EncodeToString(newExternalSecret()); text[0] == '-' {
			t.Fatalf("%s begins with a hyphen", text)
		}
	}
}
