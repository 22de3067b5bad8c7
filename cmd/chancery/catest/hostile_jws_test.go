package catest_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
)

// jws is rows 31 to 76, but for the keys.
func (h *hostile) jws() {
	h.forms()
	h.algorithms()
	h.signers()
	h.signatures()
	h.base64()
	h.noncesAndURLs()
	h.foreign()
}

// fixed is a body that does not depend on the request.
func fixed(body string) func(_, _, _ string) string {
	return func(_, _, _ string) string { return body }
}

// forms of a JWS that are not the one of RFC 8555 section 6.2.
func (h *hostile) forms() {
	by := h.account
	for _, c := range []struct {
		row  int
		what string
		body func(p, payload, sig string) string
	}{
		{31, "empty", fixed("")},
		{31, "spaces", fixed("   ")},
		{31, "null", fixed("null")},
		{31, "{}", fixed("{}")},
		{31, "[]", fixed("[]")},
		{31, "a string", fixed(`"jws"`)},
		{31, "a number", fixed("1")},
		{31, "a form", fixed("protected=a&payload=b&signature=c")},
		{31, "XML", fixed("<jws/>")},
		{32, "compact", func(p, payload, sig string) string { return p + "." + payload + "." + sig }},
		{32, "compact as a JSON string", func(p, payload, sig string) string { return `"` + p + "." + payload + "." + sig + `"` }},
		{32, "compact with five parts", fixed("e30.e30.e30.e30.e30")},
		{32, "only dots", fixed(strings.Repeat(".", 60<<10))},
		{33, "signatures of one", func(p, payload, sig string) string {
			return `{"payload":"` + payload + `","signatures":[{"protected":"` + p + `","signature":"` + sig + `"}]}`
		}},
		{33, "signatures of two", func(p, payload, sig string) string {
			one := `{"protected":"` + p + `","signature":"` + sig + `"}`
			return `{"payload":"` + payload + `","signatures":[` + one + `,` + one + `]}`
		}},
		{33, "signatures beside a good one", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"signatures":[],`, 1)
		}},
		{33, "signatures null", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"signatures":null,`, 1)
		}},
		{34, "header {}", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"header":{},`, 1)
		}},
		{34, "header null", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"header":null,`, 1)
		}},
		{34, "header with kid", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"header":{"kid":"x"},`, 1)
		}},
		{34, "header with alg none", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"header":{"alg":"none"},`, 1)
		}},
		{74, "no payload", func(p, _, sig string) string { return `{"protected":"` + p + `","signature":"` + sig + `"}` }},
		{74, "payload null", func(p, _, sig string) string {
			return `{"protected":"` + p + `","payload":null,"signature":"` + sig + `"}`
		}},
		{74, "no protected", func(_, payload, sig string) string { return `{"payload":"` + payload + `","signature":"` + sig + `"}` }},
		{55, "no signature", func(p, payload, _ string) string { return `{"protected":"` + p + `","payload":"` + payload + `"}` }},
		{55, "signature null", func(p, payload, _ string) string {
			return `{"protected":"` + p + `","payload":"` + payload + `","signature":null}`
		}},
		{79, "Protected for protected", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "protected", "Protected", 1)
		}},
		{79, "PAYLOAD for payload", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "payload", "PAYLOAD", 1)
		}},
		{78, "protected twice", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"protected":"e30",`, 1)
		}},
		{78, "payload twice, once escaped", func(p, payload, sig string) string {
			return strings.Replace(flattened(p, payload, sig), "{", `{"p\u0061yload":"",`, 1)
		}},
	} {
		h.posted(c.row, c.what, request{by: by, url: h.urls.order, body: c.body}, 400, "malformed")
	}
	// A JWS encryption is no signature, whatever it asks to be done with it.
	for _, alg := range []string{"PBES2-HS256+A128KW", "RSA-OAEP", "dir", "ECDH-ES", "A128KW"} {
		h.posted(37, alg, request{by: by, url: h.urls.order, header: map[string]any{"alg": alg, "enc": "A128GCM", "p2c": 2147483647, "p2s": "AAAA", "zip": "DEF"}}, 400, "badSignatureAlgorithm")
	}
}

// algorithms that are not served, are not the key's, or are none at all.
func (h *hostile) algorithms() {
	for _, alg := range []string{
		"none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "RS1", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256K", "es256", "ES256 ", " ES256",
		"ES257", "EdDSA448", "Ed448", "", "ES256\u0000", "SHA256", "1.2.840.10045.4.3.2", strings.Repeat("E", 10000), "\u202eES256", "RS256,ES256", "../none",
	} {
		row := 37
		switch {
		case strings.EqualFold(alg, "none"):
			row = 35
		case strings.HasPrefix(alg, "HS"):
			row = 36
		}
		kind := "badSignatureAlgorithm"
		if strings.Contains(alg, "\u0000") {
			kind = "malformed" // U+0000 is in no text here
		}
		for _, by := range []string{"kid", "jwk"} {
			r := request{by: h.account, url: "/acme/new-order", payload: dnsOrder("alg.example"), header: map[string]any{"alg": alg}, jwk: by == "jwk"}
			if r.jwk {
				r.url, r.payload = "/acme/new-account", "{}"
			}
			h.is(row, fmt.Sprintf("%.20q by %s", alg, by), func(t *testing.T) {
				h.with(t, func() {
					a := h.post(r)
					a.want(t, 400, kind)
					if served := a.list("algorithms"); kind != "malformed" && (len(served) == 0 || slices.Contains(served, "none")) {
						t.Errorf("algorithms are %q", served)
					}
				})
			})
		}
	}
	public, err := x509.MarshalPKIXPublicKey(h.account.key.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	for what, secret := range map[string][]byte{"the public key": public, "the JWK": []byte(jsonOf(jwkOf(h.account.key.Public()))), "nothing": nil} {
		h.posted(36, "HMAC with "+what, request{by: h.account, url: h.urls.order, header: map[string]any{"alg": "HS256"}, sign: func(input []byte) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write(input)
			return m.Sum(nil)
		}}, 400, "badSignatureAlgorithm")
	}
	keys := map[string]*party{}
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		keys[alg] = &party{key: ecKey(h.t, curve), alg: alg}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		h.t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	keys["RS256"], keys["EdDSA"] = &party{key: rsaKey, alg: "RS256"}, &party{key: edKey, alg: "EdDSA"}
	for _, own := range sorted(keys) {
		for _, alg := range sorted(keys) {
			status, kind := 400, "malformed"
			if own == alg {
				status, kind = 400, "accountDoesNotExist" // the signature is good, the account is not there
			}
			h.posted(39, alg+" with the key of "+own, request{by: keys[own], url: "/acme/new-account", payload: `{"onlyReturnExisting":true}`, header: map[string]any{"alg": alg}}, status, kind)
		}
	}
}

// signers: who signs, and what the request says of it.
func (h *hostile) signers() {
	prefix := h.base + "/acme/account/"
	id := strings.TrimPrefix(h.account.kid, prefix)
	post := func(row int, what string, header map[string]any, status int, kind string) {
		h.posted(row, what, request{by: h.account, url: "/acme/new-order", payload: dnsOrder("signer.example"), header: header}, status, kind)
	}
	jwk := jwkOf(h.account.key.Public())
	post(40, "jwk and kid", map[string]any{"jwk": jwk}, 400, "malformed")
	post(40, "jwk null and kid", map[string]any{"jwk": json.RawMessage("null")}, 400, "malformed")
	post(41, "neither", map[string]any{"kid": nil}, 400, "malformed")
	for _, path := range []string{"new-order", "new-authz", "key-change"} {
		h.posted(42, "jwk at "+path, request{by: h.account, url: "/acme/" + path, payload: "{}", jwk: true}, 400, "malformed")
	}
	for what, u := range map[string]string{"account": h.account.kid, "order": h.urls.order, "challenge": h.urls.challenge, "certificate": h.urls.certificate, "finalize": h.urls.finalize} {
		h.posted(42, "jwk at "+what, request{by: h.account, url: u, jwk: true}, 400, "malformed")
	}
	h.posted(42, "kid at new-account", request{by: h.account, url: "/acme/new-account", payload: "{}"}, 400, "malformed")

	for _, c := range []struct {
		row       int
		kid, kind string
	}{
		{43, prefix + "AAAAAAAAAAAAAAAAAAAAAA", "accountDoesNotExist"},
		{43, prefix + strings.Repeat("A", 21) + "Q", "accountDoesNotExist"},
		{44, "https://evil.example/acme/account/" + id, "accountDoesNotExist"},
		{44, strings.Replace(h.account.kid, "https", "http", 1), "accountDoesNotExist"},
		{44, strings.Replace(h.account.kid, "localhost", "LOCALHOST", 1), "accountDoesNotExist"},
		{44, strings.Replace(h.account.kid, "localhost", "user@localhost", 1), "accountDoesNotExist"},
		{44, strings.Replace(h.account.kid, "/acme/", "/ACME/", 1), "accountDoesNotExist"},
		{44, strings.Replace(h.account.kid, "/acme/", "//acme/", 1), "accountDoesNotExist"},
		{44, "/acme/account/" + id, "accountDoesNotExist"},
		{44, id, "accountDoesNotExist"},
		{44, "account/" + id, "accountDoesNotExist"},
		{44, h.account.kid + "/", "malformed"},
		{44, h.account.kid + "?", "malformed"},
		{44, h.account.kid + "#x", "malformed"},
		{44, h.account.kid + " ", "malformed"},
		{44, h.account.kid + "/orders", "malformed"},
		{44, prefix, "malformed"},
		{44, prefix + strings.ToUpper(id) + "x", "malformed"},
		{45, prefix + strings.Repeat("A", 10000), "malformed"},
		{45, prefix + "../" + id, "malformed"},
		{45, prefix + id + "'--", "malformed"},
		{45, prefix + "%00", "malformed"},
		{45, prefix + "1 OR 1=1", "malformed"},
		{45, prefix + "' UNION ALL", "malformed"},
		{45, prefix + id[:21], "malformed"},
		{45, prefix + id + "A", "malformed"},
		{45, strings.Repeat("x", 10000), "malformed"},
		{45, "", "malformed"},
		{45, prefix + "\u0130", "malformed"},
		{45, prefix + "\n" + id, "malformed"},
	} {
		post(c.row, fmt.Sprintf("kid %.80q", c.kid), map[string]any{"kid": c.kid}, 400, c.kind)
	}
	for _, header := range []map[string]any{
		{"crit": []string{"exp"}}, {"crit": []string{}}, {"crit": nil, "b64": false}, {"b64": true}, {"crit": []string{"b64"}, "b64": false}, {"crit": "x"}, {"crit": json.RawMessage("null")},
	} {
		post(61, jsonOf(header), header, 400, "malformed")
	}
	// None of these is ever looked at, and least of all fetched.
	for name, v := range map[string]any{
		"zip": "DEF", "jku": "http://jku.example/", "x5u": "http://x5u.example/", "x5c": []string{"AAAA"}, "x5t": "AAAA", "typ": "JWT", "cty": "JWT", "cookies": "a=b", "enc": "A128GCM", "epk": map[string]any{}, "iss": "x",
	} {
		post(62, name, map[string]any{name: v}, 201, "")
	}
	h.is(62, "nothing was fetched", func(t *testing.T) {
		for _, q := range h.c.Net.Questions() {
			if strings.Contains(q, "jku.") || strings.Contains(q, "x5u.") {
				t.Errorf("somebody asked %s", q)
			}
		}
	})
	for _, p := range []*party{h.register(), h.register()} {
		deactivated := p == h.other
		if !deactivated {
			h.is(75, "deactivated", func(t *testing.T) {
				h.with(t, func() {
					h.post(request{by: p, url: p.kid, payload: `{"status":"deactivated"}`}).want(t, 200, "")
					for _, u := range []string{p.kid, "/acme/new-order", "/acme/new-authz", "/acme/key-change", p.kid + "/orders", "/acme/revoke-cert"} {
						h.post(request{by: p, url: u, payload: dnsOrder("a.example")}).want(t, 401, "unauthorized")
					}
					h.post(request{by: p, url: "/acme/new-account", payload: "{}", jwk: true}).want(t, 401, "unauthorized")
				})
			})
		}
	}
	h.is(75, "revoked by the operator", func(t *testing.T) {
		h.with(t, func() {
			p := h.register()
			h.c.Operator("POST", "/api/v1/accounts/"+strings.TrimPrefix(p.kid, prefix)+"/deactivate", nil, nil)
			h.post(request{by: p, url: "/acme/new-order", payload: dnsOrder("a.example")}).want(t, 401, "unauthorized")
		})
	})
}

// signatures that do not verify, in every way.
func (h *hostile) signatures() {
	key, ok := h.account.key.(*ecdsa.PrivateKey)
	if !ok {
		h.t.Fatal("the account's key is not ECDSA")
	}
	n := elliptic.P256().Params().N
	both := func(r, s *big.Int) []byte {
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out
	}
	zero, one, most := new(big.Int), big.NewInt(1), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	good := func(input []byte) []byte { return signJWS(key, input) }
	for _, c := range []struct {
		row  int
		what string
		sign func(input []byte) []byte
	}{
		{55, "empty", func([]byte) []byte { return nil }},
		{55, "63 octets", func(in []byte) []byte { return good(in)[:63] }},
		{55, "65 octets", func(in []byte) []byte { return append(good(in), 0) }},
		{55, "a leading zero octet", func(in []byte) []byte { return append([]byte{0}, good(in)...) }},
		{55, "twice", func(in []byte) []byte { return append(good(in), good(in)...) }},
		{55, "in DER", func(in []byte) []byte {
			d := sha256.Sum256(in)
			der, _ := ecdsa.SignASN1(rand.Reader, key, d[:])
			return der
		}},
		{55, "32 KiB", func([]byte) []byte { return make([]byte, 32<<10) }},
		{56, "r = 0", func(in []byte) []byte { return both(zero, new(big.Int).SetBytes(good(in)[32:])) }},
		{56, "s = 0", func(in []byte) []byte { return both(new(big.Int).SetBytes(good(in)[:32]), zero) }},
		{56, "r = s = 0", func([]byte) []byte { return both(zero, zero) }},
		{56, "r = s = 1", func([]byte) []byte { return both(one, one) }},
		{56, "r = n", func(in []byte) []byte { return both(n, new(big.Int).SetBytes(good(in)[32:])) }},
		{56, "s = n", func(in []byte) []byte { return both(new(big.Int).SetBytes(good(in)[:32]), n) }},
		{56, "r = s = n", func([]byte) []byte { return both(n, n) }},
		{56, "r = s = 2^256-1", func([]byte) []byte { return both(most, most) }},
		{57, "another input", func(in []byte) []byte { return good(append(in, ' ')) }},
		{57, "another key", func(in []byte) []byte { return signJWS(h.other.key, in) }},
		{57, "without the dot", func(in []byte) []byte { return good([]byte(strings.Replace(string(in), ".", "", 1))) }},
		{57, "the hash of the input", func(in []byte) []byte { d := sha256.Sum256(in); return good(d[:]) }},
		{57, "an ASN.1 integer pair of zeros", func([]byte) []byte {
			der, _ := asn1.Marshal(struct{ R, S *big.Int }{zero, zero})
			return der
		}},
	} {
		h.posted(c.row, c.what, request{by: h.account, url: h.urls.order, sign: c.sign}, 400, "malformed")
		h.posted(c.row, c.what+" at new-account", request{by: h.account, url: "/acme/new-account", payload: "{}", jwk: true, sign: c.sign}, 400, "malformed")
	}
	for bit := range 24 {
		h.posted(57, fmt.Sprintf("bit %d of the signature", bit*21), request{by: h.account, url: h.urls.order, sign: func(in []byte) []byte {
			sig := good(in)
			sig[bit*21/8%64] ^= 1 << (bit % 8)
			return sig
		}}, 400, "malformed")
	}
	payload := dnsOrder("bit.example")
	for i := range 8 {
		h.posted(57, fmt.Sprintf("bit of octet %d of the payload", i), request{by: h.account, url: "/acme/new-order", payload: payload, body: func(p, _, sig string) string {
			changed := []byte(payload)
			changed[len(changed)-10-i] ^= 1
			return flattened(p, b64(changed), sig)
		}}, 400, "malformed")
	}
	for i, change := range []func(string) string{
		func(s string) string { return s + " " }, func(s string) string { return strings.Replace(s, ":", ": ", 1) },
		func(s string) string { return strings.Replace(s, ",", ",\n", 1) }, func(s string) string { return strings.Replace(s, "alg", `\u0061lg`, 1) },
		func(s string) string { return strings.Replace(s, "{", `{"x":1,`, 1) },
	} {
		head := jsonOf(h.head(request{by: h.account, url: h.urls.order}))
		h.posted(58, fmt.Sprintf("form %d", i), request{by: h.account, url: h.urls.order, protected: head, body: func(_, payload, sig string) string {
			return flattened(b64([]byte(change(head))), payload, sig)
		}}, 400, "malformed")
	}
}

// base64: each octet string has one text (RFC 7515 section 2, RFC 4648 section 3.5).
var base64Damage = map[string]func(string) string{
	"padding":           func(s string) string { return s + "=" },
	"two paddings":      func(s string) string { return s + "==" },
	"escaped padding":   func(s string) string { return s + "%3D" },
	"plus":              func(s string) string { return "+" + s[1:] },
	"slash":             func(s string) string { return "/" + s[1:] },
	"a space before":    func(s string) string { return " " + s },
	"a space within":    func(s string) string { return s[:2] + " " + s[2:] },
	"a space behind":    func(s string) string { return s + " " },
	"a line end":        func(s string) string { return s[:2] + `\n` + s[2:] },
	"a return":          func(s string) string { return s + `\r\n` },
	"a tab":             func(s string) string { return s + `\t` },
	"a dot":             func(s string) string { return s[:2] + "." + s[2:] },
	"a length of 1":     func(string) string { return "A" },
	"a length of 4n+1":  func(s string) string { return s + strings.Repeat("A", (5-len(s)%4)%4) },
	"trailing bits":     func(string) string { return "AB" }, // the lowest four bits of B are behind the octet
	"more of them":      func(string) string { return "AAB" },
	"a letter of UTF-8": func(s string) string { return s + "é" },
	"full width":        func(s string) string { return s + "Ａ" },
	"a quote":           func(s string) string { return s + `\"` },
}

func (h *hostile) base64() {
	for _, what := range sorted(base64Damage) {
		row := 59
		if what == "trailing bits" || what == "more of them" || strings.HasPrefix(what, "a length") {
			row = 60
		}
		damage := base64Damage[what]
		for i, member := range []string{"protected", "payload", "signature"} {
			h.posted(row, what+" in "+member, request{by: h.account, url: "/acme/new-order", payload: dnsOrder("b64.example"), body: func(p, payload, sig string) string {
				parts := []string{p, payload, sig}
				parts[i] = damage(parts[i])
				return flattened(parts[0], parts[1], parts[2])
			}}, 400, "malformed")
		}
		jwk := jwkOf(h.other.key.Public())
		for _, member := range []string{"x", "y"} {
			text, _ := jwk[member].(string)
			damaged := strings.Replace(jsonOf(jwk), text, damage(text), 1)
			h.posted(row, what+" in jwk "+member, request{by: h.other, url: "/acme/new-account", payload: "{}", jwk: true, header: map[string]any{"jwk": json.RawMessage(damaged)}}, 400, "malformed")
		}
		h.posted(66, what+" in nonce", request{by: h.account, url: h.urls.order, header: map[string]any{"nonce": json.RawMessage(`"` + damage(h.nonce()) + `"`)}}, 400, "malformed")
		csr := b64(newCSR(h.t, ecKey(h.t, elliptic.P256()), "ready.example"))
		h.posted(134, what+" in csr", request{by: h.account, url: h.urls.ready + "/finalize", payload: `{"csr":"` + damage(csr) + `"}`}, 400, "malformed")
		h.posted(203, what+" in certificate", request{by: h.account, url: "/acme/revoke-cert", payload: `{"certificate":"` + damage(b64(h.cert.Leaf.Raw)) + `"}`}, 400, "malformed")
	}
}

func (h *hostile) noncesAndURLs() {
	read := func(row int, what string, header map[string]any, status int, kind string) {
		h.posted(row, what, request{by: h.account, url: h.urls.order, header: header}, status, kind)
	}
	read(63, "no nonce", map[string]any{"nonce": nil}, 400, "badNonce")
	h.posted(63, "no nonce at new-account", request{by: h.other, url: "/acme/new-account", payload: "{}", jwk: true, header: map[string]any{"nonce": nil}}, 400, "badNonce")
	for i := range 5 {
		nonce := h.nonce()
		read(64, fmt.Sprintf("first use %d", i), map[string]any{"nonce": nonce}, 200, "")
		read(64, fmt.Sprintf("second use %d", i), map[string]any{"nonce": nonce}, 400, "badNonce")
		h.posted(64, fmt.Sprintf("third use %d, by another account", i), request{by: h.other, url: h.other.kid, header: map[string]any{"nonce": nonce}}, 400, "badNonce")
	}
	for _, nonce := range []string{"AAAAAAAAAAAAAAAAAAAAAA", "A", "AA", strings.Repeat("A", 128), strings.Repeat("_", 22), "abc", b64([]byte("another CA's nonce"))} {
		kind := "badNonce"
		if nonce == "A" || nonce == strings.Repeat("_", 22) {
			kind = "malformed" // no base64url: a length of 4n+1, bits behind the last octet
		}
		read(65, fmt.Sprintf("%.30q", nonce), map[string]any{"nonce": nonce}, 400, kind)
	}
	for _, v := range []any{"", strings.Repeat("A", 10000), strings.Repeat("A", 129), 1, 1.5, true, []string{"AA"}, map[string]any{}, json.RawMessage("null"), "../..", "AA\u0000", "é"} {
		read(66, fmt.Sprintf("%.40s", jsonOf(v)), map[string]any{"nonce": v}, 400, "malformed")
	}
	h.is(67, "one request, many times at once", func(t *testing.T) {
		h.with(t, func() {
			const times = 100
			body := h.text(request{by: h.account, url: "/acme/new-order", payload: dnsOrder("replay.example")})
			var mu sync.Mutex
			got := map[string]int{}
			var wg sync.WaitGroup
			for range times {
				wg.Go(func() {
					a := h.postBody(h.base+"/acme/new-order", body, nil)
					mu.Lock()
					got[fmt.Sprint(a.status, " ", a.problem)]++
					mu.Unlock()
				})
			}
			wg.Wait()
			if got["201 "] != 1 || got["400 badNonce"] != times-1 {
				t.Errorf("%v, want one 201 and %d badNonce", got, times-1)
			}
		})
	})
	for what, payload := range map[string]string{"broken JSON": "{", "no identifiers": "{}", "a bad name": dnsOrder("-")} {
		h.is(68, what, func(t *testing.T) {
			h.with(t, func() {
				nonce := map[string]any{"nonce": h.nonce()}
				h.post(request{by: h.account, url: "/acme/new-order", payload: payload, header: nonce}).want(t, 400, "malformed")
				h.post(request{by: h.account, url: "/acme/new-order", payload: payload, header: nonce}).want(t, 400, "badNonce")
			})
		})
	}
	read(69, "no url", map[string]any{"url": nil}, 400, "malformed")
	own := h.urls.order
	for _, u := range []string{
		strings.ToUpper(own), strings.Replace(own, "localhost", "LOCALHOST", 1), strings.Replace(own, "localhost", "localhost.", 1), strings.Replace(own, "https", "http", 1),
		strings.Replace(own, "https", "HTTPS", 1), own + "/", own + "?", own + "#", own + " ", " " + own, strings.Replace(own, "/acme", "//acme", 1), strings.Replace(own, "/acme/", "/acme/./", 1),
		strings.Replace(own, "acme", "%61cme", 1), strings.Replace(own, "localhost", "127.0.0.1", 1), strings.Replace(own, "localhost", "x@localhost", 1), h.path(own), "", "https://evil.example/",
		own[:len(own)-1], own + "A", strings.Replace(own, "order", "o\u0072der\u200b", 1), strings.Repeat("u", 10000), "javascript:alert(1)", strings.Replace(own, ":", ":0", 2),
	} {
		read(70, fmt.Sprintf("%.80q", u), map[string]any{"url": u}, 401, "unauthorized")
	}
	for _, u := range []string{h.urls.finalize, h.urls.authorization, h.urls.challenge, h.urls.certificate, h.urls.ready, h.account.kid, h.base + "/acme/new-order", h.base + "/acme/revoke-cert", h.base + "/acme/directory"} {
		read(71, h.path(u), map[string]any{"url": u}, 401, "unauthorized")
	}
	for what, u := range map[string]string{"order": h.urls.order, "orders": h.account.kid + "/orders", "certificate": h.urls.certificate} {
		for _, payload := range []string{"{}", " ", "null", "[]", `""`, "x"} {
			h.posted(72, what+" with "+payload, request{by: h.account, url: u, payload: payload}, 400, "malformed")
		}
	}
	for _, u := range []string{"new-order", "new-authz", "revoke-cert", "key-change"} {
		h.posted(73, u, request{by: h.account, url: "/acme/" + u}, 400, "malformed")
	}
	h.posted(73, "finalize", request{by: h.account, url: h.urls.finalize}, 400, "malformed")
	h.posted(73, "new-account", request{by: h.other, url: "/acme/new-account", jwk: true}, 400, "malformed")
}

// foreign objects look like objects that are not there (RFC 8555 section 10.5).
func (h *hostile) foreign() {
	none := "AAAAAAAAAAAAAAAAAAAAAA"
	cut := func(u string) string { return u[:strings.LastIndexByte(u, '/')+1] }
	authz := strings.TrimSuffix(h.urls.challenge, "/http-01")
	for what, c := range map[string]struct{ foreign, missing, payload string }{
		"order":                {h.urls.order, cut(h.urls.order) + none, ""},
		"finalize":             {h.urls.finalize, cut(h.urls.order) + none + "/finalize", csrPayload([]byte("x"))},
		"authorization":        {h.urls.authorization, cut(h.urls.authorization) + none, ""},
		"authorization change": {h.urls.authorization, cut(h.urls.authorization) + none, `{"status":"deactivated"}`},
		"challenge":            {h.urls.challenge, cut(authz) + none + "/http-01", ""},
		"challenge response":   {h.urls.challenge, cut(authz) + none + "/http-01", "{}"},
		"certificate":          {h.urls.certificate, cut(h.urls.certificate) + strings.Repeat("0", 31) + "1", ""},
	} {
		h.is(76, what, func(t *testing.T) {
			h.with(t, func() {
				a, b := h.post(request{by: h.other, url: c.foreign, payload: c.payload}), h.post(request{by: h.other, url: c.missing, payload: c.payload})
				a.want(t, 404, "malformed")
				if a.status != b.status || string(a.body) != string(b.body) {
					t.Errorf("a foreign one: %d %s; a missing one: %d %s", a.status, a.body, b.status, b.body)
				}
			})
		})
	}
	for what, u := range map[string]string{"account": h.account.kid, "orders": h.account.kid + "/orders"} {
		for _, payload := range []string{"", `{"status":"deactivated"}`} {
			h.is(76, what+payload, func(t *testing.T) {
				h.with(t, func() {
					missing := strings.Replace(u, strings.TrimPrefix(h.account.kid, h.base+"/acme/account/"), none, 1)
					a, b := h.post(request{by: h.other, url: u, payload: payload}), h.post(request{by: h.other, url: missing, payload: payload})
					if a.status == 200 || a.status != b.status || string(a.body) != string(b.body) {
						t.Errorf("a foreign one: %d %s; a missing one: %d %s", a.status, a.body, b.status, b.body)
					}
				})
			})
		}
	}
	for _, id := range []string{"", "x", "..", "%2e%2e", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "'", "%00", "AAAAAAAAAAAAAAAAAAAAA=", "..%2f..%2fetc%2fpasswd", strings.Repeat("A", 2000)} {
		h.posted(76, fmt.Sprintf("order %.30q", id), request{by: h.account, url: "/acme/order/" + id}, 404, "malformed")
		h.posted(76, fmt.Sprintf("certificate %.30q", id), request{by: h.account, url: "/acme/certificate/" + id}, 404, "malformed")
	}
	for _, kind := range []string{"tls-sni-01", "tls-sni-02", "HTTP-01", "http-02", "dns-01x", "email-reply-00", "x"} {
		h.posted(76, "challenge "+kind, request{by: h.account, url: strings.Replace(h.urls.challenge, "http-01", kind, 1), payload: "{}"}, 404, "malformed")
	}
}
