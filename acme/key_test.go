package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
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
)

const (
	// rfc7638Key and its thumbprint are RFC 7638 section 3.1.
	rfc7638Key = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	// rfc8037Key is RFC 8037 appendix A.2, its thumbprint appendix A.3.
	rfc8037Key = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
)

func TestThumbprintVectors(t *testing.T) {
	for jwk, want := range map[string]string{
		rfc7638Key: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		rfc8037Key: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		// RestoreKey, because keys of vectors need not be good ones.
		k, err := acme.RestoreKey(jwk)
		if err != nil {
			t.Fatal(err)
		}
		if k.Thumbprint() != want {
			t.Errorf("thumbprint %s, want %s", k.Thumbprint(), want)
		}
	}
}

// joseJWK is the key's JWK as go-jose writes it.
func joseJWK(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	b, err := jose.JSONWebKey{Key: pub}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &k.PublicKey
}

func rsaKey(t testing.TB, bits int) *rsa.PublicKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return &k.PublicKey
}

// What another implementation writes is read as the same key, and the
// thumbprints agree.
func TestParseKeyBesideJose(t *testing.T) {
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := []crypto.PublicKey{ed, rsaKey(t, 2048)}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		for range 300 { // one coordinate in 256 begins with a zero octet
			keys = append(keys, ecKey(t, curve))
		}
	}
	for _, pub := range keys {
		text := joseJWK(t, pub)
		k, err := acme.ParseKey([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
			t.Errorf("%s: read as another key", text)
		}
		sum, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if want := base64.RawURLEncoding.EncodeToString(sum); k.Thumbprint() != want {
			t.Errorf("thumbprint %s, go-jose says %s", k.Thumbprint(), want)
		}
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		if k.SPKI() != sha256.Sum256(der) || k.IsZero() {
			t.Errorf("SPKI differs")
		}
		again, err := acme.RestoreKey(k.JWK())
		if err != nil || again.JWK() != k.JWK() || again.SPKI() != k.SPKI() {
			t.Errorf("RestoreKey(%s): %v", k.JWK(), err)
		}
	}
	if !(acme.Key{}).IsZero() {
		t.Error("the zero Key is not zero")
	}
}

// edit changes members of a JWK; a nil value removes one.
func edit(t *testing.T, jwk string, changes map[string]any) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(jwk), &m); err != nil {
		t.Fatal(err)
	}
	for name, v := range changes {
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// SAFETY 46 to 54.
func TestParseKeyRefuses(t *testing.T) {
	ec, rs, okp := joseJWK(t, ecKey(t, elliptic.P256())), joseJWK(t, rsaKey(t, 2048)), rfc8037Key
	var parts struct{ X, Y string }
	if err := json.Unmarshal([]byte(ec), &parts); err != nil {
		t.Fatal(err)
	}
	x, err := base64.RawURLEncoding.DecodeString(parts.X)
	if err != nil {
		t.Fatal(err)
	}
	p := elliptic.P256().Params().P
	n2048 := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2048), big.NewInt(1)).Bytes()
	cases := []struct {
		name, jwk string
		kind      acme.Kind
	}{
		{"empty", ``, acme.Malformed},
		{"null", `null`, acme.Malformed},
		{"no kty", edit(t, ec, map[string]any{"kty": nil}), acme.Malformed},
		{"kty a number", edit(t, ec, map[string]any{"kty": 1}), acme.Malformed},
		{"kty in lower case", edit(t, ec, map[string]any{"kty": "ec"}), acme.BadPublicKey},
		{"kty unknown", `{"kty":"AKP"}`, acme.BadPublicKey},
		{"oct", `{"kty":"oct","k":"AAAA"}`, acme.BadPublicKey},
		{"too long", edit(t, ec, map[string]any{"padding": strings.Repeat("x", 9000)}), acme.Malformed},
		{"duplicate", strings.Replace(ec, "{", `{"kty":"EC",`, 1), acme.Malformed},
		{"EC private", edit(t, ec, map[string]any{"d": "AA"}), acme.Malformed},
		{"RSA private", edit(t, rs, map[string]any{"d": "AA"}), acme.Malformed},
		{"RSA prime", edit(t, rs, map[string]any{"p": "AA"}), acme.Malformed},
		{"OKP private", edit(t, okp, map[string]any{"d": "AA"}), acme.Malformed},
		{"null d", strings.Replace(ec, "{", `{"d":null,`, 1), acme.Malformed},
		{"no crv", edit(t, ec, map[string]any{"crv": nil}), acme.Malformed},
		{"P-224", edit(t, ec, map[string]any{"crv": "P-224"}), acme.BadPublicKey},
		{"secp256k1", edit(t, ec, map[string]any{"crv": "secp256k1"}), acme.BadPublicKey},
		{"other curve", edit(t, ec, map[string]any{"crv": "P-384"}), acme.Malformed},
		{"no x", edit(t, ec, map[string]any{"x": nil}), acme.Malformed},
		{"upper-case X only", edit(t, ec, map[string]any{"x": nil, "X": parts.X}), acme.Malformed},
		{"y null", strings.Replace(edit(t, ec, map[string]any{"y": nil}), "{", `{"y":null,`, 1), acme.Malformed},
		{"x a number", edit(t, ec, map[string]any{"x": 5}), acme.Malformed},
		{"x with padding", edit(t, ec, map[string]any{"x": parts.X + "="}), acme.Malformed},
		{"x with newline", edit(t, ec, map[string]any{"x": parts.X[:10] + "\n" + parts.X[10:]}), acme.Malformed},
		{"x with a zero in front", edit(t, ec, map[string]any{"x": b64(append([]byte{0}, x...))}), acme.Malformed},
		{"x too short", edit(t, ec, map[string]any{"x": b64(x[1:])}), acme.Malformed},
		{"x empty", edit(t, ec, map[string]any{"x": ""}), acme.Malformed},
		{"x in hex", edit(t, ec, map[string]any{"x": fmt.Sprintf("%x", x)}), acme.Malformed},
		{"not on the curve", edit(t, ec, map[string]any{"y": parts.X}), acme.BadPublicKey},
		{"0, 0", edit(t, ec, map[string]any{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}), acme.BadPublicKey},
		{"x = p", edit(t, ec, map[string]any{"x": b64(p.Bytes())}), acme.BadPublicKey},
		{"x all ones", edit(t, ec, map[string]any{"x": b64([]byte(strings.Repeat("\xff", 32)))}), acme.BadPublicKey},
		{"RSA no n", edit(t, rs, map[string]any{"n": nil}), acme.Malformed},
		{"RSA no e", edit(t, rs, map[string]any{"e": nil}), acme.Malformed},
		{"RSA empty n", edit(t, rs, map[string]any{"n": ""}), acme.Malformed},
		{"RSA zero n", edit(t, rs, map[string]any{"n": "AA"}), acme.Malformed},
		{"RSA leading zero", edit(t, rs, map[string]any{"n": b64(append([]byte{0}, n2048...))}), acme.Malformed},
		{"RSA e with leading zero", edit(t, rs, map[string]any{"e": "AAEAAQ"}), acme.Malformed},
		{"RSA e = 1", edit(t, rs, map[string]any{"e": "AQ"}), acme.BadPublicKey},
		{"RSA e = 3", edit(t, rs, map[string]any{"e": "Aw"}), acme.BadPublicKey},
		{"RSA e even", edit(t, rs, map[string]any{"e": "AQAA"}), acme.BadPublicKey},
		{"RSA e = 2^33+1", edit(t, rs, map[string]any{"e": "AgAAAAE"}), acme.BadPublicKey},
		{"RSA e = 2^32-1", edit(t, rs, map[string]any{"e": "_____w"}), acme.BadPublicKey},
		{"RSA 512", edit(t, rs, map[string]any{"n": b64(n2048[:64])}), acme.BadPublicKey},
		{"RSA 1024", edit(t, rs, map[string]any{"n": b64(n2048[:128])}), acme.BadPublicKey},
		{"RSA 2047", edit(t, rs, map[string]any{"n": b64(append([]byte{0x7f}, n2048[1:]...))}), acme.BadPublicKey},
		{"RSA 16384", edit(t, rs, map[string]any{"n": b64([]byte(strings.Repeat("\xff", 2048)))}), acme.BadPublicKey},
		{"RSA with small factors", edit(t, rs, map[string]any{"n": b64(n2048)}), acme.BadPublicKey},
		{"RSA of one prime, squared", edit(t, rs, map[string]any{"n": b64(square(t))}), acme.BadPublicKey},
		{"Ed448", `{"kty":"OKP","crv":"Ed448","x":"` + b64(make([]byte, 57)) + `"}`, acme.BadPublicKey},
		{"X25519", edit(t, okp, map[string]any{"crv": "X25519"}), acme.BadPublicKey},
		{"Ed25519 no crv", edit(t, okp, map[string]any{"crv": nil}), acme.Malformed},
		{"Ed25519 too short", edit(t, okp, map[string]any{"x": b64(make([]byte, 31))}), acme.Malformed},
		{"Ed25519 too long", edit(t, okp, map[string]any{"x": b64(make([]byte, 33))}), acme.Malformed},
		{"Ed25519 of small order", edit(t, okp, map[string]any{"x": b64(make([]byte, 32))}), acme.BadPublicKey},
		{"Ed25519 identity", edit(t, okp, map[string]any{"x": b64(append([]byte{1}, make([]byte, 31)...))}), acme.BadPublicKey},
		{"Ed25519 not canonical", edit(t, okp, map[string]any{"x": b64(append([]byte{0xf0}, []byte(strings.Repeat("\xff", 30)+"\x7f")...))}), acme.BadPublicKey},
	}
	for _, c := range cases {
		k, err := acme.ParseKey([]byte(c.jwk))
		p := acme.AsProblem(err)
		switch {
		case err == nil:
			t.Errorf("%s: taken as %s", c.name, k.JWK())
		case p == nil:
			t.Errorf("%s: %v is no problem for a client", c.name, err)
		case p.Kind != c.kind:
			t.Errorf("%s: %v, want %v", c.name, p, c.kind)
		case !k.IsZero():
			t.Errorf("%s: refused and returned", c.name)
		}
	}
}

// square is a number of 2048 bits that is a prime's square.
func square(t *testing.T) []byte {
	t.Helper()
	for {
		p, err := rand.Prime(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		if n := new(big.Int).Mul(p, p); n.BitLen() == 2048 {
			return n.Bytes()
		}
	}
}

// FuzzKey: a key that is taken has one text, reads back as itself, and is the
// same key to go-jose.
func FuzzKey(f *testing.F) {
	f.Add([]byte(rfc7638Key))
	f.Add([]byte(rfc8037Key))
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		f.Add([]byte(joseJWK(f, ecKey(f, curve))))
	}
	f.Add([]byte(`{"kty":"oct","k":"AA"}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := acme.ParseKey(text)
		if err != nil {
			if acme.AsProblem(err) == nil {
				t.Fatalf("%v is no problem for a client", err)
			}
			return
		}
		again, err := acme.ParseKey([]byte(k.JWK()))
		if err != nil || again.JWK() != k.JWK() || again.SPKI() != k.SPKI() {
			t.Fatalf("%s does not read back: %v", k.JWK(), err)
		}
		var other jose.JSONWebKey
		if err := other.UnmarshalJSON([]byte(k.JWK())); err != nil {
			t.Fatalf("go-jose does not read %s: %v", k.JWK(), err)
		}
		if !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(other.Key) {
			t.Fatalf("%s is another key to go-jose", k.JWK())
		}
	})
}
