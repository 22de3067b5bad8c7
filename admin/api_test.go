package admin_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/admin"
	"chancery/ca"
)

type (
	certificates = admin.Page[admin.Certificate]
	accounts     = admin.Page[admin.Account]
	orders       = admin.Page[admin.Order]
	events       = admin.Page[admin.Event]
	externalKeys = admin.Page[admin.ExternalKey]
)

// TestCertificateLife lists, shows and revokes, and reads the trail of it.
func TestCertificateLife(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	o := w.obtain(c, "a.example", "*.a.example")
	serial := o.Certificate.String()

	list := get[certificates](w, "/api/v1/certificates")
	if len(list.Items) != 1 || list.Next != "" {
		t.Fatalf("list %+v", list)
	}
	got := list.Items[0]
	if got.Serial != serial || strings.Join(got.Names, " ") != "a.example *.a.example" || got.Status != "valid" || got.Account != c.Account.ID ||
		got.Order != o.ID || got.Issuer != w.issuer.ID() || got.Profile != o.Profile || !got.RevokedAt.IsZero() || got.Reason != "" {
		t.Errorf("listed %+v", got)
	}
	cert := leaf(t, w.call(200, "GET", "/api/v1/certificates/"+serial+"/chain", ""))
	if fmt.Sprintf("%032x", cert.SerialNumber) != serial || !cert.NotAfter.Equal(got.NotAfter) || !cert.NotBefore.Equal(got.NotBefore) {
		t.Errorf("the chain is of another certificate: %v", cert.SerialNumber)
	}
	shown := get[admin.CertificateDetail](w, "/api/v1/certificates/"+serial)
	if shown.Key != "ECDSA P-256" || len(shown.Fingerprint) != 64 || len(shown.SPKI) != 64 {
		t.Errorf("shown %+v", shown)
	}

	w.call(400, "POST", "/api/v1/certificates/"+serial+"/revoke", `{"reason":"cACompromise"}`)
	w.call(404, "POST", "/api/v1/certificates/0199aa00bb11cc22dd33ee44ff556677/revoke", `{}`)
	w.call(200, "POST", "/api/v1/certificates/"+serial+"/revoke", `{"reason":"superseded"}`)
	w.call(409, "POST", "/api/v1/certificates/"+serial+"/revoke", `{"reason":"superseded"}`)
	got = get[admin.CertificateDetail](w, "/api/v1/certificates/"+serial).Certificate
	if got.Status != "revoked" || got.Reason != "superseded" || got.RevokedAt.Before(w.now().Add(-time.Minute)) {
		t.Errorf("after the revocation %+v", got)
	}
	trail := get[events](w, "/api/v1/audit?action=certificate.revoke&object="+serial)
	if len(trail.Items) != 1 || trail.Items[0].Actor.Kind != "operator" || trail.Items[0].Actor.ID != "token:alice" || trail.Items[0].Actor.Addr != "127.0.0.1" {
		t.Errorf("audit %+v", trail)
	}
	if text := string(w.call(200, "GET", "/metrics", "")); !strings.Contains(text, `chancery_revocations_total{reason="superseded"} 1`) ||
		!strings.Contains(text, fmt.Sprintf(`chancery_issuances_total{outcome="issued",profile=%q} 1`, o.Profile)) {
		t.Error("metrics don't count it")
	}
	// A compromise that is learned of later changes the reason, not the date (I50).
	w.advance(time.Hour)
	w.call(200, "POST", "/api/v1/certificates/"+serial+"/revoke", `{"reason":"keyCompromise"}`)
	again := get[admin.CertificateDetail](w, "/api/v1/certificates/"+serial)
	if again.Reason != "keyCompromise" || !again.RevokedAt.Equal(got.RevokedAt) {
		t.Errorf("after the compromise %+v", again)
	}
}

// serials lists what a query finds, in its sequence.
func (w *world) serials(query string) string {
	w.t.Helper()
	var out []string
	for _, c := range get[certificates](w, "/api/v1/certificates?"+query).Items {
		out = append(out, c.Serial)
	}
	return strings.Join(out, " ")
}

func TestCertificateFilters(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.register(), w.register()
	first := w.obtain(alice, "a.example", "b.example").Certificate.String()
	second := w.obtain(bob, "b.example").Certificate.String()
	third := w.obtain(alice, "*.c.example").Certificate.String()
	w.call(200, "POST", "/api/v1/certificates/"+second+"/revoke", `{}`)
	soon := url.QueryEscape(w.now().Add(24 * time.Hour).Format(time.RFC3339))
	late := url.QueryEscape(w.now().Add(400 * 24 * time.Hour).Format(time.RFC3339))
	for query, want := range map[string][]string{
		"":                                       {third, second, first},
		"name=b.example":                         {second, first},
		"name=B.EXAMPLE":                         {second, first},
		"name=" + url.QueryEscape("*.c.example"): {third},
		"name=x.c.example":                       {},
		"name=192.0.2.1":                         {},
		"account=" + alice.Account.ID:            {third, first},
		"account=" + bob.Account.ID + "&status=revoked": {second},
		"status=valid":            {third, first},
		"status=revoked":          {second},
		"status=expired":          {},
		"status=reserved":         {},
		"issuer=" + w.issuer.ID(): {third, second, first},
		"issuer=nobody":           {},
		"profile=server":          {third, second, first},
		"expiring_before=" + soon: {},
		"expiring_before=" + late: {third, second, first},
		"expiring_before=" + late + "&status=valid&name=b.example": {first},
		"serial=" + first:                         {first},
		"serial=0199aa00bb11cc22dd33ee44ff556677": {},
	} {
		if got := w.serials(query); got != strings.Join(want, " ") {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	}
	w.advance(400 * 24 * time.Hour)
	if got := w.serials("status=expired"); got != third+" "+first {
		t.Errorf("expired are %q", got)
	}
	if got := w.serials("status=revoked"); got != second {
		t.Errorf("revoked after the end are %q", got)
	}
}

func TestPaging(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	want := map[string]bool{}
	for i := range 5 {
		want[w.obtain(c, fmt.Sprintf("n%d.example", i)).Certificate.String()] = true
		w.register()
	}
	for _, path := range []string{"/api/v1/certificates", "/api/v1/accounts", "/api/v1/orders", "/api/v1/audit"} {
		whole := get[admin.Page[json.RawMessage]](w, path+"?limit=1000")
		var walked []string
		cursor := ""
		for range len(whole.Items) + 2 {
			page := get[admin.Page[json.RawMessage]](w, path+"?limit=2"+cursor)
			for _, item := range page.Items {
				walked = append(walked, string(item))
			}
			if page.Next == "" {
				break
			}
			cursor = "&cursor=" + page.Next
		}
		if len(whole.Items) < 5 || len(walked) != len(whole.Items) {
			t.Errorf("%s: %d items in one page, %d walked", path, len(whole.Items), len(walked))
			continue
		}
		for i, item := range whole.Items {
			if string(item) != walked[i] {
				t.Errorf("%s: item %d differs", path, i)
			}
		}
	}
}

// TestHostileQueries: what can't be meant is refused, and never lists
// everything (SAFETY H-X 204).
func TestHostileQueries(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	w.obtain(c, "a.example")
	for _, query := range []string{
		"certificates?limit=0", "certificates?limit=-1", "certificates?limit=1001", "certificates?limit=1000000000", "certificates?limit=1e3", "certificates?limit=",
		"certificates?limit=1&limit=2", "certificates?nmae=a.example", "certificates?name=", "certificates?name=a.example&name=b.example",
		"certificates?name=a%27%20OR%201=1--", "certificates?name=%25", "certificates?name=%7B%22$gt%22:%22%22%7D", "certificates?name=a%00b", "certificates?name=..",
		"certificates?name=" + strings.Repeat("a.", 200) + "example",
		"certificates?account=%27--", "certificates?account=" + strings.Repeat("A", 23), "certificates?status=alive", "certificates?status=VALID",
		"certificates?cursor=0", "certificates?cursor=" + strings.Repeat("f", 32), "certificates?cursor=%0a", "certificates?serial=1", "certificates?serial=0199aa00bb11cc22dd33ee44ff556677&status=valid",
		"certificates?expiring_before=tomorrow", "certificates?expiring_before=2026-11-22", "certificates?issuer=a%0ab", "certificates?profile=" + strings.Repeat("p", 129),
		"certificates?%zz", "certificates?a;b",
		"accounts?status=expired", "accounts?cursor=AZmqAAAAAAAAAAAAAAAAAA", "accounts?cursor=x", "accounts?external_key=1", "accounts?name=a",
		"orders?account=x", "orders?cursor=AZmqAAAAAAAAAAAAAAAAAA", "orders?status=valid",
		"audit?cursor=0", "audit?cursor=-5", "audit?cursor=99999999999999999999", "audit?since=1", "audit?action=a%20b", "audit?object=%1b%5b",
		"external-keys?cursor=AZmqAAAAAAAAAAAAAAAAAA", "external-keys?all=1",
		"certificates/0199aa00bb11cc22dd33ee44ff556677?x=1", "accounts/" + c.Account.ID + "?x=1", "orders/AZmqAAAAAAAAAAAAAAAAAA?x=1",
	} {
		w.call(400, "GET", "/api/v1/"+query, "")
	}
	w.call(414, "GET", "/api/v1/certificates?name="+strings.Repeat("a", 5000), "")
	for _, path := range []string{"certificates/0199aa00bb11cc22dd33ee44ff556677", "certificates/0199aa00bb11cc22dd33ee44ff556677/chain", "accounts/AZmqAAAAAAAAAAAAAAAAAA", "orders/AZmqAAAAAAAAAAAAAAAAAA"} {
		w.call(404, "GET", "/api/v1/"+path, "")
	}
}

// TestHostileBodies: a body has the members that are known, each once, of the
// right kind, and is JSON (I23).
func TestHostileBodies(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	serial := w.obtain(c, "a.example").Certificate.String()
	revoke, create := "/api/v1/certificates/"+serial+"/revoke", "/api/v1/external-keys"
	for _, try := range []struct{ path, body string }{
		{revoke, `{"reason":"superseded","serial":"0199aa00bb11cc22dd33ee44ff556677"}`},
		{revoke, `{"Reason":"superseded"}`},
		{revoke, `{"reason":"superseded","reason":"keyCompromise"}`},
		{revoke, `{"reason":4}`},
		{revoke, `{"reason":["superseded"]}`},
		{revoke, `["superseded"]`},
		{revoke, `"superseded"`},
		{revoke, `{"reason":"superseded"} {}`},
		{revoke, `{"reason":"superseded"`},
		{revoke, "\ufeff{}"},
		{revoke, `null`},
		{revoke, `{"reason":"SUPERSEDED"}`},
		{revoke, `{"reason":"certificateHold"}`},
		{revoke, `{"reason":"removeFromCRL"}`},
		{revoke, `{"reason":"aACompromise"}`},
		{revoke, `{"reason":"\u0000"}`},
		{revoke + "?reason=superseded", `{}`},
		{"/api/v1/accounts/" + c.Account.ID + "/deactivate", `{"yes":true}`},
		{"/api/v1/accounts/" + c.Account.ID + "/deactivate?x=1", ``},
		{create, `{"label":1}`},
		{create, `{"label":"a\r\nb"}`},
		{create, `{"label":"\u001b[2J"}`},
		{create, `{"label":"\u202e"}`},
		{create, `{"label":"` + strings.Repeat("x", 201) + `"}`},
		{create, `{"reusable":"yes"}`},
		{create, `{"reusable":1}`},
		{create, `{"expires_at":"30d"}`},
		{create, `{"expires_at":"2001-01-01T00:00:00Z"}`},
		{create, `{"secret":"mine"}`},
		{create, strings.Repeat(`[`, 1000)},
	} {
		w.call(400, "POST", try.path, try.body)
	}
	w.call(413, "POST", create, `{"label":"`+strings.Repeat("x", 1<<20)+`"}`)
	if got := get[admin.CertificateDetail](w, "/api/v1/certificates/"+serial); got.Status != "valid" {
		t.Errorf("one of them revoked the certificate: %+v", got)
	}
	if got := get[admin.Account](w, "/api/v1/accounts/"+c.Account.ID); got.Status != "valid" {
		t.Errorf("one of them ended the account: %+v", got)
	}
	if got := get[externalKeys](w, create); len(got.Items) != 0 {
		t.Errorf("one of them made a key: %+v", got)
	}
}

func TestAccounts(t *testing.T) {
	w := newWorld(t)
	first := w.register("mailto:alice@example.com").Account.ID
	w.advance(time.Second)
	second := w.register().Account.ID
	list := get[accounts](w, "/api/v1/accounts")
	if len(list.Items) != 2 || list.Items[0].ID != second || list.Items[1].ID != first || list.Items[1].Contact[0] != "mailto:alice@example.com" || len(list.Items[1].Thumbprint) != 43 {
		t.Fatalf("%+v", list)
	}
	var gone admin.Account
	must(t, json.Unmarshal(w.call(200, "POST", "/api/v1/accounts/"+first+"/deactivate", ""), &gone))
	if gone.Status != "revoked" || gone.RevokedAt.IsZero() {
		t.Errorf("%+v", gone)
	}
	w.call(409, "POST", "/api/v1/accounts/"+first+"/deactivate", "{}")
	w.call(404, "POST", "/api/v1/accounts/AZmqAAAAAAAAAAAAAAAAAA/deactivate", "{}")
	for status, want := range map[string]string{"valid": second, "revoked": first} {
		if got := get[accounts](w, "/api/v1/accounts?status="+status).Items; len(got) != 1 || got[0].ID != want {
			t.Errorf("status %s: %+v", status, got)
		}
	}
	if got := get[accounts](w, "/api/v1/accounts?status=deactivated").Items; len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := get[events](w, "/api/v1/audit?object="+first+"&actor=token:alice").Items; len(got) != 1 {
		t.Errorf("audit %+v", got)
	}
}

// TestOrders shows what was proven and how, for an order that succeeded and
// for one that did not.
func TestOrders(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	good := w.obtain(c, "a.example", "*.a.example")
	w.refuse.Store(true)
	bad := w.order(c, "b.example")
	shown := get[admin.OrderDetail](w, "/api/v1/orders/"+good.ID)
	if shown.Status != "valid" || shown.Certificate != good.Certificate.String() || len(shown.Authorizations) != 2 || shown.FinalizedAt.IsZero() {
		t.Fatalf("%+v", shown)
	}
	for i, name := range []string{"a.example", "*.a.example"} {
		a := shown.Authorizations[i]
		var e acme.Evidence
		must(t, json.Unmarshal(a.Evidence, &e))
		if a.Name != name || a.Status != "valid" || a.Attempted == "" || a.ValidatedAt.IsZero() || len(e.Steps) != 1 || e.Steps[0].From != "192.0.2.7:80" {
			t.Errorf("%+v, evidence %+v", a, e)
		}
	}
	shown = get[admin.OrderDetail](w, "/api/v1/orders/"+bad.ID)
	if a := shown.Authorizations[0]; shown.Status != "invalid" || a.Status != "invalid" || a.Error == nil || a.Error.Kind != acme.IncorrectResponse || len(a.Evidence) == 0 {
		t.Errorf("%+v", shown)
	}
	if text := string(w.call(200, "GET", "/api/v1/orders/"+bad.ID, "")); strings.Contains(text, "token") || strings.Contains(text, "seed") {
		t.Error("challenge tokens are shown")
	}
	if got := get[orders](w, "/api/v1/orders?account="+c.Account.ID).Items; len(got) != 2 || got[0].ID != bad.ID || got[1].ID != good.ID {
		t.Errorf("%+v", got)
	}
	if got := get[orders](w, "/api/v1/orders?account="+w.register().Account.ID).Items; len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestExternalKeys: the secret is shown once and nowhere else (I87).
func TestExternalKeys(t *testing.T) {
	w := newWorld(t)
	expires := w.now().Add(time.Hour).Truncate(time.Second)
	var first, second admin.NewExternalKey
	must(t, json.Unmarshal(w.call(201, "POST", "/api/v1/external-keys", `{"label":"team = ü","expires_at":"`+expires.Format(time.RFC3339)+`"}`), &first))
	w.advance(time.Second)
	must(t, json.Unmarshal(w.call(201, "POST", "/api/v1/external-keys", `{"reusable":true}`), &second))
	if len(first.Secret) != 43 || first.Secret == second.Secret || first.Status != "usable" || !first.ExpiresAt.Equal(expires) || first.Label != "team = ü" || first.Reusable || !second.Reusable {
		t.Errorf("created %+v and %+v", first, second)
	}
	list := get[externalKeys](w, "/api/v1/external-keys")
	if len(list.Items) != 2 || list.Items[0].ID != second.ID {
		t.Fatalf("%+v", list)
	}
	page := get[externalKeys](w, "/api/v1/external-keys?limit=1")
	if page = get[externalKeys](w, "/api/v1/external-keys?limit=1&cursor="+page.Next); len(page.Items) != 1 || page.Items[0].ID != first.ID {
		t.Errorf("second page %+v", page)
	}
	w.call(200, "POST", "/api/v1/external-keys/"+second.ID+"/revoke", "")
	w.call(404, "POST", "/api/v1/external-keys/AZmqAAAAAAAAAAAAAAAAAA/revoke", "")
	w.advance(2 * time.Hour)
	list = get[externalKeys](w, "/api/v1/external-keys")
	if list.Items[0].Status != "revoked" || list.Items[1].Status != "expired" {
		t.Errorf("later %+v", list)
	}
	for _, path := range []string{"/api/v1/external-keys", "/api/v1/audit", "/metrics", "/healthz"} {
		text := string(w.call(200, "GET", path, ""))
		if strings.Contains(text, first.Secret) || strings.Contains(text, second.Secret) || strings.Contains(text, token) {
			t.Errorf("%s shows a secret", path)
		}
	}
	if strings.Contains(w.log.String(), first.Secret) || strings.Contains(w.log.String(), token) {
		t.Error("the log shows a secret")
	}
}

// TestGolden holds the lines that others script against (DESIGN section 5):
// the members, their sequence and their form.
func TestGolden(t *testing.T) {
	w := newWorld(t)
	c := w.register("mailto:alice@example.com")
	o := w.obtain(c, "a.example")
	serial := o.Certificate.String()
	w.call(200, "POST", "/api/v1/certificates/"+serial+"/revoke", `{"reason":"keyCompromise"}`)
	w.obtain(c, "a.example")
	w.call(201, "POST", "/api/v1/external-keys", `{"label":"ops"}`)
	const second, milli = `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`, `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z"`
	const id, hex32 = `"[A-Za-z0-9_-]{22}"`, `"[0-9a-f]{32}"`
	certificate := `{"serial":` + hex32 + `,"names":\["a\.example"\],"not_before":` + second + `,"not_after":` + second + `,"status":"%s","account":` + id +
		`,"order":` + id + `,"issuer":"[0-9a-f]+","profile":"server"%s}`
	for path, want := range map[string]string{
		"certificates?status=revoked": fmt.Sprintf(certificate, "revoked", `,"revoked_at":`+second+`,"reason":"keyCompromise"`),
		"certificates?status=valid":   fmt.Sprintf(certificate, "valid", ""),
		"accounts":                    `{"id":` + id + `,"status":"valid","contact":\["mailto:alice@example\.com"\],"thumbprint":"[A-Za-z0-9_-]{43}","created_at":` + milli + `}`,
		"orders?limit=1": `{"id":` + id + `,"account":` + id + `,"status":"valid","names":\["a\.example"\],"profile":"server","created_at":` + milli +
			`,"expires_at":` + milli + `,"finalized_at":` + milli + `,"certificate":` + hex32 + `}`,
		"external-keys": `{"id":` + id + `,"status":"usable","label":"ops","reusable":false,"uses":0,"created_at":` + milli + `}`,
		"audit?limit=1&action=certificate.revoke": `{"seq":\d+,"at":` + milli + `,"actor":{"kind":"operator","id":"token:alice","addr":"127\.0\.0\.1"},"action":"certificate\.revoke","object":` + hex32 + `.*}`,
	} {
		page := get[admin.Page[json.RawMessage]](w, "/api/v1/"+path)
		if len(page.Items) == 0 {
			t.Errorf("%s lists nothing", path)
			continue
		}
		if !regexp.MustCompile(`^` + want + `$`).Match(page.Items[0]) {
			t.Errorf("%s has the form\n%s\nwant\n%s", path, page.Items[0], want)
		}
	}
}

// TestReady: not before the first CRL is there, and gone when the store is.
func TestReady(t *testing.T) {
	w := newWorld(t)
	var r admin.Readiness
	must(t, json.Unmarshal(w.call503("/readyz"), &r))
	if r.Ready || len(r.Checks) != 3 || !r.Checks[0].OK || !r.Checks[1].OK || r.Checks[2].OK {
		t.Errorf("%+v", r)
	}
	w.publish()
	w.advance(2 * time.Second)
	if r = get[admin.Readiness](w, "/readyz"); !r.Ready {
		t.Errorf("%+v", r)
	}
	text := string(w.call(200, "GET", "/metrics", ""))
	for _, want := range []string{
		`chancery_crl_entries{issuer="` + w.issuer.ID() + `",shard="0"} 3`, `chancery_crl_age_seconds{issuer="` + w.issuer.ID() + `",shard="0"} 2`,
		`chancery_crl_number{issuer="`, `chancery_crl_next_update_timestamp_seconds{issuer="`, `chancery_issuer_not_after_timestamp_seconds{issuer="` + w.issuer.ID() + `"}`,
		`chancery_work_in_hand{kind="issuance"} 0`, `chancery_work_in_hand{kind="validation"} 0`, `chancery_work_oldest_seconds 0`, `chancery_state_failures_total 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the scrape", want)
		}
	}
	w.advance(2 * time.Hour)
	w.call503("/readyz")
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	w.advance(2 * time.Second)
	must(t, json.Unmarshal(w.call503("/readyz"), &r))
	if r.Checks[0].OK {
		t.Errorf("a closed store is ready: %+v", r)
	}
	w.call(200, "GET", "/healthz", "")
}

// TestReserved: a serial whose signature was never recorded is not listed
// among certificates, and can be found and revoked all the same.
func TestReserved(t *testing.T) {
	w := newWorld(t)
	serial, err := ca.ParseSerial("0199aa00bb11cc22dd33ee44ff556677")
	must(t, err)
	name, err := ca.ParseIdentifier("dns", "a.example")
	must(t, err)
	now := w.now().Truncate(time.Second)
	_, err = w.db.Reserve(t.Context(), ca.System("test"), &ca.Certificate{
		Serial: serial, Issuer: w.issuer.ID(), Profile: "server", Names: []ca.Identifier{name}, NotBefore: now, NotAfter: now.Add(time.Hour), ReservedAt: now, TBS: []byte{0x30, 0},
	})
	must(t, err)
	if got := w.serials(""); got != "" {
		t.Errorf("listed %q", got)
	}
	if got := w.serials("status=reserved"); got != serial.String() {
		t.Errorf("reserved are %q", got)
	}
	w.call(409, "GET", "/api/v1/certificates/"+serial.String()+"/chain", "")
	w.call(200, "POST", "/api/v1/certificates/"+serial.String()+"/revoke", `{}`)
	if got := w.serials("status=revoked"); got != serial.String() {
		t.Errorf("revoked are %q", got)
	}
}
