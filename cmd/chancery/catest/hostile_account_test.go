package catest_test

import (
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"chancery/cmd/chancery/catest"
)

// accounts is rows 89 to 94 and 102 to 109.
func (h *hostile) accounts() {
	for i, payload := range []string{"{}", `{"onlyReturnExisting":true}`, `{"contact":["https://ignored.example"]}`, `{"contact":["mailto:a@b.example"],"termsOfServiceAgreed":true}`} {
		h.is(89, fmt.Sprintf("again %d", i), func(t *testing.T) {
			h.with(t, func() {
				a := h.post(request{by: h.account, url: "/acme/new-account", payload: payload, jwk: true})
				a.want(t, 200, "")
				if a.location != h.account.kid || strings.Contains(string(a.body), "contact") {
					t.Errorf("Location %s, %s; want %s, unchanged", a.location, a.body, h.account.kid)
				}
			})
		})
	}
	for i, payload := range []string{`{"onlyReturnExisting":true}`, `{"onlyReturnExisting":true,"contact":["mailto:a@b.example"],"termsOfServiceAgreed":true}`} {
		h.is(90, fmt.Sprintf("nobody %d", i), func(t *testing.T) {
			h.with(t, func() {
				p := &party{key: ecKey(t, elliptic.P256()), alg: "ES256"}
				for range 2 {
					h.post(request{by: p, url: "/acme/new-account", payload: payload}).want(t, 400, "accountDoesNotExist")
				}
			})
		})
	}
	h.contacts()
	h.keyChanges()
}

func (h *hostile) contacts() {
	long := strings.Repeat("a", 400)
	kinds := map[string][]string{
		"unsupportedContact": {"tel:+4930123456", "https://a.example", "", "a@b.example", "mail:a@b.example", "xmpp:a@b.example", "javascript:alert(1)", " mailto:a@b.example", "data:,x", "mailto", "file:///etc/passwd", "urn:x", "//a.example", "mailto%3Aa@b.example"},
		"invalidContact": {
			"mailto:", "mailto:a", "mailto:@", "mailto:@b.example", "mailto:a@", "mailto:a@b@c.example", "mailto:a@b.example,c@d.example", "mailto:a@b.example;c@d.example", "mailto:a@b.example c@d.example", "mailto:a@b.example?subject=x", "mailto:a@b.example?cc=c@d.example",
			"mailto:a@b.example#x", "mailto:a%40b.example", "mailto:a@b.example\r\nBcc: c@d.example", "mailto:a@b.example\n", "mailto:a\tb@c.example", "mailto:<a@b.example>", "mailto:A <a@b.example>", "mailto:\"a\"@b.example", "mailto:(c)a@b.example", "mailto:ä@b.example", "mailto:a@ä.example", "mailto:a@b..example",
			"mailto:a@.b.example", "mailto:a@b.example.", "mailto:a@-b.example", "mailto:a@b_c.example", "mailto:a@[127.0.0.1]", "mailto:a@127.0.0.1", "mailto:a@*.example", "mailto:.a@b.example", "mailto:a.@b.example", "mailto:a..b@c.example", "mailto:" + long + "@b.example", "mailto:a@" + long + ".example",
			"mailto:a@b.example\x7f", "mailto:a@b.example%0a", "MAILTO:a@b.example?x", "mailto:a@xn--a", "mailto:a@b.example\u2028", "mailto: a@b.example",
		},
	}
	for _, kind := range sorted(kinds) {
		row := map[string]int{"unsupportedContact": 92, "invalidContact": 93}[kind]
		for _, c := range kinds[kind] {
			payload := jsonOf(map[string]any{"contact": []string{c}})
			h.is(row, fmt.Sprintf("new account %.40q", c), func(t *testing.T) {
				h.with(t, func() {
					h.post(request{by: &party{key: ecKey(t, elliptic.P256()), alg: "ES256"}, url: "/acme/new-account", payload: payload}).want(t, 400, kind)
				})
			})
			h.posted(row, fmt.Sprintf("update %.40q", c), request{by: h.account, url: h.account.kid, payload: payload}, 400, kind)
			h.posted(row, fmt.Sprintf("beside a good one %.40q", c), request{by: h.account, url: h.account.kid, payload: jsonOf(map[string]any{"contact": []string{"mailto:good@b.example", c}})}, 400, kind)
		}
	}
	for _, n := range []int{11, 100, 1000} {
		var many []string
		for i := range n {
			many = append(many, fmt.Sprintf("mailto:a%d@b.example", i))
		}
		h.posted(94, fmt.Sprintf("%d contacts", n), request{by: h.account, url: h.account.kid, payload: jsonOf(map[string]any{"contact": many})}, 400, "invalidContact")
	}
	h.posted(94, "no contact at all", request{by: h.account, url: h.account.kid, payload: `{"contact":[]}`}, 200, "")
}

// rollover is a key change whose parts a case can spoil.
type rollover struct {
	to      *party         // who signs the inner JWS
	header  map[string]any // changes of the inner header
	account any            // of the inner payload
	oldKey  any
	payload string // instead of both
}

func (h *hostile) rollover(by *party, r rollover) request {
	head := map[string]any{"alg": r.to.alg, "jwk": jwkOf(r.to.key.Public()), "url": h.base + "/acme/key-change"}
	for name, v := range r.header {
		if v == nil {
			delete(head, name)
			continue
		}
		head[name] = v
	}
	if r.account == nil {
		r.account = by.kid
	}
	if r.oldKey == nil {
		r.oldKey = jwkOf(by.key.Public())
	}
	if r.payload == "" {
		r.payload = jsonOf(map[string]any{"account": r.account, "oldKey": r.oldKey})
	}
	inner := h.text(request{by: r.to, protected: jsonOf(head), payload: r.payload})
	return request{by: by, url: "/acme/key-change", payload: inner}
}

func (h *hostile) keyChanges() {
	fresh := func() *party { return &party{key: ecKey(h.t, elliptic.P256()), alg: "ES256"} }
	change := func(row int, what string, r rollover, status int, kind string) {
		if r.to == nil {
			r.to = fresh()
		}
		h.posted(row, what, h.rollover(h.account, r), status, kind)
	}
	h.posted(102, "signed by the old key", func() request {
		r := h.rollover(h.account, rollover{to: &party{key: h.account.key, alg: "ES256"}, header: map[string]any{"jwk": jwkOf(fresh().key.Public())}})
		return r
	}(), 400, "malformed")
	h.posted(102, "signed by a third key", h.rollover(h.account, rollover{to: &party{key: h.other.key, alg: "ES256"}, header: map[string]any{"jwk": jwkOf(fresh().key.Public())}}), 400, "malformed")
	for what, header := range map[string]map[string]any{
		"a nonce": {"nonce": "AAAA"}, "an empty nonce": {"nonce": ""}, "no jwk": {"jwk": nil}, "kid for jwk": {"jwk": nil, "kid": h.account.kid}, "kid and jwk": {"kid": h.account.kid},
		"no url": {"url": nil}, "another url": {"url": h.base + "/acme/new-order"}, "url of another host": {"url": "https://evil.example/acme/key-change"}, "url in upper case": {"url": strings.ToUpper(h.base) + "/acme/key-change"}, "an empty url": {"url": ""},
		"crit": {"crit": []string{"x"}}, "b64": {"b64": false}, "no alg": {"alg": nil}, "alg ES384": {"alg": "ES384"},
	} {
		change(103, what, rollover{header: header}, 400, "malformed")
	}
	for _, alg := range []string{"none", "HS256", "PS256", "ES256K"} {
		change(103, "alg "+alg, rollover{header: map[string]any{"alg": alg}}, 400, "badSignatureAlgorithm")
	}
	for what, account := range map[string]any{"another": h.other.kid, "none": "", "with a slash": h.account.kid + "/", "in upper case": strings.ToUpper(h.account.kid), "a number": 1, "a list": []string{h.account.kid}, "http": strings.Replace(h.account.kid, "https", "http", 1)} {
		change(104, "account "+what, rollover{account: account}, 400, "malformed")
	}
	for what, key := range map[string]any{"another's": jwkOf(h.other.key.Public()), "a string": "x", "empty": map[string]any{}, "null": json.RawMessage("null"), "of RSA": map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB"}} {
		change(104, "oldKey "+what, rollover{oldKey: key}, 400, "malformed")
	}
	for _, payload := range []string{"{}", "[]", "null", `""`, "x", `{"account":"` + h.account.kid + `"}`, `{"account":"` + h.account.kid + `","oldKey":{},"oldKey":{}}`} {
		change(104, "payload "+payload[:min(len(payload), 20)], rollover{payload: payload}, 400, "malformed")
	}
	h.is(105, "the key of another account", func(t *testing.T) {
		h.with(t, func() {
			a := h.post(h.rollover(h.account, rollover{to: &party{key: h.other.key, alg: "ES256"}}))
			a.want(t, 409, "malformed")
			if a.location != h.other.kid {
				t.Errorf("Location %q, want %q", a.location, h.other.kid)
			}
		})
	})
	change(106, "the key that it has", rollover{to: &party{key: h.account.key, alg: "ES256"}}, 400, "malformed")
	weak := weakRSA(h.t)
	for _, what := range sorted(weak) {
		change(107, "RSA "+what, rollover{header: map[string]any{"alg": "RS256", "jwk": map[string]any{"kty": "RSA", "n": b64(weak[what][0].Bytes()), "e": b64(weak[what][1].Bytes())}}}, 400, "badPublicKey")
	}
	for _, payload := range []string{"{}", "[]", `"x"`, `{"protected":"e30","payload":"","signature":""}`, `{"signatures":[]}`, `{"header":{}}`} {
		h.posted(103, "no inner JWS: "+payload, request{by: h.account, url: "/acme/key-change", payload: payload}, 400, "malformed")
	}
	h.racingChanges()
	h.is(109, "a pending order goes on", func(t *testing.T) {
		h.with(t, func() {
			p := h.register()
			o := h.order(p, "goes-on.example")
			next := fresh()
			h.post(h.rollover(p, rollover{to: next})).want(t, 200, "")
			next.kid = p.kid
			h.post(request{by: p, url: o.location}).want(t, 400, "malformed") // by the old key
			if got := h.readyOrder(next, "goes-on.example"); got.status != 200 {
				t.Errorf("the order is %s", got.body)
			}
			h.post(request{by: next, url: o.location}).want(t, 200, "")
		})
	})
}

// racingChanges: of two key changes at once one wins, and one key is good.
func (h *hostile) racingChanges() {
	for i := range 5 {
		h.is(108, fmt.Sprintf("race %d", i), func(t *testing.T) {
			h.with(t, func() {
				p := h.register()
				keys := []*party{{key: ecKey(t, elliptic.P256()), alg: "ES256", kid: p.kid}, {key: ecKey(t, elliptic.P256()), alg: "ES256", kid: p.kid}}
				status := make([]int, len(keys))
				var wg sync.WaitGroup
				for i, k := range keys {
					body := h.text(h.rollover(p, rollover{to: k}))
					wg.Go(func() { status[i] = h.postBody(h.base+"/acme/key-change", body, nil).status })
				}
				wg.Wait()
				won := 0
				for i, k := range keys {
					read := h.post(request{by: k, url: p.kid})
					if (status[i] == 200) != (read.status == 200) {
						t.Errorf("a change that was told %d: its key is told %d", status[i], read.status)
					}
					if status[i] == 200 {
						won++
					} else if status[i] < 400 || status[i] >= 500 {
						t.Errorf("the loser was told %d", status[i])
					}
				}
				if won != 1 {
					t.Errorf("%d changes won", won)
				}
			})
		})
	}
}

// binding is an external account binding whose parts a case can spoil.
type binding struct {
	kid, secret string
	alg         string
	header      map[string]any
	key         any    // the payload
	url         string // whole
	mac         func([]byte) []byte
}

func (h *hostile) binding(b binding) map[string]any {
	secret, err := base64.RawURLEncoding.DecodeString(b.secret)
	if err != nil {
		h.t.Fatal(err)
	}
	if b.alg == "" {
		b.alg = "HS256"
	}
	head := map[string]any{"alg": b.alg, "kid": b.kid, "url": b.url}
	for name, v := range b.header {
		if v == nil {
			delete(head, name)
			continue
		}
		head[name] = v
	}
	protected, payload := b64([]byte(jsonOf(head))), b64([]byte(jsonOf(b.key)))
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(protected + "." + payload))
	mac := m.Sum(nil)
	if b.mac != nil {
		mac = b.mac(mac)
	}
	return map[string]any{"protected": protected, "payload": payload, "signature": b64(mac)}
}

// bindings is rows 91 and 95 to 101. Whether a binding is needed is one
// setting for a whole CA, so that this is another one.
func (h *hostile) bindings() {
	h.posted(101, "not supported, and nonsense", request{by: &party{key: ecKey(h.t, elliptic.P256()), alg: "ES256"}, url: "/acme/new-account", payload: `{"externalAccountBinding":{"protected":1}}`}, 201, "")
	h.is(101, "not reflected", func(t *testing.T) {
		h.with(t, func() {
			a := h.post(request{by: &party{key: ecKey(t, elliptic.P256()), alg: "ES256"}, url: "/acme/new-account", payload: `{"externalAccountBinding":{"protected":"c4n4ry"}}`})
			if a.status != 201 || strings.Contains(string(a.body), "c4n4ry") || strings.Contains(string(a.body), "externalAccountBinding") {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	})
	c := catest.Start(h.t, catest.On(h.c.Net), catest.Set("acme.external_account=required", "acme.terms_of_service=https://terms.example/"))
	e := &hostile{t: h.t, c: c, base: strings.TrimSuffix(c.DirectoryURL, "/acme/directory"), rows: h.rows}
	defer func() { h.total += e.total }()
	newAccount := e.base + "/acme/new-account"
	id, secret := c.ExternalKey("hostile")
	post := func(row int, what string, status int, kind string, b binding) {
		p := &party{key: ecKey(h.t, elliptic.P256()), alg: "ES256"}
		if b.kid == "" {
			b.kid = id
		}
		if b.secret == "" {
			b.secret = secret
		}
		if b.key == nil {
			b.key = jwkOf(p.key.Public())
		}
		if b.url == "" {
			b.url = newAccount
		}
		e.posted(row, what, request{by: p, url: newAccount, payload: jsonOf(map[string]any{"termsOfServiceAgreed": true, "externalAccountBinding": e.binding(b)})}, status, kind)
	}
	p := &party{key: ecKey(h.t, elliptic.P256()), alg: "ES256"}
	for _, payload := range []string{`{}`, `{"termsOfServiceAgreed":false}`, `{"termsOfServiceAgreed":null}`} {
		e.is(91, payload, func(t *testing.T) {
			e.with(t, func() {
				a := e.post(request{by: p, url: newAccount, payload: payload})
				a.want(t, 403, "userActionRequired")
				if !strings.Contains(strings.Join(a.header["Link"], " "), `<https://terms.example/>;rel="terms-of-service"`) {
					t.Errorf("Link: %q", a.header["Link"])
				}
			})
		})
	}
	for _, payload := range []string{`{"termsOfServiceAgreed":true}`, `{"termsOfServiceAgreed":true,"externalAccountBinding":null}`} {
		e.posted(95, payload, request{by: p, url: newAccount, payload: payload}, 403, "externalAccountRequired")
	}
	for _, v := range jsonValues {
		if v.kind != "null" {
			e.posted(96, "no object: "+v.text, request{by: p, url: newAccount, payload: `{"termsOfServiceAgreed":true,"externalAccountBinding":` + v.text + `}`}, 400, "malformed")
		}
	}
	for _, alg := range []string{"RS256", "none", "ES256", "EdDSA", "HS1", "hs256", "", "HS257"} {
		post(96, "alg "+alg, 400, "malformed", binding{alg: alg, header: map[string]any{"alg": alg}})
	}
	for what, header := range map[string]map[string]any{
		"a nonce": {"nonce": "AAAA"}, "no kid": {"kid": nil}, "jwk": {"kid": nil, "jwk": jwkOf(p.key.Public())}, "both": {"jwk": jwkOf(p.key.Public())}, "no url": {"url": nil}, "crit": {"crit": []string{"x"}}, "kid of 5,000": {"kid": strings.Repeat("k", 5000)}, "kid a number": {"kid": 7}, "kid empty": {"kid": ""},
	} {
		post(96, what, 400, "malformed", binding{header: header})
	}
	for _, u := range []string{"https://evil.example/acme/new-account", e.base + "/acme/new-order", newAccount + "/", strings.ToUpper(newAccount), strings.Replace(newAccount, "https", "http", 1)} {
		post(96, "url "+e.path(u), 400, "malformed", binding{url: u})
	}
	post(97, "another key", 403, "unauthorized", binding{key: jwkOf(ecKey(h.t, elliptic.P256()).Public())})
	for what, key := range map[string]any{"no key": map[string]any{}, "a string": "x", "a private one": map[string]any{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"}} {
		post(97, what, 400, "malformed", binding{key: key})
	}
	for what, mac := range map[string]func([]byte) []byte{
		"empty": func([]byte) []byte { return nil }, "zeros": func([]byte) []byte { return make([]byte, 32) }, "short": func(m []byte) []byte { return m[:16] }, "long": func(m []byte) []byte { return append(m, 0) },
		"one bit": func(m []byte) []byte { m[31] ^= 1; return m }, "reversed": func(m []byte) []byte {
			for i, j := 0, len(m)-1; i < j; i, j = i+1, j-1 {
				m[i], m[j] = m[j], m[i]
			}
			return m
		},
	} {
		post(98, "MAC "+what, 403, "unauthorized", binding{mac: mac})
	}
	for i := range 40 {
		post(98, fmt.Sprintf("guess %d", i), 403, "unauthorized", binding{secret: b64([]byte(fmt.Sprintf("%032d", i)))})
	}
	e.uselessKeys(post)
	e.is(98, "and after all guesses the key still binds", func(t *testing.T) {
		e.with(t, func() {
			good := &party{key: ecKey(t, elliptic.P256()), alg: "ES256"}
			b := e.binding(binding{kid: id, secret: secret, url: newAccount, key: jwkOf(good.key.Public())})
			e.post(request{by: good, url: newAccount, payload: jsonOf(map[string]any{"termsOfServiceAgreed": true, "externalAccountBinding": b})}).want(t, 201, "")
		})
	})
	post(99, "used", 403, "unauthorized", binding{})
	e.is(100, "two keys at once", func(t *testing.T) { e.with(t, func() { e.racingBindings(t, newAccount) }) })
}

// uselessKeys: unknown, expired, revoked and used keys are told the same.
func (h *hostile) uselessKeys(post func(int, string, int, string, binding)) {
	var key struct{ ID, Secret string }
	h.c.Operator(http.MethodPost, "/api/v1/external-keys", map[string]any{"label": "revoked"}, &key)
	h.c.Operator(http.MethodPost, "/api/v1/external-keys/"+key.ID+"/revoke", nil, nil)
	post(99, "revoked", 403, "unauthorized", binding{kid: key.ID, secret: key.Secret})
	for _, kid := range []string{"AAAAAAAAAAAAAAAAAAAAAA", "x", "'", "../..", "%00", strings.Repeat("k", 900), "\u202e", " " + key.ID, key.ID + " "} {
		post(99, fmt.Sprintf("unknown %.20q", kid), 403, "unauthorized", binding{kid: kid})
	}
}

func (h *hostile) racingBindings(t *testing.T, newAccount string) {
	t.Helper()
	id, secret := h.c.ExternalKey("race")
	const racers = 8
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for range racers {
		p := &party{key: ecKey(t, elliptic.P256()), alg: "ES256"}
		b := h.binding(binding{kid: id, secret: secret, url: newAccount, key: jwkOf(p.key.Public())})
		body := h.text(request{by: p, url: newAccount, payload: jsonOf(map[string]any{"termsOfServiceAgreed": true, "externalAccountBinding": b})})
		wg.Go(func() {
			a := h.postBody(newAccount, body, nil)
			mu.Lock()
			got[a.status]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if got[201] != 1 || got[403] != racers-1 {
		t.Errorf("%v, want one 201 and %d times 403", got, racers-1)
	}
}
