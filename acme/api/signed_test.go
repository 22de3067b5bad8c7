package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// SAFETY group H-W, with exact status and type.

func TestEveryAlgorithm(t *testing.T) {
	w := newWorld(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	keys := map[string]crypto.Signer{"EdDSA": ed, "RS256": rs}
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		keys[alg], err = ecdsa.GenerateKey(curve, rand.Reader)
		must(t, err)
	}
	for alg, key := range keys {
		c := &client{w: w, key: key, alg: alg}
		c.register("{}").want(t, alg+" newAccount", 201, "")
		if o := c.order("a.example"); o.Status != "pending" {
			t.Errorf("%s: order %+v", alg, o)
		}
		for other := range keys { // SAFETY 39
			if other == alg {
				continue
			}
			h := c.header("/acme/new-order")
			h["alg"] = other
			w.post("/acme/new-order", c.jws(h, "{}")).want(t, other+" with a key for "+alg, 400, "malformed")
		}
	}
}

func TestHeader(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	other := w.registered()
	const path = "/acme/new-order"
	good := "{" + identifiers("a.example") + "}"
	for what, k := range map[string]struct {
		edit   func(h map[string]any)
		status int
		kind   string
	}{
		"good":               {func(map[string]any) {}, 201, ""},
		"alg none":           {func(h map[string]any) { h["alg"] = "none" }, 400, "badSignatureAlgorithm"}, // 35
		"alg HS256":          {func(h map[string]any) { h["alg"] = "HS256" }, 400, "badSignatureAlgorithm"},
		"alg RS512":          {func(h map[string]any) { h["alg"] = "RS512" }, 400, "badSignatureAlgorithm"}, // 37
		"alg PS256":          {func(h map[string]any) { h["alg"] = "PS256" }, 400, "badSignatureAlgorithm"},
		"alg ES256K":         {func(h map[string]any) { h["alg"] = "ES256K" }, 400, "badSignatureAlgorithm"},
		"alg a number":       {func(h map[string]any) { h["alg"] = 256 }, 400, "malformed"}, // 38
		"alg missing":        {func(h map[string]any) { delete(h, "alg") }, 400, "malformed"},
		"jwk and kid":        {func(h map[string]any) { h["jwk"] = c.jwk() }, 400, "malformed"}, // 40
		"neither":            {func(h map[string]any) { delete(h, "kid") }, 400, "malformed"},   // 41
		"jwk on newOrder":    {func(h map[string]any) { delete(h, "kid"); h["jwk"] = c.jwk() }, 400, "malformed"},
		"unknown account":    {func(h map[string]any) { h["kid"] = base + "/acme/account/AZAAAAAAcAAAAAAAAAAAAA" }, 400, "accountDoesNotExist"}, // 43
		"kid of another":     {func(h map[string]any) { h["kid"] = other.kid }, 400, "malformed"},
		"kid of other host":  {func(h map[string]any) { h["kid"] = strings.Replace(c.kid, "ca.", "xa.", 1) }, 400, "accountDoesNotExist"}, // 44
		"kid by http":        {func(h map[string]any) { h["kid"] = strings.Replace(c.kid, "https", "http", 1) }, 400, "accountDoesNotExist"},
		"kid relative":       {func(h map[string]any) { h["kid"] = strings.TrimPrefix(c.kid, base) }, 400, "accountDoesNotExist"},
		"kid bare":           {func(h map[string]any) { h["kid"] = c.kid[strings.LastIndexByte(c.kid, '/')+1:] }, 400, "accountDoesNotExist"},
		"kid with slash":     {func(h map[string]any) { h["kid"] = c.kid + "/" }, 400, "malformed"},
		"kid upper-case":     {func(h map[string]any) { h["kid"] = strings.Replace(c.kid, "account", "ACCOUNT", 1) }, 400, "accountDoesNotExist"},
		"kid with a newline": {func(h map[string]any) { h["kid"] = c.kid[:len(c.kid)-1] + "\n" }, 400, "malformed"},
		"kid of 10 kB":       {func(h map[string]any) { h["kid"] = c.kid + strings.Repeat("A", 10_000) }, 400, "malformed"}, // 45
		"kid with dots":      {func(h map[string]any) { h["kid"] = base + "/acme/account/../account/x" }, 400, "malformed"},
		"kid with SQL":       {func(h map[string]any) { h["kid"] = base + "/acme/account/' OR 1=1 --" }, 400, "malformed"},
		"kid a number":       {func(h map[string]any) { h["kid"] = 7 }, 400, "malformed"},
		"crit":               {func(h map[string]any) { h["crit"] = []string{"x"}; h["x"] = 1 }, 400, "malformed"}, // 61
		"b64 false":          {func(h map[string]any) { h["b64"] = false; h["crit"] = []string{"b64"} }, 400, "malformed"},
		"jku":                {func(h map[string]any) { h["jku"] = "http://127.0.0.1:1/" }, 201, ""}, // 62: ignored
		"zip":                {func(h map[string]any) { h["zip"] = "DEF" }, 201, ""},
		"nonce missing":      {func(h map[string]any) { delete(h, "nonce") }, 400, "badNonce"}, // 63
		"nonce invented":     {func(h map[string]any) { h["nonce"] = strings.Repeat("A", 22) }, 400, "badNonce"},
		"nonce of a byte":    {func(h map[string]any) { h["nonce"] = "AA" }, 400, "badNonce"},
		"nonce a number":     {func(h map[string]any) { h["nonce"] = 5 }, 400, "malformed"}, // 66
		"nonce of 10 kB":     {func(h map[string]any) { h["nonce"] = strings.Repeat("A", 10_000) }, 400, "malformed"},
		"nonce not base64":   {func(h map[string]any) { h["nonce"] = "!!!!" }, 400, "malformed"},
		"url missing":        {func(h map[string]any) { delete(h, "url") }, 400, "malformed"}, // 69
		"url in upper case":  {func(h map[string]any) { h["url"] = "HTTPS://ca.example" + path }, 401, "unauthorized"},
		"url with port":      {func(h map[string]any) { h["url"] = "https://ca.example:443" + path }, 401, "unauthorized"}, // 70
		"url encoded":        {func(h map[string]any) { h["url"] = base + "/acme/new%2Dorder" }, 401, "unauthorized"},
		"url by http":        {func(h map[string]any) { h["url"] = "http://ca.example" + path }, 401, "unauthorized"},
		"url with slash":     {func(h map[string]any) { h["url"] = base + path + "/" }, 401, "unauthorized"},
		"url relative":       {func(h map[string]any) { h["url"] = path }, 401, "unauthorized"},
		"url of another":     {func(h map[string]any) { h["url"] = base + "/acme/new-authz" }, 401, "unauthorized"}, // 71
		"url empty":          {func(h map[string]any) { h["url"] = "" }, 401, "unauthorized"},
	} {
		h := c.header(path)
		k.edit(h)
		a := w.post(path, c.jws(h, good))
		a.want(t, what, k.status, k.kind)
		if k.kind == "badSignatureAlgorithm" && strings.Join(a.problem.Algorithms, " ") != "ES256 EdDSA RS256 ES384 ES512" {
			t.Errorf("%s: algorithms %q", what, a.problem.Algorithms)
		}
	}
	// 42: kid where a jwk must be.
	h := c.header("/acme/new-account")
	w.post("/acme/new-account", c.jws(h, "{}")).want(t, "kid on newAccount", 400, "malformed")
}

func TestBadKeys(t *testing.T) { // SAFETY 46 to 53 at the door; all forms are in acme/key_test.go
	w := newWorld(t)
	c := w.client()
	for what, k := range map[string]struct{ jwk, kind string }{
		"oct":      {`{"kty":"oct","k":"AAAA"}`, "badPublicKey"},
		"private":  {strings.Replace(string(c.jwk()), "{", `{"d":"AAAA",`, 1), "malformed"},
		"RSA 1024": {`{"kty":"RSA","e":"AQAB","n":"` + b64([]byte(strings.Repeat("\xff", 128))) + `"}`, "badPublicKey"},
		"no curve": {`{"kty":"EC"}`, "malformed"},
		"Ed448":    {`{"kty":"OKP","crv":"Ed448","x":"AAAA"}`, "badPublicKey"},
		"array":    {`[]`, "malformed"},
		"empty":    {`{}`, "malformed"},
	} {
		h := map[string]any{"alg": "ES256", "nonce": w.nonce(), "url": base + "/acme/new-account", "jwk": json.RawMessage(k.jwk)}
		w.post("/acme/new-account", c.jws(h, "{}")).want(t, what, 400, k.kind)
	}
}

func TestBadSignature(t *testing.T) { // SAFETY 55, 57, 58
	w := newWorld(t)
	c := w.registered()
	const path = "/acme/new-order"
	good := "{" + identifiers("a.example") + "}"
	type flat struct{ Protected, Payload, Signature string }
	for what, edit := range map[string]func(*flat){
		"payload":         func(f *flat) { f.Payload = b64s("{" + identifiers("b.example") + "}") },
		"payload emptied": func(f *flat) { f.Payload = "" },
		"protected again": func(f *flat) { // the same header, spelled differently
			h := c.header(path)
			b, err := json.MarshalIndent(h, "", " ")
			must(t, err)
			f.Protected = b64(b)
		},
		"signature empty":     func(f *flat) { f.Signature = "" },
		"signature of zeros":  func(f *flat) { f.Signature = b64(make([]byte, 64)) },
		"signature too long":  func(f *flat) { f.Signature += "AA" },
		"signature in DER":    func(f *flat) { f.Signature = b64([]byte{0x30, 6, 2, 1, 1, 2, 1, 1}) },
		"signature not b64":   func(f *flat) { f.Signature = "!" },
		"signature of others": func(f *flat) { f.Signature = b64(sign(t, ecKey(t), "ES256", f.Protected+"."+f.Payload)) },
	} {
		var f flat
		must(t, json.Unmarshal([]byte(c.jws(c.header(path), good)), &f))
		edit(&f)
		w.post(path, `{"protected":"`+f.Protected+`","payload":"`+f.Payload+`","signature":"`+f.Signature+`"}`).want(t, what, 400, "malformed")
	}
	for what, body := range map[string]string{
		"empty": "", "null": "null", "array": "[]", "compact": "a.b.c", "two values": c.jws(c.header(path), good) + "{}", // 31, 32, 82
		"general": `{"payload":"","signatures":[{"protected":"e30","signature":""}]}`, // 33
		"header":  strings.Replace(c.jws(c.header(path), good), "{", `{"header":{},`, 1),
		"BOM":     "\ufeff" + c.jws(c.header(path), good), "[ × 10⁴": strings.Repeat("[", 10_000), // 77, 81
	} {
		w.post(path, body).want(t, what, 400, "malformed")
	}
}

func TestNonceAtTheDoor(t *testing.T) {
	w := newWorld(t)
	c := w.registered()
	const path = "/acme/new-order"
	h := c.header(path)
	body := c.jws(h, "{"+identifiers("a.example")+"}")
	w.post(path, body).want(t, "first", 201, "")
	a := w.post(path, body)
	a.want(t, "again", 400, "badNonce") // SAFETY 64
	h["nonce"] = a.header.Get("Replay-Nonce")
	w.post(path, c.jws(h, "{"+identifiers("a.example")+"}")).want(t, "with the fresh one", 201, "")

	h = c.header(path) // 68: burnt although the request failed
	w.post(path, c.jws(h, "{}")).want(t, "bad payload", 400, "malformed")
	w.post(path, c.jws(h, "{"+identifiers("a.example")+"}")).want(t, "its nonce again", 400, "badNonce")

	h = c.header(path) // a request that nobody signed uses nothing up
	forged := (&client{w: w, key: ecKey(t), alg: "ES256", kid: c.kid}).jws(h, "{}")
	w.post(path, forged).want(t, "forged", 400, "malformed")
	w.post(path, c.jws(h, "{"+identifiers("a.example")+"}")).want(t, "the owner's", 201, "")

	h = c.header(path)
	w.advance(2 * time.Hour) // 65
	w.post(path, c.jws(h, "{"+identifiers("a.example")+"}")).want(t, "expired", 400, "badNonce")
	h = c.header(path)
	h["nonce"] = newWorld(t).nonce()
	w.post(path, c.jws(h, "{}")).want(t, "of another CA", 400, "badNonce")
}

func TestReplayInParallel(t *testing.T) { // SAFETY 67
	w := newWorld(t)
	c := w.registered()
	body := c.jws(c.header("/acme/new-order"), "{"+identifiers("a.example")+"}")
	var accepted, refused atomic.Int32
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			for range 10 {
				switch a := w.post("/acme/new-order", body); {
				case a.status == 201:
					accepted.Add(1)
				case a.problem.Type == "badNonce":
					refused.Add(1)
				}
			}
		})
	}
	group.Wait()
	if accepted.Load() != 1 || refused.Load() != 999 {
		t.Errorf("%d accepted, %d refused", accepted.Load(), refused.Load())
	}
}

func TestPostAsGet(t *testing.T) { // SAFETY 72, 73
	w := newWorld(t)
	c := w.registered()
	o, _ := c.obtain(ecKey(t), "a.example")
	for _, url := range []string{o.url, o.Certificate, c.kid + "/orders", c.kid + "/orders/AZAAAAAAcAAAAAAAAAAAAA"} {
		for _, payload := range []string{"{}", "null", `""`, " ", "[]"} {
			c.at(url, payload).want(t, url+" "+payload, 400, "malformed")
		}
		c.at(url, "").want(t, url, 200, "")
	}
	for _, url := range []string{base + "/acme/new-order", base + "/acme/new-authz", base + "/acme/revoke-cert", base + "/acme/key-change", o.Finalize} {
		c.at(url, "").want(t, "empty payload to "+url, 400, "malformed")
	}
	c.postJWK("/acme/new-account", "").want(t, "empty payload to newAccount", 400, "malformed")
}

func TestInactiveAccounts(t *testing.T) { // SAFETY 75
	w := newWorld(t)
	c := w.registered()
	o := c.order("a.example")
	var account struct{ Status string }
	c.at(c.kid, `{"status":"deactivated"}`).into(t, &account)
	if account.Status != "deactivated" {
		t.Errorf("account %+v", account)
	}
	for url, payload := range map[string]string{c.kid: "", o.url: "", o.Authorizations[0]: "", base + "/acme/new-order": "{" + identifiers("a.example") + "}"} {
		c.at(url, payload).want(t, url, 401, "unauthorized")
	}
	c.register("{}").want(t, "newAccount with its key", 401, "unauthorized")
	// Only the holder of the key learns what became of the account.
	forged := &client{w: w, key: ecKey(t), alg: "ES256", kid: c.kid}
	forged.at(o.url, "").want(t, "forged", 400, "malformed")
}
