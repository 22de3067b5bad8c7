package catest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// randomModulus is an odd number of so many bits without a factor below 752.
func randomModulus(t testing.TB, bits int) *big.Int {
	t.Helper()
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
		if err != nil {
			t.Fatal(err)
		}
		n.SetBit(n.SetBit(n, 0, 1), bits-1, 1)
		small := false
		for p := int64(3); p < 752 && !small; p += 2 {
			small = new(big.Int).Mod(n, big.NewInt(p)).Sign() == 0
		}
		if !small {
			return n
		}
	}
}

// weakRSA are RSA keys that must not be certified nor be an account's (BR
// 6.1.1.3, 6.1.6), as modulus and exponent.
func weakRSA(t testing.TB) map[string][2]*big.Int {
	t.Helper()
	e := big.NewInt(65537)
	p, err := rand.Prime(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(10) {
		q.Add(q, big.NewInt(2))
	}
	n := randomModulus(t, 2048)
	three := new(big.Int).Mul(randomModulus(t, 2046), big.NewInt(3))
	for three.BitLen() != 2048 {
		three.Mul(randomModulus(t, 2047), big.NewInt(3))
	}
	return map[string][2]*big.Int{
		"512 bits": {randomModulus(t, 512), e}, "1024 bits": {randomModulus(t, 1024), e}, "1536 bits": {randomModulus(t, 1536), e},
		"2047 bits": {randomModulus(t, 2047), e}, "2049 bits": {randomModulus(t, 2049), e}, "2052 bits": {randomModulus(t, 2052), e},
		"8200 bits": {randomModulus(t, 8200), e}, "16384 bits": {randomModulus(t, 16384), e},
		"e = 1": {n, big.NewInt(1)}, "e = 2": {n, big.NewInt(2)}, "e = 3": {n, big.NewInt(3)}, "e = 17": {n, big.NewInt(17)}, "e = 65536": {n, big.NewInt(65536)},
		"e = 2^31": {n, new(big.Int).Lsh(big.NewInt(1), 31)}, "e = 2^33+1": {n, new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), 33), 0, 1)},
		"close primes": {new(big.Int).Mul(p, q), e}, "a square": {new(big.Int).Mul(p, p), e}, "even": {new(big.Int).Sub(n, big.NewInt(1)), e},
		"factor 3": {three, e}, "ROCA": {rocaModulus(t), e},
	}
}

// rocaModulus has the fingerprint of CVE-2017-15361: a power of 65537 modulo
// each of the small primes.
func rocaModulus(t testing.TB) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for p := int64(3); p <= 167; p += 2 {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
		}
	}
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(12345), m)
	n.Add(n, new(big.Int).Mul(m, new(big.Int).Div(new(big.Int).Lsh(big.NewInt(3), 2046), m)))
	for {
		small := n.Bit(0) == 0
		for p := int64(3); p < 752 && !small; p += 2 {
			small = new(big.Int).Mod(n, big.NewInt(p)).Sign() == 0
		}
		if !small {
			return n
		}
		n.Add(n, m)
	}
}

// keys is rows 46 to 54: what is no key, and what is none that may be used.
func (h *hostile) keys() {
	jwk := func(row int, what string, v any, kind string) {
		h.posted(row, what, request{by: &party{key: h.other.key, alg: "ES256"}, url: "/acme/new-account", payload: "{}", jwk: true, header: map[string]any{"jwk": v}}, 400, kind)
	}
	good := jwkOf(h.other.key.Public())
	with := func(name string, v any) map[string]any {
		out := map[string]any{}
		for k, old := range good {
			out[k] = old
		}
		if out[name] = v; v == nil {
			delete(out, name)
		}
		return out
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		jwk(46, "EC with "+private, with(private, b64(make([]byte, 32))), "malformed")
		jwk(46, "RSA with "+private, map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB", private: "AA"}, "malformed")
	}
	for _, k := range []string{"", "AA", b64(make([]byte, 256))} {
		jwk(47, fmt.Sprintf("oct %d", len(k)), map[string]any{"kty": "oct", "k": k}, "badPublicKey")
	}
	for _, kty := range []string{"", "ec", "rsa", "EC2", "DSA", "okp", "X25519", "AKP", strings.Repeat("E", 5000)} {
		jwk(47, fmt.Sprintf("kty %.20q", kty), with("kty", kty), "badPublicKey")
	}
	weak := weakRSA(h.t)
	for _, what := range sorted(weak) {
		row := 48
		switch {
		case strings.HasPrefix(what, "e ="):
			row = 49
		case !strings.HasSuffix(what, "bits"):
			row = 50
		}
		n, e := weak[what][0], weak[what][1]
		jwk(row, "RSA "+what, map[string]any{"kty": "RSA", "n": b64(n.Bytes()), "e": b64(e.Bytes())}, "badPublicKey")
	}
	jwk(49, "RSA e of 256 octets", map[string]any{"kty": "RSA", "n": b64(randomModulus(h.t, 2048).Bytes()), "e": b64(randomModulus(h.t, 2048).Bytes())}, "badPublicKey")
	h.badPoints(jwk, with)
	h.badEdwards(jwk)
	for what, v := range map[string]any{
		"null": json.RawMessage("null"), "a string": "jwk", "a number": 1, "an array": []any{good}, "{}": map[string]any{}, "jwks": map[string]any{"keys": []any{good}},
		"no kty": with("kty", nil), "no crv": with("crv", nil), "no x": with("x", nil), "no y": with("y", nil), "kty a number": with("kty", 1), "x a number": with("x", 1), "crv an array": with("crv", []string{"P-256"}),
		"RSA without n": map[string]any{"kty": "RSA", "e": "AQAB"}, "RSA without e": map[string]any{"kty": "RSA", "n": "AQAB"}, "RSA n empty": map[string]any{"kty": "RSA", "n": "", "e": "AQAB"}, "RSA e empty": map[string]any{"kty": "RSA", "n": "AQAB", "e": ""},
		"RSA n with a leading zero": map[string]any{"kty": "RSA", "n": b64(append([]byte{0}, randomModulus(h.t, 2048).Bytes()...)), "e": "AQAB"}, "RSA e with a leading zero": map[string]any{"kty": "RSA", "n": b64(randomModulus(h.t, 2048).Bytes()), "e": "AAEAAQ"},
		"12 KiB":  with("ignored", strings.Repeat("x", 12<<10)),
		"x twice": json.RawMessage(strings.Replace(jsonOf(good), "{", `{"x":"AA",`, 1)),
	} {
		jwk(52, what, v, "malformed")
	}
	// Members that are not the key's do not change whose key it is (RFC 7638).
	h.posted(52, "members that do not belong to the key", request{by: &party{key: h.other.key, alg: "ES256"}, url: "/acme/new-account", payload: `{"onlyReturnExisting":true}`, jwk: true, header: map[string]any{"jwk": with("use", "sig")}}, 200, "")
}

func (h *hostile) badPoints(jwk func(int, string, any, string), with func(string, any) map[string]any) {
	p := elliptic.P256().Params().P
	good, ok := h.other.key.Public().(*ecdsa.PublicKey)
	if !ok {
		h.t.Fatal("no ECDSA key")
	}
	point, err := good.Bytes()
	if err != nil {
		h.t.Fatal(err)
	}
	x, y := new(big.Int).SetBytes(point[1:33]), new(big.Int).SetBytes(point[33:])
	fill := func(n *big.Int) string { return b64(n.FillBytes(make([]byte, 32))) }
	for what, n := range map[string]*big.Int{
		"y+1": new(big.Int).Add(y, big.NewInt(1)), "y = 0": new(big.Int), "y = p": p, "y = p-1": new(big.Int).Sub(p, big.NewInt(1)), "y = 2^256-1": new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)), "y = x": x,
	} {
		jwk(51, what, with("y", fill(n)), "badPublicKey")
		jwk(51, strings.Replace(what, "y", "x", 1)+" beside y", with("x", fill(new(big.Int).Add(new(big.Int).Mod(n, p), big.NewInt(1)))), "badPublicKey")
	}
	infinity := with("x", fill(new(big.Int)))
	infinity["y"] = fill(new(big.Int))
	jwk(51, "(0, 0)", infinity, "badPublicKey")
	for _, octets := range [][]byte{nil, point[1:32], point[1:34], append([]byte{0}, point[1:33]...), point, point[:33], make([]byte, 1000)} {
		jwk(51, fmt.Sprintf("x of %d octets", len(octets)), with("x", b64(octets)), "malformed")
	}
	for _, crv := range []string{"P-224", "secp256k1", "P-192", "brainpoolP256r1", "p-256", "", "Ed25519", "X25519", "BP-256"} {
		jwk(51, "curve "+crv, with("crv", crv), "badPublicKey")
	}
	for _, crv := range []string{"P-384", "P-521"} { // the same coordinates are too short there
		jwk(51, "the point on "+crv, with("crv", crv), "malformed")
	}
}

func (h *hostile) badEdwards(jwk func(int, string, any, string)) {
	little := func(low byte) []byte {
		b := []byte(strings.Repeat("\xff", 32))
		b[0], b[31] = low, 0x7f
		return b
	}
	for what, x := range map[string][]byte{
		"order 4": make([]byte, 32), "order 1": append([]byte{1}, make([]byte, 31)...), "order 2": little(0xec), "0, not canonical": little(0xed), "1, not canonical": little(0xee), "2, not canonical": little(0xef),
		"order 4 with the sign": append(make([]byte, 31), 0x80), "all ones": []byte(strings.Repeat("\xff", 32)),
		"order 8": {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	} {
		jwk(53, "Ed25519 "+what, map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(x)}, "badPublicKey")
	}
	for _, crv := range []string{"Ed448", "X25519", "X448", "ed25519", ""} {
		jwk(53, "OKP "+crv, map[string]any{"kty": "OKP", "crv": crv, "x": b64(make([]byte, 32))}, "badPublicKey")
	}
	for _, size := range []int{0, 31, 33, 57, 64} {
		jwk(53, fmt.Sprintf("Ed25519 of %d octets", size), map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, size))}, "malformed")
	}
}

// jsonDamage is what is no JSON for everybody, or not the same for all.
var jsonDamage = []struct {
	row        int
	what, text string
}{
	{77, "[ times 20,000", strings.Repeat("[", 20000)},
	{77, "[] nested 5,000", strings.Repeat("[", 5000) + strings.Repeat("]", 5000)},
	{77, `{"a": times 3,000`, strings.Repeat(`{"a":`, 3000)},
	{77, "nested 9", `{"x":[[[[[[[[[]]]]]]]]]}`},
	{77, "a comma list of 5,000", `{"x":[` + strings.Repeat("0,", 5000) + "0]}"},
	{78, "identifiers twice", `{"identifiers":[],"identifiers":[]}`},
	{78, "a member twice, once escaped", `{"csr":"","\u0063sr":""}`},
	{78, "an unknown member twice", `{"x":1,"x":2}`},
	{78, "deep", `{"x":{"y":1,"y":1}}`},
	{80, "1.", `{"x":1.}`},
	{80, ".5", `{"x":.5}`},
	{80, "01", `{"x":01}`},
	{80, "+1", `{"x":+1}`},
	{80, "0x1", `{"x":0x1}`},
	{80, "NaN", `{"x":NaN}`},
	{80, "Infinity", `{"x":Infinity}`},
	{80, "1e", `{"x":1e}`},
	{80, "--1", `{"x":--1}`},
	{80, "1_000", `{"x":1_000}`},
	{81, "invalid UTF-8", "{\"x\":\"\xff\"}"},
	{81, "overlong", "{\"x\":\"\xc0\xaf\"}"},
	{81, "a surrogate in UTF-8", "{\"x\":\"\xed\xa0\x80\"}"},
	{81, "half a letter", "{\"x\":\"\xc3\"}"},
	{81, "above U+10FFFF", "{\"x\":\"\xf4\x90\x80\x80\"}"},
	{81, "a lone high surrogate", `{"x":"\ud800"}`},
	{81, "a lone low surrogate", `{"x":"\udc00"}`},
	{81, "two high ones", `{"x":"\ud800\ud800"}`},
	{81, "high and a letter", `{"x":"\ud800a"}`},
	{81, "U+0000 escaped", `{"x":"\u0000"}`},
	{81, "U+0000", "{\"x\":\"\x00\"}"},
	{81, "a line end in a string", "{\"x\":\"\n\"}"},
	{81, "a tab in a string", "{\"x\":\"\t\"}"},
	{81, "BOM", "\xef\xbb\xbf{}"},
	{81, "UTF-16", "{\x00}\x00"},
	{81, `\x`, `{"x":"\x41"}`},
	{81, `\u of three`, `{"x":"\u004"}`},
	{81, `\u with a sign`, `{"x":"\u+041"}`},
	{81, `\U`, `{"x":"\U00000041"}`},
	{81, "a backslash at the end", `{"x":"\`},
	{82, "two values", "{}{}"},
	{82, "garbage behind", "{}x"},
	{82, "a comma behind", "{},"},
	{82, "a comment", "{}//x"},
	{82, "a comment within", "{/**/}"},
	{82, "a trailing comma", `{"x":1,}`},
	{82, "a trailing comma in a list", `{"x":[1,]}`},
	{82, "a leading comma", `{,"x":1}`},
	{82, "no closing", "{"},
	{82, "no value", `{"x"}`},
	{82, "no value behind the colon", `{"x":}`},
	{82, "single quotes", `{'x':1}`},
	{82, "no quotes", `{x:1}`},
	{82, "True", `{"x":True}`},
	{82, "nul", `{"x":nul}`},
	{82, "nulll", `{"x":nulll}`},
	{82, "undefined", `{"x":undefined}`},
	{82, "U+00A0", "{\u00a0}"},
	{82, "a form feed", "{\f}"},
	{82, "a vertical tab", "\v{}"},
	{82, "NUL behind", "{}\x00"},
	{82, "a semicolon", `{"x":1;"y":2}`},
	{82, "a number as member", `{1:1}`},
	{82, "newlines of JSON text sequences", "\x1e{}\n"},
	{88, "65 members", `{` + strings.TrimSuffix(strings.Repeat(`"x%d":0,`, 65), ",") + `}`},
}

// fields are the members of requests' payloads with the kinds that they may
// have; where says to which request the text with @ for the value belongs.
var fields = []struct {
	url, field, text string
	kinds            string // of: null bool number string array object
}{
	{"new-account", "contact", `{"contact":@}`, "null array"},
	{"new-account", "contact[0]", `{"contact":[@]}`, "string"},
	{"new-account", "termsOfServiceAgreed", `{"termsOfServiceAgreed":@}`, "null bool"},
	{"new-account", "onlyReturnExisting", `{"onlyReturnExisting":@}`, "null bool"},
	{"account", "contact", `{"contact":@}`, "null array"},
	{"account", "contact[0]", `{"contact":[@]}`, "string"},
	{"account", "termsOfServiceAgreed", `{"termsOfServiceAgreed":@}`, "null bool"},
	{"account", "status", `{"status":@}`, "null"},
	{"new-order", "identifiers", `{"identifiers":@}`, ""},
	{"new-order", "identifiers[0]", `{"identifiers":[@]}`, ""},
	{"new-order", "identifiers[0].type", `{"identifiers":[{"type":@,"value":"type.example"}]}`, "string"},
	{"new-order", "identifiers[0].value", `{"identifiers":[{"type":"dns","value":@}]}`, ""},
	{"new-order", "notBefore", `{"identifiers":[{"type":"dns","value":"nb.example"}],"notBefore":@}`, "null"},
	{"new-order", "notAfter", `{"identifiers":[{"type":"dns","value":"na.example"}],"notAfter":@}`, "null"},
	{"new-order", "profile", `{"identifiers":[{"type":"dns","value":"p.example"}],"profile":@}`, "null string"},
	{"new-order", "replaces", `{"identifiers":[{"type":"dns","value":"r.example"}],"replaces":@}`, "null string"},
	{"new-authz", "identifier", `{"identifier":@}`, ""},
	{"new-authz", "identifier.type", `{"identifier":{"type":@,"value":"type.example"}}`, "string"},
	{"new-authz", "identifier.value", `{"identifier":{"type":"dns","value":@}}`, ""},
	{"ready", "csr", `{"csr":@}`, "string"},
	{"revoke-cert", "certificate", `{"certificate":@}`, "string"},
	{"revoke-cert", "reason", `{"certificate":"AA","reason":@}`, "null number"},
	{"authorization", "status", `{"status":@}`, ""},
	{"key-change", "protected", `{"protected":@,"payload":"","signature":""}`, ""},
	{"key-change", "payload", `{"protected":"e30","payload":@,"signature":""}`, ""},
	{"key-change", "signature", `{"protected":"e30","payload":"","signature":@}`, ""},
}

// jsonValues are values of every kind.
var jsonValues = []struct{ kind, text string }{
	{"null", "null"},
	{"bool", "true"},
	{"bool", "false"},
	{"number", "0"},
	{"number", "-1"},
	{"number", "1.5"},
	{"number", "1e400"},
	{"number", "9007199254740993"},
	{"string", `""`},
	{"string", `"x"`},
	{"array", "[]"},
	{"array", "[null]"},
	{"array", "[[]]"},
	{"object", "{}"},
	{"object", `{"a":1}`},
}

// json is rows 77 to 88.
func (h *hostile) json() {
	for _, d := range jsonDamage {
		text := d.text
		for i := 0; strings.Contains(text, "%d"); i++ {
			text = strings.Replace(text, "%d", fmt.Sprint(i), 1)
		}
		h.posted(d.row, "body: "+d.what, request{by: h.account, url: h.urls.order, body: fixed(text)}, 400, "malformed")
		h.posted(d.row, "header: "+d.what, request{by: h.account, url: h.urls.order, protected: text}, 400, "malformed")
		h.posted(d.row, "payload: "+d.what, request{by: h.account, url: "/acme/new-order", payload: text}, 400, "malformed")
	}
	at := h.posts()
	at["ready"] = h.path(h.urls.ready) + "/finalize"
	for _, f := range fields {
		for _, v := range jsonValues {
			if strings.Contains(f.kinds, v.kind) || strings.HasSuffix(f.field, ".value") && v.text == `"x"` { // a name of one label
				continue
			}
			h.posted(83, f.url+" "+f.field+" "+v.text, request{by: h.account, url: at[f.url], payload: strings.Replace(f.text, "@", v.text, 1), jwk: f.url == "new-account"}, 400, "malformed")
		}
	}
	for _, member := range []string{"alg", "url", "nonce", "kid"} {
		for _, v := range jsonValues {
			if v.kind == "string" {
				continue
			}
			row := map[string]int{"alg": 38, "nonce": 66}[member]
			if row == 0 {
				row = 83
			}
			h.posted(row, "header "+member+" "+v.text, request{by: h.account, url: h.urls.order, header: map[string]any{member: json.RawMessage(v.text)}}, 400, "malformed")
		}
	}
	h.posted(38, "no alg", request{by: h.account, url: h.urls.order, header: map[string]any{"alg": nil}}, 400, "malformed")
	h.unknown(at)
	h.numbers()
}

// unknown members are ignored, not stored, not repeated (RFC 8555 section 7.1).
func (h *hostile) unknown(at map[string]string) {
	for _, name := range []string{"Identifiers", "IDENTIFIERS", "identifierſ", "identifiers ", "ıdentifiers"} {
		h.posted(79, fmt.Sprintf("%q for identifiers", name), request{by: h.account, url: "/acme/new-order", payload: strings.Replace(dnsOrder("case.example"), "identifiers", name, 1)}, 400, "malformed")
	}
	for _, name := range []string{"CSR", "Csr", "cſr"} {
		h.posted(79, fmt.Sprintf("%q for csr", name), request{by: h.account, url: at["ready"], payload: `{"` + name + `":"AA"}`}, 400, "malformed")
	}
	for _, extra := range []string{`"status":"valid"`, `"expires":"2099-01-01T00:00:00Z"`, `"authorizations":["https://evil.example/"]`, `"finalize":"https://evil.example/"`, `"certificate":"https://evil.example/"`, `"canary":"c4n4ry"`, `"__proto__":{"x":1}`, `"":""`} {
		h.is(86, "order with "+extra, func(t *testing.T) {
			h.with(t, func() {
				a := h.post(request{by: h.account, url: "/acme/new-order", payload: strings.Replace(dnsOrder("owned.example"), "{", "{"+extra+",", 1)})
				a.want(t, 201, "")
				if a.text("status") != "pending" || strings.Contains(string(a.body), "evil") || strings.Contains(string(a.body), "c4n4ry") {
					t.Errorf("the order is %s", a.body)
				}
			})
		})
	}
	for _, extra := range []string{`"status":"valid"`, `"orders":"https://evil.example/"`, `"createdAt":"1970-01-01"`, `"key":{}`, `"id":"x"`, `"externalAccountBinding":"evil"`, `"canary":{"a":["c4n4ry"]}`} {
		h.is(86, "account with "+extra, func(t *testing.T) {
			h.with(t, func() {
				p := &party{key: ecKey(t, elliptic.P256()), alg: "ES256"}
				a := h.post(request{by: p, url: "/acme/new-account", payload: `{"termsOfServiceAgreed":true,` + extra + `}`})
				a.want(t, 201, "")
				p.kid = a.location
				for _, a := range []*answer{a, h.post(request{by: p, url: p.kid, payload: "{" + extra + "}"}), h.post(request{by: p, url: p.kid})} {
					if a.text("status") != "valid" || strings.Contains(string(a.body), "evil") || strings.Contains(string(a.body), "c4n4ry") {
						t.Errorf("the account is %s", a.body)
					}
				}
			})
		})
	}
	for _, status := range []string{"revoked", "invalid", "pending", "Deactivated", "deactivated ", "DEACTIVATED", "x", strings.Repeat("x", 5000), "\x7f"} {
		h.posted(87, fmt.Sprintf("account %.20q", status), request{by: h.account, url: h.account.kid, payload: jsonOf(map[string]string{"status": status})}, 400, "malformed")
		h.posted(87, fmt.Sprintf("authorization %.20q", status), request{by: h.account, url: h.urls.authorization, payload: jsonOf(map[string]string{"status": status})}, 400, "malformed")
	}
	for i := range 8 {
		h.posted(85, fmt.Sprintf("unknown member %d", i), request{by: h.account, url: "/acme/new-order", payload: strings.Replace(dnsOrder("unknown.example"), "{", `{"x`+strings.Repeat("y", i*100)+`":[1,{"z":null}],`, 1)}, 201, "")
	}
}

// numbers as revocation reason: a plain integer is one, everything else is no
// number for it.
func (h *hostile) numbers() {
	cert := b64(h.cert.Leaf.Raw)
	for text, kind := range map[string]string{
		"1e400": "malformed", "-0": "malformed", "1.0": "malformed", "1e0": "malformed", "9007199254740993": "badRevocationReason", "9223372036854775808": "malformed", "-9223372036854775809": "malformed",
		"18446744073709551617": "malformed", "4294967297": "badRevocationReason", "257": "badRevocationReason", "-1": "badRevocationReason", "0.9999999999999999999": "malformed", `"1"`: "malformed", "1.5": "malformed",
		"[1]": "malformed", "true": "malformed", "{}": "malformed", strings.Repeat("9", 10000): "malformed", "1" + strings.Repeat("0", 400): "malformed",
	} {
		h.posted(80, fmt.Sprintf("reason %.30s", text), request{by: h.account, url: "/acme/revoke-cert", payload: `{"certificate":"` + cert + `","reason":` + text + `}`}, 400, kind)
	}
}

// rsaPublic is a key whose public half only is needed.
func rsaPublic(n, e *big.Int) *rsa.PublicKey { return &rsa.PublicKey{N: n, E: int(e.Int64())} }
