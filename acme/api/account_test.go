package api_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/acme/api"
	"chancery/ca"
)

// SAFETY group H-A, with exact status and type.

type accountJSON struct {
	Status  string
	Contact []string
	Orders  string
	Terms   bool            `json:"termsOfServiceAgreed"`
	Binding json.RawMessage `json:"externalAccountBinding"`
}

func TestNewAccount(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	c.register(`{"onlyReturnExisting":true}`).want(t, "onlyReturnExisting before", 400, "accountDoesNotExist") // 90
	a := c.register(`{"contact":["mailto:a@a.example"],"termsOfServiceAgreed":true,"status":"revoked","orders":"x","createdAt":"x","unknown":{}}`)
	a.want(t, "newAccount", 201, "")
	var account accountJSON
	a.into(t, &account)
	want := accountJSON{Status: "valid", Contact: []string{"mailto:a@a.example"}, Orders: c.kid + "/orders", Terms: true}
	if !reflect.DeepEqual(account, want) || !strings.HasPrefix(c.kid, base+"/acme/account/") { // 85, 86
		t.Errorf("account %+v at %s", account, c.kid)
	}
	if strings.Contains(string(a.body), "unknown") || strings.Contains(string(a.body), "createdAt") {
		t.Errorf("reflects %s", a.body)
	}
	kid := c.kid
	for _, payload := range []string{"{}", `{"onlyReturnExisting":true}`, `{"contact":["mailto:other@a.example"]}`} { // 89
		a := c.register(payload)
		if a.status != 200 || c.kid != kid {
			t.Errorf("again with %s: %d at %s", payload, a.status, c.kid)
		}
		a.into(t, &account)
		if !reflect.DeepEqual(account.Contact, want.Contact) {
			t.Errorf("newAccount for an account that exists changed it: %+v", account)
		}
	}
	for payload, kind := range map[string]string{ // 83, 87, 92 to 94
		`{"contact":"mailto:a@a.example"}`:  "malformed",
		`{"contact":[1]}`:                   "malformed",
		`{"contact":[null]}`:                "malformed",
		`{"contact":{}}`:                    "malformed",
		`{"termsOfServiceAgreed":"true"}`:   "malformed",
		`{"termsOfServiceAgreed":1}`:        "malformed",
		`{"onlyReturnExisting":[]}`:         "malformed",
		`{"contact":[],"contact":[]}`:       "malformed",
		`[]`:                                "malformed",
		`{`:                                 "malformed",
		`{}{}`:                              "malformed",
		`{"contact":["tel:+123"]}`:          "unsupportedContact",
		`{"contact":["https://a.example"]}`: "unsupportedContact",
		`{"contact":["a@a.example"]}`:       "unsupportedContact",
		`{"contact":["mailto:a@a.example?subject=x"]}`:                                           "invalidContact",
		`{"contact":["mailto:a@a.example,b@b.example"]}`:                                         "invalidContact",
		`{"contact":["mailto:a"]}`:                                                               "invalidContact",
		`{"contact":["mailto:"]}`:                                                                "invalidContact",
		`{"contact":["mailto:a@a.example\r\nBcc: x"]}`:                                           "invalidContact",
		`{"contact":["mailto:é@a.example"]}`:                                                     "invalidContact",
		`{"contact":["mailto:a@a.example#x"]}`:                                                   "invalidContact",
		`{"contact":["mailto:` + strings.Repeat("a", 400) + `@a.example"]}`:                      "invalidContact",
		`{"contact":[` + strings.Repeat(`"mailto:a@a.example",`, 999) + `"mailto:a@a.example"]}`: "invalidContact",
	} {
		w.client().register(payload).want(t, payload[:min(len(payload), 60)], 400, kind)
	}
}

func TestTerms(t *testing.T) { // 91
	w := newWorld(t, func(s *acme.Settings, c *api.Config) {
		s.Terms = "https://ca.example/terms"
		c.Meta.TermsOfService = s.Terms
	})
	a := w.client().register("{}")
	a.want(t, "without agreement", 403, "userActionRequired")
	if a.problem.Instance != "https://ca.example/terms" || !strings.Contains(strings.Join(a.header["Link"], ","), `<https://ca.example/terms>;rel="terms-of-service"`) {
		t.Errorf("%s, Link %q", a.body, a.header["Link"])
	}
	w.client().register(`{"termsOfServiceAgreed":true}`).want(t, "with agreement", 201, "")
}

func TestAccountUpdate(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	for payload, want := range map[string][]string{
		`{"contact":["mailto:b@a.example","mailto:c@a.example"]}`: {"mailto:b@a.example", "mailto:c@a.example"},
	} {
		var account accountJSON
		c.at(c.kid, payload).into(t, &account)
		if !reflect.DeepEqual(account.Contact, want) {
			t.Errorf("%s: %+v", payload, account)
		}
		for _, same := range []string{"", "{}", `{"contact":null}`, `{"orders":"https://evil.example"}`, `{"status":"valid"}`} {
			account = accountJSON{}
			c.at(c.kid, same).into(t, &account)
			if !reflect.DeepEqual(account.Contact, want) || account.Status != "valid" {
				t.Errorf("%s: %+v", same, account)
			}
		}
		account = accountJSON{}
		c.at(c.kid, `{"contact":[]}`).into(t, &account)
		if account.Contact != nil {
			t.Errorf("emptied: %+v", account)
		}
	}
	for _, status := range []string{`"revoked"`, `"Deactivated"`, `"pending"`, `1`, `{}`} { // 87
		c.at(c.kid, `{"status":`+status+`}`).want(t, status, 400, "malformed")
	}
	c.at(c.kid, `{"contact":["tel:1"]}`).want(t, "tel", 400, "unsupportedContact")
}

func TestExternalAccountBinding(t *testing.T) {
	w := newWorld(t, func(s *acme.Settings, _ *api.Config) { s.ExternalAccount = acme.BindingRequired })
	key := func(reusable bool, expires time.Time) (string, []byte) {
		k, secret, err := w.service.CreateExternalKey(t.Context(), ca.System("test"), acme.NewExternalKey{Reusable: reusable, Expires: expires})
		must(t, err)
		return k.ID, secret
	}
	eab := func(b string) string { return `{"externalAccountBinding":` + b + `}` }
	kid, secret := key(false, time.Time{})
	c := w.client()
	for _, none := range []string{"{}", eab("null")} { // 95
		c.register(none).want(t, "none", 403, "externalAccountRequired")
	}
	bad := map[string]string{ // 96
		"string":    eab(`"x"`),
		"empty":     eab(`{}`),
		"alg RS256": eab(c.binding(kid, secret, func(h map[string]any) { h["alg"] = "RS256" })),
		"alg none":  eab(c.binding(kid, secret, func(h map[string]any) { h["alg"] = "none" })),
		"nonce":     eab(c.binding(kid, secret, func(h map[string]any) { h["nonce"] = "AAAA" })),
		"other url": eab(c.binding(kid, secret, func(h map[string]any) { h["url"] = base + "/acme/new-order" })),
		"jwk":       eab(c.binding(kid, secret, func(h map[string]any) { delete(h, "kid"); h["jwk"] = c.jwk() })),
	}
	for what, payload := range bad {
		c.register(payload).want(t, what, 400, "malformed")
	}
	other := w.client()
	expired, expiredSecret := key(false, w.now().Add(time.Hour))
	revoked, revokedSecret := key(false, time.Time{})
	must(t, w.service.RevokeExternalKey(t.Context(), ca.System("test"), revoked))
	refused := []string{ // 97 to 99
		eab(other.binding(kid, secret, nil)), // for another key
		eab(c.binding(kid, []byte("wrong"), nil)), eab(c.binding("nobody", secret, nil)), eab(c.binding(revoked, revokedSecret, nil)),
	}
	for i, payload := range refused {
		c.register(payload).want(t, "refused", 403, "unauthorized")
		_ = i
	}
	c.register(`{"onlyReturnExisting":true}`).want(t, "no account came of it", 400, "accountDoesNotExist")
	binding := c.binding(kid, secret, nil)
	a := c.register(eab(binding))
	a.want(t, "bound", 201, "")
	var account accountJSON
	a.into(t, &account)
	if string(account.Binding) != binding { // section 7.3.4: the same value as in the request
		t.Errorf("reflected %s, sent %s", account.Binding, binding)
	}
	late := w.client()
	late.register(eab(late.binding(kid, secret, nil))).want(t, "used", 403, "unauthorized")
	w.advance(2 * time.Hour)
	late.register(eab(late.binding(expired, expiredSecret, nil))).want(t, "expired", 403, "unauthorized")
	many, manySecret := key(true, time.Time{})
	for range 3 {
		c := w.client()
		c.register(eab(c.binding(many, manySecret, nil))).want(t, "reusable", 201, "")
	}

	// 100: one key, used at once by many.
	kid, secret = key(false, time.Time{})
	var created, unauthorized atomic.Int32
	var group sync.WaitGroup
	for range 20 {
		c := w.client()
		h := c.header("/acme/new-account")
		body := c.jws(h, eab(c.binding(kid, secret, nil)))
		group.Go(func() {
			switch a := w.post("/acme/new-account", body); {
			case a.status == 201:
				created.Add(1)
			case a.status == 403 && a.problem.Type == "unauthorized":
				unauthorized.Add(1)
			}
		})
	}
	group.Wait()
	if created.Load() != 1 || unauthorized.Load() != 19 {
		t.Errorf("%d accounts, %d refused", created.Load(), unauthorized.Load())
	}
}

func TestBindingIgnored(t *testing.T) { // 101
	w := newWorld(t)
	for _, binding := range []string{`"x"`, `{}`, `7`, w.client().binding("k", []byte("s"), nil)} {
		a := w.client().register(`{"externalAccountBinding":` + binding + `}`)
		if a.status != 201 || strings.Contains(string(a.body), "externalAccountBinding") {
			t.Errorf("%s: %d %s", binding, a.status, a.body)
		}
	}
}

// inner is a good inner JWS of a key change, then edited.
func (c *client) inner(to *client, header func(map[string]any), payload func(map[string]any)) string {
	h := map[string]any{"alg": to.alg, "jwk": to.jwk(), "url": base + "/acme/key-change"}
	p := map[string]any{"account": c.kid, "oldKey": c.jwk()}
	if header != nil {
		header(h)
	}
	if payload != nil {
		payload(p)
	}
	b, err := json.Marshal(p)
	must(c.w.t, err)
	return to.jws(h, string(b))
}

func TestKeyChange(t *testing.T) {
	w := newWorld(t)
	c, other, to := w.registered(), w.registered(), w.client()
	pending := c.order("a.example")
	const path = "/acme/key-change"
	weak := `{"kty":"RSA","e":"AQAB","n":"` + b64([]byte(strings.Repeat("\xff", 128))) + `"}`
	for what, k := range map[string]struct{ payload, kind string }{
		"no JWS":           {`{}`, "malformed"},
		"array":            {`[]`, "malformed"},
		"inner by old key": {c.inner(&client{w: w, key: c.key, alg: "ES256"}, func(h map[string]any) { h["jwk"] = to.jwk() }, nil), "malformed"}, // 102
		"inner nonce":      {c.inner(to, func(h map[string]any) { h["nonce"] = w.nonce() }, nil), "malformed"},                                   // 103
		"inner kid":        {c.inner(to, func(h map[string]any) { delete(h, "jwk"); h["kid"] = c.kid }, nil), "malformed"},
		"inner both":       {c.inner(to, func(h map[string]any) { h["kid"] = c.kid }, nil), "malformed"},
		"inner url":        {c.inner(to, func(h map[string]any) { h["url"] = base + "/acme/new-order" }, nil), "malformed"},
		"inner no url":     {c.inner(to, func(h map[string]any) { delete(h, "url") }, nil), "malformed"},
		"inner alg":        {c.inner(to, func(h map[string]any) { h["alg"] = "HS256" }, nil), "badSignatureAlgorithm"},
		"inner alg misfit": {c.inner(to, func(h map[string]any) { h["alg"] = "ES384" }, nil), "malformed"},
		"account":          {c.inner(to, nil, func(p map[string]any) { p["account"] = other.kid }), "malformed"}, // 104
		"no account":       {c.inner(to, nil, func(p map[string]any) { delete(p, "account") }), "malformed"},
		"oldKey":           {c.inner(to, nil, func(p map[string]any) { p["oldKey"] = other.jwk() }), "malformed"},
		"oldKey = new key": {c.inner(to, nil, func(p map[string]any) { p["oldKey"] = to.jwk() }), "malformed"},
		"no oldKey":        {c.inner(to, nil, func(p map[string]any) { delete(p, "oldKey") }), "malformed"},
		"oldKey a string":  {c.inner(to, nil, func(p map[string]any) { p["oldKey"] = "x" }), "malformed"},
		"weak key":         {c.inner(to, func(h map[string]any) { h["jwk"] = json.RawMessage(weak) }, nil), "badPublicKey"}, // 107
		"inner not JSON":   {to.jws(map[string]any{"alg": "ES256", "jwk": to.jwk(), "url": base + path}, "x"), "malformed"},
		"inner empty":      {to.jws(map[string]any{"alg": "ES256", "jwk": to.jwk(), "url": base + path}, ""), "malformed"},
		"same key":         {c.inner(&client{w: w, key: c.key, alg: "ES256"}, nil, nil), "malformed"}, // 106
	} {
		c.post(path, k.payload).want(t, what, 400, k.kind)
	}
	a := c.post(path, c.inner(&client{w: w, key: other.key, alg: "ES256"}, nil, nil)) // 105
	a.want(t, "key of another account", 409, "malformed")
	if a.header.Get("Location") != other.kid {
		t.Errorf("Location %q, want %q", a.header.Get("Location"), other.kid)
	}
	c.at(c.kid, "").want(t, "the old key is still good", 200, "")

	a = c.post(path, c.inner(to, nil, nil))
	a.want(t, "key change", 200, "")
	to.kid = c.kid
	c.at(c.kid, "").want(t, "the old key", 400, "malformed")
	to.at(c.kid, "").want(t, "the new key", 200, "")
	if a := to.register(`{"onlyReturnExisting":true}`); a.status != 200 || to.kid != c.kid {
		t.Errorf("newAccount with the new key: %d at %s", a.status, to.kid)
	}
	to.fulfil(pending) // 109
	to.at(pending.url, "").into(t, pending)
	if pending.Status != "ready" {
		t.Errorf("the order is %s after the key change", pending.Status)
	}
}

func TestKeyChangesInParallel(t *testing.T) { // 108
	w := newWorld(t)
	c := w.registered()
	var bodies []string
	for range 20 {
		to := w.client()
		bodies = append(bodies, c.jws(c.header("/acme/key-change"), c.inner(to, nil, nil)))
	}
	var changed, refused atomic.Int32
	var group sync.WaitGroup
	for _, body := range bodies {
		group.Go(func() {
			switch a := w.post("/acme/key-change", body); {
			case a.status == 200:
				changed.Add(1)
			case a.status >= 400 && a.status < 500:
				refused.Add(1)
			}
		})
	}
	group.Wait()
	if changed.Load() != 1 || refused.Load() != 19 {
		t.Errorf("%d changed, %d refused", changed.Load(), refused.Load())
	}
}
