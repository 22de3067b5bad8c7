package api_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/acme/api"
)

func leaf(t testing.TB, a *answer) *x509.Certificate {
	t.Helper()
	if a.status != 200 || a.header.Get("Content-Type") != "application/pem-certificate-chain" {
		t.Fatalf("certificate: %d %s", a.status, a.body)
	}
	block, rest := pem.Decode(a.body)
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	block, _ = pem.Decode(rest)
	issuer, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	must(t, cert.CheckSignatureFrom(issuer))
	return cert
}

func TestDirectory(t *testing.T) {
	w := newWorld(t, func(_ *acme.Settings, c *api.Config) {
		c.Meta = api.Meta{
			TermsOfService: "https://ca.example/terms", Website: "https://ca.example/", CAAIdentities: []string{"ca.example"},
			ExternalAccountRequired: true, Profiles: map[string]string{"server": "90 days"},
		}
	})
	a := w.get(http.MethodGet, "/acme/directory")
	var got map[string]any
	a.into(t, &got)
	want := map[string]any{
		"newNonce": base + "/acme/new-nonce", "newAccount": base + "/acme/new-account", "newOrder": base + "/acme/new-order",
		"newAuthz": base + "/acme/new-authz", "revokeCert": base + "/acme/revoke-cert", "keyChange": base + "/acme/key-change",
		"renewalInfo": base + "/acme/renewal-info",
		"meta": map[string]any{
			"termsOfService": "https://ca.example/terms", "website": "https://ca.example/", "caaIdentities": []any{"ca.example"},
			"externalAccountRequired": true, "profiles": map[string]any{"server": "90 days"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("directory %v, want %v", got, want)
	}
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Replay-Nonce") != "" || a.header.Get("Link") != "" {
		t.Errorf("headers %v", a.header)
	}
	if a := w.get(http.MethodHead, "/acme/directory"); a.status != 200 || len(a.body) != 0 {
		t.Errorf("HEAD: %d %s", a.status, a.body)
	}
}

// SAFETY 7, 8.
func TestNewNonce(t *testing.T) {
	w := newWorld(t)
	seen := make(map[string]bool)
	for method, status := range map[string]int{http.MethodHead: 200, http.MethodGet: 204} {
		a := w.get(method, "/acme/new-nonce")
		nonce := a.header.Get("Replay-Nonce")
		if a.status != status || nonce == "" || seen[nonce] || a.header.Get("Cache-Control") != "no-store" || len(a.body) != 0 {
			t.Errorf("%s: %d %v", method, a.status, a.header)
		}
		seen[nonce] = true
	}
}

func TestWholeFlow(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	a := c.post("/acme/new-order", "{"+identifiers("a.example", "*.b.example", "A.Example")+"}")
	a.want(t, "newOrder", 201, "")
	var o orderJSON
	a.into(t, &o)
	location := a.header.Get("Location")
	if o.Status != "pending" || len(o.Identifiers) != 2 || len(o.Authorizations) != 2 || o.Certificate != "" || o.NotBefore != "" || o.Profile != "" || o.Finalize != location+"/finalize" {
		t.Errorf("order %+v at %s", o, location)
	}
	if expires, err := time.Parse(time.RFC3339, o.Expires); err != nil || !strings.HasSuffix(o.Expires, "Z") || !expires.After(w.now()) {
		t.Errorf("expires %s", o.Expires)
	}
	for i, url := range o.Authorizations {
		var z authorizationJSON
		c.at(url, "").into(t, &z)
		wild := i == 1
		want := []string{"http-01", "dns-01", "tls-alpn-01"}
		if wild {
			want = []string{"dns-01"}
		}
		var types []string
		for _, ch := range z.Challenges {
			types = append(types, ch.Type)
			if ch.Status != "pending" || len(ch.Token) != 43 || ch.Validated != "" {
				t.Errorf("challenge %+v", ch)
			}
		}
		if z.Status != "pending" || z.Wildcard != wild || strings.HasPrefix(z.Identifier.Value, "*") || !slices.Equal(types, want) {
			t.Errorf("authorization %+v", z)
		}
		// POST-as-GET of a challenge does not begin it.
		var ch challengeJSON
		c.at(z.Challenges[0].URL, "").into(t, &ch)
		if ch.Status != "pending" {
			t.Errorf("challenge %+v after being read", ch)
		}
		a := c.at(z.Challenges[0].URL, `{"keyAuthorization":"of an older draft"}`)
		a.into(t, &ch)
		if ch.Status != "valid" || ch.Validated == "" || !slices.Contains(a.header["Link"], "<"+url+`>;rel="up"`) {
			t.Errorf("challenge %+v, Link %q", ch, a.header["Link"])
		}
		z = authorizationJSON{}
		c.at(url, "").into(t, &z)
		if z.Status != "valid" || len(z.Challenges) != 1 || z.Challenges[0].Status != "valid" {
			t.Errorf("authorization %+v", z)
		}
	}
	c.at(location, "").into(t, &o)
	if o.Status != "ready" {
		t.Fatalf("order %+v", o)
	}
	key := ecKey(t)
	a = c.at(o.Finalize, `{"csr":"`+csr(t, key, "a.example", "*.b.example")+`"}`)
	a.into(t, &o)
	if o.Status != "valid" || o.Certificate == "" || a.header.Get("Location") != location {
		t.Fatalf("order %+v, Location %s", o, a.header.Get("Location"))
	}
	cert := leaf(t, c.at(o.Certificate, ""))
	if !slices.Equal(cert.DNSNames, []string{"*.b.example", "a.example"}) && !slices.Equal(cert.DNSNames, []string{"a.example", "*.b.example"}) {
		t.Errorf("names %q", cert.DNSNames)
	}
	// SAFETY 133: a valid order is not finalized again.
	c.at(o.Finalize, `{"csr":"`+csr(t, key, "a.example", "*.b.example")+`"}`).want(t, "finalize again", 403, "orderNotReady")
	c.at(o.Certificate+"/1", "").want(t, "alternate that is none", 404, "malformed")
	for _, n := range []string{"/0", "/01", "/-1", "/x", "/99999999999999999999", "/"} {
		c.at(o.Certificate+n, "").want(t, "chain "+n, 404, "malformed")
	}
}

// Slow work answers "processing" with Retry-After; polling sees the end.
func TestProcessing(t *testing.T) {
	release := make(chan struct{})
	w := newWorld(t, func(s *acme.Settings, _ *api.Config) { s.Wait = 10 * time.Millisecond })
	w.prove = func(acme.Attempt) *acme.Problem { <-release; return nil }
	c := w.registered()
	o := c.order("a.example")
	var z authorizationJSON
	c.at(o.Authorizations[0], "").into(t, &z)
	var ch challengeJSON
	a := c.at(z.Challenges[0].URL, "{}")
	a.into(t, &ch)
	if ch.Status != "processing" || a.header.Get("Retry-After") != "1" {
		t.Errorf("challenge %+v, Retry-After %q", ch, a.header.Get("Retry-After"))
	}
	if a := c.at(o.Authorizations[0], ""); a.header.Get("Retry-After") != "1" {
		t.Errorf("authorization without Retry-After: %s", a.body)
	}
	c.at(o.Finalize, `{"csr":"`+csr(t, ecKey(t), "a.example")+`"}`).want(t, "finalize", 403, "orderNotReady")
	close(release)
	for range 500 {
		c.at(o.url, "").into(t, o)
		if o.Status == "ready" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("order %+v", o)
}

func TestFailedChallenge(t *testing.T) {
	w := newWorld(t)
	w.prove = func(a acme.Attempt) *acme.Problem {
		return acme.Problemf(acme.IncorrectResponse, "%s said something else", a.Identifier.Value())
	}
	c := w.registered()
	o := c.order("a.example", "b.example")
	c.fulfil(o)
	var z authorizationJSON
	c.at(o.Authorizations[0], "").into(t, &z)
	if z.Status != "invalid" || len(z.Challenges) != 1 || z.Challenges[0].Error == nil || !strings.HasSuffix(z.Challenges[0].Error.Type, ":incorrectResponse") {
		t.Errorf("authorization %+v", z)
	}
	c.at(o.url, "").into(t, o)
	if o.Status != "invalid" {
		t.Errorf("order %+v", o)
	}
	c.at(o.Finalize, `{"csr":"`+csr(t, ecKey(t), "a.example", "b.example")+`"}`).want(t, "finalize", 403, "orderNotReady")
}

func TestPreAuthorization(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	a := c.post("/acme/new-authz", `{"identifier":{"type":"dns","value":"a.example"}}`)
	a.want(t, "newAuthz", 201, "")
	var z authorizationJSON
	a.into(t, &z)
	url := a.header.Get("Location")
	if z.Status != "pending" || url == "" {
		t.Errorf("authorization %+v at %s", z, url)
	}
	c.at(z.Challenges[0].URL, "{}").want(t, "challenge", 200, "")
	a = c.post("/acme/new-authz", `{"identifier":{"type":"dns","value":"a.example"}}`)
	if a.status != 200 || a.header.Get("Location") != url {
		t.Errorf("again: %d %s", a.status, a.header.Get("Location"))
	}
	if o := c.order("a.example"); o.Status != "ready" || o.Authorizations[0] != url {
		t.Errorf("order %+v", o)
	}
	for what, payload := range map[string]string{
		"wildcard": `{"identifier":{"type":"dns","value":"*.a.example"}}`, "none": `{}`, "null": `{"identifier":null}`,
		"string": `{"identifier":"a.example"}`, "no value": `{"identifier":{"type":"dns"}}`, "no type": `{"identifier":{"value":"a.example"}}`,
		"number": `{"identifier":{"type":"dns","value":7}}`, "not a name": `{"identifier":{"type":"dns","value":"a b"}}`,
	} {
		c.post("/acme/new-authz", payload).want(t, what, 400, "malformed")
	}
	c.post("/acme/new-authz", `{"identifier":{"type":"email","value":"a@a.example"}}`).want(t, "email", 400, "unsupportedIdentifier")

	// Deactivation, section 7.5.2.
	for _, payload := range []string{`{"status":"valid"}`, `{}`, `{"status":null}`, `{"status":1}`} {
		c.at(url, payload).want(t, payload, 400, "malformed")
	}
	c.at(url, `{"status":"deactivated"}`).into(t, &z)
	if z.Status != "deactivated" {
		t.Errorf("authorization %+v", z)
	}
	c.at(url, `{"status":"deactivated"}`).want(t, "again", 400, "malformed")
}

// SAFETY 76, 148: what belongs to somebody else is answered as what is missing.
func TestForeignObjects(t *testing.T) {
	w := newWorld(t)
	c, other := w.registered(), w.registered()
	o, _ := c.obtain(ecKey(t), "a.example")
	pending := c.order("b.example")
	var z authorizationJSON
	c.at(pending.Authorizations[0], "").into(t, &z)
	missing := func(url string) string {
		i := strings.Index(url, "/acme/") + len("/acme/")
		kind, _, _ := strings.Cut(url[i:], "/")
		rest := ""
		if strings.HasSuffix(url, "/finalize") {
			rest = "/finalize"
		}
		if kind == "challenge" {
			rest = "/http-01"
		}
		id := "AZAAAAAAcAAAAAAAAAAAAA"
		if kind == "certificate" {
			id = strings.Repeat("0", 31) + "1"
		}
		return base + "/acme/" + kind + "/" + id + rest
	}
	for url, payload := range map[string]string{
		o.url: "", pending.url: "", pending.Authorizations[0]: "", z.Challenges[0].URL: "{}", o.Certificate: "",
		pending.Finalize: `{"csr":"` + csr(t, ecKey(t), "b.example") + `"}`,
	} {
		foreign, none := other.at(url, payload), other.at(missing(url), payload)
		foreign.want(t, url, 404, "malformed")
		none.want(t, missing(url), 404, "malformed")
		if string(foreign.body) != string(none.body) {
			t.Errorf("%s can be told from what is missing: %s and %s", url, foreign.body, none.body)
		}
	}
	foreign, none := other.at(c.kid, ""), other.at(base+"/acme/account/AZAAAAAAcAAAAAAAAAAAAA", "")
	foreign.want(t, "account", 403, "unauthorized")
	if string(foreign.body) != string(none.body) {
		t.Errorf("accounts can be probed: %s and %s", foreign.body, none.body)
	}
	other.at(c.kid+"/orders", "").want(t, "orders", 403, "unauthorized")
	other.at(c.kid, `{"status":"deactivated"}`).want(t, "deactivate", 403, "unauthorized")
	c.at(c.kid, "").want(t, "still there", 200, "")
}

func TestOrdersPages(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	var made []string
	for i := range 205 {
		made = append(made, c.order(fmt.Sprintf("a%d.example", i)).url)
	}
	var listed []string
	url, pages := c.kid+"/orders", 0
	for url != "" {
		a := c.at(url, "")
		var page struct{ Orders []string }
		a.into(t, &page)
		listed = append(listed, page.Orders...)
		url = ""
		for _, l := range a.header["Link"] {
			if next, ok := strings.CutSuffix(l, `>;rel="next"`); ok {
				url = strings.TrimPrefix(next, "<")
			}
		}
		if pages++; pages > 5 {
			t.Fatal("the pages don't end")
		}
	}
	// Orders of the same millisecond have no sequence.
	slices.Sort(listed)
	slices.Sort(made)
	if pages != 3 || !slices.Equal(listed, made) {
		t.Errorf("%d pages with %d orders", pages, len(listed))
	}
	c.at(c.kid+"/orders/xyz", "").want(t, "bad cursor", 400, "malformed")
	fresh := w.registered()
	if a := fresh.at(fresh.kid+"/orders", ""); string(a.body) != `{"orders":[]}` {
		t.Errorf("no orders: %s", a.body)
	}
}

func TestRenewalInfo(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	o, cert := c.obtain(ecKey(t), "a.example")
	certID := b64(cert.AuthorityKeyId) + "." + b64(cert.SerialNumber.FillBytes(make([]byte, 16)))
	a := w.get(http.MethodGet, "/acme/renewal-info/"+certID)
	var info struct {
		SuggestedWindow struct{ Start, End time.Time }
	}
	a.into(t, &info)
	start, end := info.SuggestedWindow.Start, info.SuggestedWindow.End
	if !start.After(cert.NotBefore) || !end.After(start) || !end.Before(cert.NotAfter) || a.header.Get("Retry-After") == "" {
		t.Errorf("window %v to %v of %v to %v, Retry-After %q", start, end, cert.NotBefore, cert.NotAfter, a.header.Get("Retry-After"))
	}
	var second orderJSON
	c.post("/acme/new-order", `{"replaces":"`+certID+`",`+identifiers("a.example")+`}`).into(t, &second)
	if second.Replaces != certID {
		t.Errorf("order %+v", second)
	}
	c.post("/acme/new-order", `{"replaces":"`+certID+`",`+identifiers("a.example")+`}`).want(t, "replaces again", 409, "alreadyReplaced")
	c.post("/acme/new-order", `{"replaces":"AAAA.BBBB",`+identifiers("a.example")+`}`).want(t, "replaces nothing", 400, "malformed")
	w.registered().post("/acme/new-order", `{"replaces":"`+certID+`",`+identifiers("a.example")+`}`).want(t, "replaces another's", 403, "unauthorized")

	c.post("/acme/revoke-cert", `{"certificate":"`+b64(cert.Raw)+`"}`).want(t, "revoke", 200, "")
	w.get(http.MethodGet, "/acme/renewal-info/"+certID).into(t, &info)
	if !info.SuggestedWindow.End.Before(w.now()) {
		t.Errorf("revoked: window ends %v", info.SuggestedWindow.End)
	}
	for id, status := range map[string]int{"AAAA": 400, "AAAA.": 400, "A.B.C": 400, "a%20b": 400, b64(cert.AuthorityKeyId) + ".AQ": 404, b64([]byte("somebody else's key!")) + ".AQ": 404} {
		w.get(http.MethodGet, "/acme/renewal-info/"+id).want(t, id, status, "malformed")
	}
	w.get(http.MethodGet, "/acme/renewal-info/").want(t, "no certID", 404, "malformed")
	w.get(http.MethodGet, "/acme/renewal-info").want(t, "no certID", 404, "malformed")
	_ = o
}

// SAFETY 203.
func TestRevoke(t *testing.T) {
	w := newWorld(t)
	c, other := w.registered(), w.registered()
	revoke := func(cert []byte, more string) string { return `{"certificate":"` + b64(cert) + `"` + more + `}` }
	_, cert := c.obtain(ecKey(t), "a.example")
	for what, payload := range map[string]string{
		"no certificate": `{}`, "null": `{"certificate":null}`, "PEM": `{"certificate":"-----BEGIN CERTIFICATE-----"}`,
		"number": `{"certificate":5}`, "reason a string": revoke(cert.Raw, `,"reason":"1"`), "reason 1.5": revoke(cert.Raw, `,"reason":1.5`),
		"reason 1e0": revoke(cert.Raw, `,"reason":1e0`), "reason -0": revoke(cert.Raw, `,"reason":-0`), "reason 1e400": revoke(cert.Raw, `,"reason":1e400`),
	} {
		c.post("/acme/revoke-cert", payload).want(t, what, 400, "malformed")
	}
	for _, reason := range []string{"2", "6", "7", "8", "10", "11", "-1", "256", "4294967296", "9007199254740993"} {
		c.post("/acme/revoke-cert", revoke(cert.Raw, `,"reason":`+reason)).want(t, "reason "+reason, 400, "badRevocationReason")
	}
	flipped := slices.Clone(cert.Raw)
	flipped[len(flipped)-1] ^= 1
	for what, der := range map[string][]byte{"garbage": []byte("garbage"), "empty": {}, "flipped bit": flipped, "trailing octet": append(slices.Clone(cert.Raw), 0)} {
		if a := c.post("/acme/revoke-cert", revoke(der, "")); a.problem.Type != "malformed" {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	other.post("/acme/revoke-cert", revoke(cert.Raw, "")).want(t, "another account", 403, "unauthorized")
	stranger := w.client()
	stranger.postJWK("/acme/revoke-cert", revoke(cert.Raw, "")).want(t, "another key", 403, "unauthorized")
	c.postJWK("/acme/revoke-cert", revoke(cert.Raw, "")).want(t, "the account's key as jwk", 403, "unauthorized")

	// by the account that ordered it
	a := c.post("/acme/revoke-cert", revoke(cert.Raw, `,"reason":4`))
	if a.status != 200 || len(a.body) != 0 {
		t.Errorf("revoke: %d %s", a.status, a.body)
	}
	c.post("/acme/revoke-cert", revoke(cert.Raw, "")).want(t, "again", 400, "alreadyRevoked")

	// by the certificate's key
	key := ecKey(t)
	_, cert = c.obtain(key, "b.example")
	holder := &client{w: w, key: key, alg: "ES256"}
	holder.postJWK("/acme/revoke-cert", revoke(cert.Raw, `,"reason":1`)).want(t, "by key", 200, "")

	// by an account authorized for all the names
	_, cert = c.obtain(ecKey(t), "c.example", "d.example")
	other.fulfil(other.order("c.example"))
	other.post("/acme/revoke-cert", revoke(cert.Raw, "")).want(t, "authorized for some", 403, "unauthorized")
	other.fulfil(other.order("d.example"))
	other.post("/acme/revoke-cert", revoke(cert.Raw, `,"reason":1`)).want(t, "keyCompromise by names", 400, "badRevocationReason")
	other.post("/acme/revoke-cert", revoke(cert.Raw, `,"reason":5`)).want(t, "authorized for all", 200, "")
}

// A panic costs one answer, and the log has it.
func TestPanic(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	o := c.order("a.example")
	store := w.service.Store
	w.service.Store = nil // any use of it is a nil dereference
	w.post("/acme/order/x", c.jws(map[string]any{"alg": "ES256", "nonce": w.nonce(), "url": base + "/acme/order/x", "kid": c.kid}, "")).want(t, "panic", 500, "serverInternal")
	w.service.Store = store
	c.at(o.url, "").want(t, "afterwards", 200, "")
	if log := w.log.String(); !strings.Contains(log, "panic in a handler") || !strings.Contains(log, "stack=") {
		t.Errorf("log %s", log)
	}
}

func TestLogAndMetrics(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	r := httptest.NewRequest(http.MethodGet, "/acme/directory", nil)
	r.Header.Set("User-Agent", "agent\x1b[31m\r\nevil "+strings.Repeat("x", 8<<10)) // SAFETY 25
	w.send(r).want(t, "directory", 200, "")
	c.at(base+"/acme/order/AZAAAAAAcAAAAAAAAAAAAA", "").want(t, "order", 404, "malformed")
	w.get(http.MethodGet, "/nowhere/"+strings.Repeat("x", 5000)).want(t, "nowhere", 404, "malformed")
	log := w.log.String()
	id := c.kid[strings.LastIndexByte(c.kid, '/')+1:]
	for _, want := range []string{"route=order status=404", "account=" + id, "problem=malformed", `agent="agent?[31m??evil`, "route=unknown"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	for line := range strings.Lines(log) {
		if len(line) > 500 || strings.ContainsAny(line[:len(line)-1], "\x1b\r") {
			t.Errorf("log line %q", line)
		}
	}
	close(w.observed)
	seen := make(map[observation]bool)
	for o := range w.observed {
		seen[o] = true
	}
	for _, want := range []observation{{"directory", "", 200}, {"order", "malformed", 404}, {"new-account", "", 201}, {"unknown", "malformed", 404}, {"new-nonce", "", 200}} {
		if !seen[want] {
			t.Errorf("%+v was not observed", want)
		}
	}
}

func TestConfig(t *testing.T) {
	s := &acme.Service{}
	for _, bad := range []string{"", "ca.example", "https://", "https://ca.example/", "https://ca.example/acme", "https://ca.example?x", "https://u@ca.example", "ftp://ca.example", "https://ca.example#x", "HTTPS://ca.example"} {
		if _, err := api.New(api.Config{Service: s, BaseURL: bad}); err == nil {
			t.Errorf("base URL %q is taken", bad)
		}
	}
	if _, err := api.New(api.Config{BaseURL: base}); err == nil {
		t.Error("no service is taken")
	}
	a, err := api.New(api.Config{Service: s, BaseURL: "https://localhost:14000"})
	must(t, err)
	if got := a.AccountURL("x"); got != "https://localhost:14000/acme/account/x" || got != api.AccountURL("https://localhost:14000", "x") {
		t.Errorf("AccountURL %s", got)
	}
}

// Profiles are shown once the directory advertises them.
func TestProfileInOrder(t *testing.T) {
	w := newWorld(t, func(_ *acme.Settings, c *api.Config) { c.Meta.Profiles = map[string]string{"server": "90 days"} })
	c := w.registered()
	if o := c.order("a.example"); o.Profile != "server" {
		t.Errorf("order %+v", o)
	}
	c.post("/acme/new-order", `{"profile":"nope",`+identifiers("a.example")+`}`).want(t, "unknown profile", 400, "invalidProfile")
	var raw json.RawMessage
	c.post("/acme/new-order", `{"profile":null,"replaces":null,"notAfter":null,`+identifiers("a.example")+`}`).into(t, &raw)
}
