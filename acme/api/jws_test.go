package api

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"chancery/acme"
	"chancery/acme/strict"
)

// signer is a private key with its algorithm.
type signer struct {
	alg string
	key crypto.Signer
}

func signers(t testing.TB) []signer {
	t.Helper()
	var list []signer
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, signer{alg, k})
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return append(list, signer{"RS256", r}, signer{"EdDSA", e})
}

// joseSign is a flattened JWS that go-jose made.
func joseSign(t testing.TB, s signer, payload []byte, extra map[jose.HeaderKey]any) string {
	t.Helper()
	out, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.alg), Key: s.key}, &jose.SignerOptions{EmbedJWK: true, ExtraHeaders: extra})
	if err != nil {
		t.Fatal(err)
	}
	m, err := out.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	return m.FullSerialize()
}

func parseJWS(text string) (*jws, error) {
	v, err := strict.Parse(text)
	if err != nil {
		return nil, malformed("%v", err)
	}
	return readJWS(&v)
}

var joseHeaders = map[jose.HeaderKey]any{"url": "https://ca.example/acme/new-order", "nonce": "AAAA"}

// What go-jose signs verifies here, and nothing that differs by a bit does.
func TestJWSBesideJose(t *testing.T) {
	payload := []byte(`{"identifiers":[]}`)
	all := signers(t)
	for _, s := range all {
		text := joseSign(t, s, payload, joseHeaders)
		m, err := parseJWS(text)
		if err != nil {
			t.Fatalf("%s: %v", s.alg, err)
		}
		if m.payload != string(payload) || m.header.alg != s.alg || m.header.url != joseHeaders["url"] || m.header.nonce != "AAAA" || m.header.kid != "" {
			t.Errorf("%s: read as %+v", s.alg, m)
		}
		key, err := acme.ParseKey([]byte(m.header.jwk))
		if err != nil {
			t.Fatalf("%s: %v", s.alg, err)
		}
		if err := m.verify(key.Public()); err != nil {
			t.Errorf("%s: %v", s.alg, err)
		}
		for i := range m.input { // SAFETY 57
			m.input[i] ^= 1
			if m.verify(key.Public()) == nil {
				t.Fatalf("%s: verifies with octet %d changed", s.alg, i)
			}
			m.input[i] ^= 1
			if i > 20 {
				break
			}
		}
		for _, other := range all {
			if other.alg != s.alg && m.verify(other.key.Public()) == nil {
				t.Errorf("%s: verifies with the key of %s", s.alg, other.alg)
			}
		}
	}
}

// SAFETY 55, 56: signatures that are none.
func TestJWSBadSignatures(t *testing.T) {
	for _, s := range signers(t) {
		m, err := parseJWS(joseSign(t, s, []byte("{}"), joseHeaders))
		if err != nil {
			t.Fatal(err)
		}
		good := bytes.Clone(m.signature)
		bad := map[string][]byte{
			"empty": {}, "one octet less": good[1:], "one octet more": append([]byte{0}, good...), "behind": append(bytes.Clone(good), 0),
			"zeros": make([]byte, len(good)), "ones": bytes.Repeat([]byte{0xff}, len(good)),
		}
		if k, ok := s.key.(*ecdsa.PrivateKey); ok {
			digest := sha256.Sum256(m.input)
			der, err := ecdsa.SignASN1(rand.Reader, k, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			half := len(good) / 2
			n := k.Params().N.FillBytes(make([]byte, half))
			bad["DER"] = der
			bad["r = 0"] = append(make([]byte, half), good[half:]...)
			bad["s = 0"] = append(bytes.Clone(good[:half]), make([]byte, half)...)
			bad["s = n"] = append(bytes.Clone(good[:half]), n...)
			bad["r = n"] = append(bytes.Clone(n), good[half:]...)
			// r + n means the same modulo n, if there is room for it.
			r := new(big.Int).Add(new(big.Int).SetBytes(good[:half]), k.Params().N)
			if (r.BitLen()+7)/8 <= half {
				bad["r + n"] = append(r.FillBytes(make([]byte, half)), good[half:]...)
			}
		}
		for name, signature := range bad {
			m.signature = signature
			if err := m.verify(s.key.Public()); err == nil || acme.AsProblem(err).Kind != acme.Malformed {
				t.Errorf("%s, %s: %v", s.alg, name, err)
			}
		}
	}
}

// SAFETY 36: the classic confusion of a public key with a MAC secret.
func TestJWSConfusion(t *testing.T) {
	for _, s := range signers(t) {
		public, err := x509.MarshalPKIXPublicKey(s.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","url":"u","kid":"k"}`))
		mac := hmac.New(sha256.New, public)
		mac.Write([]byte(header + "."))
		m, err := parseJWS(`{"protected":"` + header + `","payload":"","signature":"` + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + `"}`)
		if err != nil {
			t.Fatal(err)
		}
		p := acme.AsProblem(checkAlgorithm(m.header.alg))
		if p == nil || p.Kind != acme.BadSignatureAlgorithm || len(p.Algorithms) != 5 {
			t.Errorf("problem %v", p)
		}
		if m.verify(s.key.Public()) == nil {
			t.Errorf("%s key: a MAC verifies", s.alg)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"} {
		if err := checkAlgorithm(alg); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	for _, alg := range []string{"", "none", "None", "HS256", "RS1", "RS384", "RS512", "PS256", "ES256K", "es256", "Ed25519", "ES256 "} { // SAFETY 35, 37
		p := acme.AsProblem(checkAlgorithm(alg))
		if p == nil || p.Kind != acme.BadSignatureAlgorithm || p.HTTPStatus() != 400 || len(p.Algorithms) != 5 {
			t.Errorf("%q: %v", alg, p)
		}
	}
}

// SAFETY 31 to 34, 38, 40, 41, 55, 59 to 61, 66, 69, 74: shapes.
func TestJWSShapes(t *testing.T) {
	h := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	const kid = `"kid":"https://ca.example/acme/account/1"`
	good := h(`{"alg":"ES256","nonce":"AAAA","url":"u",` + kid + `}`)
	flat := func(protected string) string {
		return `{"protected":"` + protected + `","payload":"","signature":"AAAA"}`
	}
	for name, text := range map[string]string{
		"plain":                   flat(good),
		"other members":           `{"protected":"` + good + `","payload":"","signature":"AAAA","x":1,"Header":{}}`,
		"no nonce":                flat(h(`{"alg":"ES256","url":"u",` + kid + `}`)),
		"headers never looked at": flat(h(`{"alg":"ES256","url":"u",` + kid + `,"jku":"https://evil.example/","x5u":"https://evil.example/","x5c":["AA"],"zip":"DEF","typ":7}`)),
		"jwk":                     flat(h(`{"alg":"ES256","url":"u","jwk":{"kty":"EC"}}`)),
	} {
		if _, err := parseJWS(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty":                 ``,
		"array":                 `[]`,
		"string":                `"x"`,
		"compact":               good + "..AAAA",
		"general":               `{"payload":"","signatures":[{"protected":"` + good + `","signature":"AAAA"}]}`,
		"both":                  `{"payload":"","signatures":[],"protected":"` + good + `","signature":"AAAA"}`,
		"signatures null":       `{"payload":"","signatures":null,"protected":"` + good + `","signature":"AAAA"}`,
		"header":                `{"header":{},"payload":"","protected":"` + good + `","signature":"AAAA"}`,
		"header null":           `{"header":null,"payload":"","protected":"` + good + `","signature":"AAAA"}`,
		"no protected":          `{"payload":"","signature":"AAAA"}`,
		"no payload":            `{"protected":"` + good + `","signature":"AAAA"}`,
		"null payload":          `{"payload":null,"protected":"` + good + `","signature":"AAAA"}`,
		"object payload":        `{"payload":{},"protected":"` + good + `","signature":"AAAA"}`,
		"no signature":          `{"payload":"","protected":"` + good + `"}`,
		"case":                  `{"Payload":"","protected":"` + good + `","signature":"AAAA"}`,
		"duplicate":             `{"payload":"","payload":"AA","protected":"` + good + `","signature":"AAAA"}`,
		"padded":                `{"payload":"AA==","protected":"` + good + `","signature":"AAAA"}`,
		"standard alphabet":     `{"payload":"+/+/","protected":"` + good + `","signature":"AAAA"}`,
		"newline in base64":     `{"payload":"AA\nAA","protected":"` + good + `","signature":"AAAA"}`,
		"trailing bits":         `{"payload":"AB","protected":"` + good + `","signature":"AAAA"}`,
		"empty protected":       flat(""),
		"protected no object":   flat(h(`[]`)),
		"protected twice":       flat(h(`{"alg":"ES256","url":"u",` + kid + `}{}`)),
		"alg twice":             flat(h(`{"alg":"none","alg":"ES256","url":"u",` + kid + `}`)),
		"Alg":                   flat(h(`{"Alg":"ES256","url":"u",` + kid + `}`)),
		"no alg":                flat(h(`{"url":"u",` + kid + `}`)),
		"alg a number":          flat(h(`{"alg":256,"url":"u",` + kid + `}`)),
		"alg an array":          flat(h(`{"alg":["ES256"],"url":"u",` + kid + `}`)),
		"no url":                flat(h(`{"alg":"ES256",` + kid + `}`)),
		"url null":              flat(h(`{"alg":"ES256","url":null,` + kid + `}`)),
		"jwk and kid":           flat(h(`{"alg":"ES256","url":"u","jwk":{},` + kid + `}`)),
		"jwk null and kid":      flat(h(`{"alg":"ES256","url":"u","jwk":null,` + kid + `}`)),
		"neither":               flat(h(`{"alg":"ES256","url":"u"}`)),
		"jwk a string":          flat(h(`{"alg":"ES256","url":"u","jwk":"{}"}`)),
		"kid a number":          flat(h(`{"alg":"ES256","url":"u","kid":1}`)),
		"kid empty":             flat(h(`{"alg":"ES256","url":"u","kid":""}`)),
		"crit":                  flat(h(`{"alg":"ES256","url":"u",` + kid + `,"crit":["exp"],"exp":1}`)),
		"crit empty":            flat(h(`{"alg":"ES256","url":"u",` + kid + `,"crit":[]}`)),
		"b64 false":             flat(h(`{"alg":"ES256","url":"u",` + kid + `,"b64":false,"crit":["b64"]}`)),
		"b64 true":              flat(h(`{"alg":"ES256","url":"u",` + kid + `,"b64":true}`)),
		"nonce a number":        flat(h(`{"alg":"ES256","nonce":1,"url":"u",` + kid + `}`)),
		"nonce null":            flat(h(`{"alg":"ES256","nonce":null,"url":"u",` + kid + `}`)),
		"nonce empty":           flat(h(`{"alg":"ES256","nonce":"","url":"u",` + kid + `}`)),
		"nonce not base64url":   flat(h(`{"alg":"ES256","nonce":"a b","url":"u",` + kid + `}`)),
		"nonce padded":          flat(h(`{"alg":"ES256","nonce":"AA==","url":"u",` + kid + `}`)),
		"nonce of 10 kB":        flat(h(`{"alg":"ES256","nonce":"` + strings.Repeat("A", 10_000) + `","url":"u",` + kid + `}`)),
		"control character":     flat(h("{\"alg\":\"ES256\",\"url\":\"u\n\"," + kid + "}")),
		"protected with spaces": flat(good[:8] + " " + good[8:]),
	} {
		if _, err := parseJWS(text); err == nil {
			t.Errorf("%s: taken", name)
		} else if p := acme.AsProblem(err); p == nil || p.Kind != acme.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzJWS: what is read here and verifies also does for go-jose.
func FuzzJWS(f *testing.F) {
	for _, s := range signers(f) {
		f.Add(joseSign(f, s, []byte("{}"), joseHeaders))
		f.Add(joseSign(f, s, nil, joseHeaders))
	}
	f.Add(`{"protected":"e30","payload":"","signature":""}`)
	f.Add(`{"payload":"","signatures":[{"protected":"e30","signature":""}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseJWS(text)
		if err != nil {
			if p := acme.AsProblem(err); p == nil || p.HTTPStatus() != 400 {
				t.Fatalf("%v is no problem for a client", err)
			}
			return
		}
		if m.header.jwk == "" || checkAlgorithm(m.header.alg) != nil {
			return
		}
		key, err := acme.ParseKey([]byte(m.header.jwk))
		if err != nil || m.verify(key.Public()) != nil {
			return
		}
		other, err := jose.ParseSignedJSON(text, []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.EdDSA})
		if err != nil {
			t.Fatalf("go-jose does not read it: %v", err)
		}
		payload, err := other.Verify(key.Public())
		if err != nil || string(payload) != m.payload {
			t.Fatalf("go-jose says %q, %v", payload, err)
		}
	})
}

// macJWS is the inner JWS of an external account binding, made without the
// code under test.
func macJWS(protected, payload string, secret []byte) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(protected)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	head, body, _ := strings.Cut(input, ".")
	return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, head, body, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

func testJWK(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: pub})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const bindingURL = "https://ca.example/acme/new-account"

// SAFETY 96: bindings of the wrong shape, before any secret is looked up.
func TestReadBinding(t *testing.T) {
	jwk := testJWK(t, signers(t)[0].key.Public())
	for name, c := range map[string]struct {
		protected, payload string
		kind               acme.Kind
		good               bool
	}{
		"HS256":        {protected: `{"alg":"HS256","kid":"k","url":"` + bindingURL + `"}`, payload: jwk, good: true},
		"HS512":        {protected: `{"alg":"HS512","kid":"k","url":"` + bindingURL + `"}`, payload: jwk, good: true},
		"ES256":        {protected: `{"alg":"ES256","kid":"k","url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"none":         {protected: `{"alg":"none","kid":"k","url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"nonce":        {protected: `{"alg":"HS256","kid":"k","nonce":"AAAA","url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"other url":    {protected: `{"alg":"HS256","kid":"k","url":"` + bindingURL + `x"}`, payload: jwk, kind: acme.Malformed},
		"no url":       {protected: `{"alg":"HS256","kid":"k"}`, payload: jwk, kind: acme.Malformed},
		"no kid":       {protected: `{"alg":"HS256","url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"jwk":          {protected: `{"alg":"HS256","jwk":{},"url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"long kid":     {protected: `{"alg":"HS256","kid":"` + strings.Repeat("k", 2000) + `","url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"no key":       {protected: `{"alg":"HS256","kid":"k","url":"` + bindingURL + `"}`, payload: `{}`, kind: acme.Malformed},
		"symmetric":    {protected: `{"alg":"HS256","kid":"k","url":"` + bindingURL + `"}`, payload: `{"kty":"oct"}`, kind: acme.BadPublicKey},
		"empty":        {protected: `{"alg":"HS256","kid":"k","url":"` + bindingURL + `"}`, payload: ``, kind: acme.Malformed},
		"crit":         {protected: `{"alg":"HS256","kid":"k","crit":["x"],"url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"duplicate":    {protected: `{"alg":"HS256","kid":"k","kid":"l","url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"private key":  {protected: `{"alg":"HS256","kid":"k","url":"` + bindingURL + `"}`, payload: strings.Replace(jwk, "{", `{"d":"AA",`, 1), kind: acme.Malformed},
		"upper-case":   {protected: `{"ALG":"HS256","kid":"k","url":"` + bindingURL + `"}`, payload: jwk, kind: acme.Malformed},
		"no signature": {protected: ``, payload: jwk, kind: acme.Malformed},
	} {
		v, err := strict.Parse(macJWS(c.protected, c.payload, []byte("secret")))
		if err != nil {
			t.Fatal(err)
		}
		b, err := readBinding(&v, bindingURL)
		p := acme.AsProblem(err)
		switch {
		case c.good && (err != nil || b.KeyID != "k" || len(b.MAC) != 32 || b.Key.IsZero() || !strings.Contains(string(b.SigningInput), ".")):
			t.Errorf("%s: %v, %v", name, b, err)
		case !c.good && (p == nil || p.Kind != c.kind):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzEAB: whatever the inner JWS of a binding or a key change is, there is a
// problem for the client or a whole result.
func FuzzEAB(f *testing.F) {
	all := signers(f)
	f.Add(macJWS(`{"alg":"HS256","kid":"k","url":"`+bindingURL+`"}`, testJWK(f, all[0].key.Public()), []byte("secret")))
	f.Add(joseSign(f, all[0], []byte(`{"account":"a","oldKey":{}}`), map[jose.HeaderKey]any{"url": bindingURL}))
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := strict.Parse(text)
		if err != nil {
			return
		}
		b, err := readBinding(&v, bindingURL)
		switch {
		case err != nil && acme.AsProblem(err) == nil:
			t.Fatalf("binding: %v is no problem for a client", err)
		case err == nil && (b.Key.IsZero() || b.KeyID == ""):
			t.Fatalf("binding: %+v", b)
		}
		key, in, err := readInner(&v, bindingURL)
		switch {
		case err != nil && acme.AsProblem(err) == nil:
			t.Fatalf("key change: %v is no problem for a client", err)
		case err == nil && (key.IsZero() || in.Kind() != strict.Object):
			t.Fatalf("key change: %v", in)
		}
	})
}

// BenchmarkJWS is parse and verify of an ES256 request, here and by go-jose.
func BenchmarkJWS(b *testing.B) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	text := joseSign(b, signer{"ES256", k}, []byte(`{"identifiers":[{"type":"dns","value":"a.example"}]}`), joseHeaders)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseJWS(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse+verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m, err := parseJWS(text)
			if err != nil || m.verify(&k.PublicKey) != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-jose", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m, err := jose.ParseSignedJSON(text, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := m.Verify(&k.PublicKey); err != nil {
				b.Fatal(err)
			}
		}
	})
}
