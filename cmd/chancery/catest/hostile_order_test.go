package catest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// badNames are dns identifiers by what must be said of them.
var badNames = map[string]map[int][]string{
	"malformed": {
		114: {
			"", " ", "a b.example", "a.example ", " a.example", "a\x00.example", "a_b.example", "_a.example", "a/b.example", "https://a.example", "a.example:443", "a.example/", "a@b.example", "😀.example", "a．example", "a。example", "a\u200d.example", "a\u200b.example", "a\u00ad.example",
			"a\n.example", "a.example\r\n", "a\t.example", "a,b.example", "a;b.example", "a'b.example", `a"b.example`, `a\b.example`, "a%00.example", "a%2eexample", "(a).example", "[a].example", "{a}.example", "a&b.example", "a=b.example", "a+b.example", "a~b.example", "a!b.example", "$a.example", "a#b.example", "a|b.example",
			"<a>.example", "a^b.example", "`a`.example", "a\x7f.example", "a\x1b.example", "a\u202e.example", "\u212a.example", "a.exampl\u0435",
		},
		115: {"münchen.example", "MÜNCHEN.example", "例え.example", "b\u00fccher.example", "ß.example", "ı.example", "пример.example"},
		116: {
			"xn--.example", "xn--a.example", "xn---.example", "xn--example-.example", "xn--99999999.example", "xn--0.example", "xn--zzzzzzzzzzzzzzzzzz.example", "xn--a-ecp.ru", "xn--ab-.example", "xn--Mnchen-3ya-.example", "xn--u-ccb.example", "xn--ls8h=.example", "xn--\u00fc.example", "xn--xn---epa.example", "xn--1ug.example", "xn--" + strings.Repeat("a", 59) + ".example",
		},
		118: {
			"a.example.", ".a.example", "a..example", ".", "..", "a.example..", strings.Repeat("a.", 124) + "example", strings.Repeat("a", 64) + ".example", strings.Repeat("a", 254), strings.Repeat("a.", 5000) + "example", "-a.example", "a-.example", "a.-b.example", "a.b-.example", "-", "--", "a.-", strings.Repeat("a", 10000),
		},
		120: {"*.*.example", "a.*.example", "*a.example", "a*.example", "*", "*.", "**.example", "*.a.*.example", ".*.example", "*.*", "*..example", "*.a.example.", "*..", "* .example", "*.-a.example", "\u2217.example", "%2a.example"},
		123: {"127.0.0.1", "1.2.3.4", "1.2.3", "1.2", "1", "2130706433", "a.1", "0x7f.1", "::1", "[::1]", "fe80::1%lo", "1.2.3.4.5", "a.example.0", "256.256.256.256"},
	},
	"rejectedIdentifier": {
		117: {"ab--cd.example", "a.bc--.example"[:0] + "ab--c.example", "zz--zz.example", "AB--cd.example", "12--34.example", "xx--a.b.example", "*.ab--cd.example"},
	},
}

// badAddresses are ip identifiers that are not in their one form.
var badAddresses = map[int][]string{
	123: {"", " ", "0x7f.1", "0x7f000001", "2130706433", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.01", "127.0.0.1 ", " 127.0.0.1", "127.0.0.1:80", "127.0.0.1/32", "127.0.0.256", "127.0.0", "1.2.3.4.5", "a.example", "localhost", "*", "*.1.1.1", "127.0.0.1\x00", "１27.0.0.1", "-1.0.0.0", "1.2.3.+4", "1..2.3"},
	125: {"::FFFF", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:0db8::1", "2001:db8::0:1", "::0", "0:0:0:0:0:0:0:1", "[::1]", "::1%lo", "fe80::1%25eth0", "::ffff:10.0.0.1", "::ffff:a00:1", "::ffff:127.0.0.1", ":::", "1::2::3", "2001:db8::1/64", "12345::", "::g", "1:2:3:4:5:6:7:8:9", "2001:db8::192.0.2.1", "1:2:3:4:5:6:7"},
}

// orders is rows 110 to 132.
func (h *hostile) orders() {
	h.identifiers()
	h.orderShapes()
	h.validities()
	h.policies()
	h.manyOrders()
}

func (h *hostile) identifiers() {
	one := func(row int, kind, value string, problem string) {
		id := map[string]any{"type": kind, "value": value}
		h.posted(row, fmt.Sprintf("%s %.40q", kind, value), request{by: h.account, url: "/acme/new-order", payload: jsonOf(map[string]any{"identifiers": []any{id}})}, 400, problem)
		h.posted(row, fmt.Sprintf("pre-authorization %s %.40q", kind, value), request{by: h.account, url: "/acme/new-authz", payload: jsonOf(map[string]any{"identifier": id})}, 400, problem)
	}
	kinds := []string{"malformed", "rejectedIdentifier"}
	for _, problem := range kinds {
		for row := 110; row < 133; row++ {
			for _, name := range badNames[problem][row] {
				if strings.Contains(name, "\x00") {
					continue // U+0000 ends it sooner, row 81
				}
				one(row, "dns", name, problem)
			}
		}
	}
	for _, row := range []int{123, 125} {
		for _, address := range badAddresses[row] {
			if strings.Contains(address, "\x00") {
				continue
			}
			one(row, "ip", address, "malformed")
		}
	}
	for _, kind := range []string{"email", "", "DNS", "Dns", "dns ", "IP", "ip6", "permanent-identifier", "TNAuthList", "uri", "\u0501ns", strings.Repeat("d", 5000), "dns,ip", "*"} {
		one(113, kind, "a.example", "unsupportedIdentifier")
	}
	for _, kind := range []string{"ip", "dns"} {
		h.posted(113, kind+" as a number", request{by: h.account, url: "/acme/new-order", payload: `{"identifiers":[{"type":"` + kind + `","value":2130706433}]}`}, 400, "malformed")
	}
}

func (h *hostile) orderShapes() {
	post := func(row int, what, payload string, status int, kind string) {
		h.posted(row, what, request{by: h.account, url: "/acme/new-order", payload: payload}, status, kind)
	}
	for _, payload := range []string{"{}", `{"identifiers":[]}`, `{"identifiers":null}`, `{"identifiers":{}}`, `{"identifiers":[{}]}`, `{"identifiers":[[]]}`, `{"identifiers":[{"type":"dns"}]}`, `{"identifiers":[{"value":"a.example"}]}`} {
		post(110, payload, payload, 400, "malformed")
	}
	many := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("n%d.example", i))
		}
		return dnsOrder(names...)
	}
	post(111, "100 names", many(100), 201, "")
	post(111, "101 names", many(101), 400, "malformed")
	post(111, "500 names", many(500), 400, "malformed")
	post(111, "100,000 names", `{"identifiers":[`+strings.Repeat(`{},`, 99999)+`{}]}`, 413, "malformed")
	for what, names := range map[string][]string{"twice": {"dup.example", "dup.example"}, "in upper case": {"dup.example", "DUP.example"}, "fifty times": strings.Split(strings.Repeat("dup.example,", 49)+"dup.example", ",")} {
		h.is(112, what, func(t *testing.T) {
			h.with(t, func() {
				a := h.order(h.account, names...)
				ids, _ := a.object["identifiers"].([]any)
				if len(ids) != 1 || len(a.list("authorizations")) != 1 {
					t.Errorf("%d identifiers: %s", len(ids), a.body)
				}
			})
		})
	}
	h.is(121, "a wildcard and a name that it covers", func(t *testing.T) {
		h.with(t, func() {
			a := h.order(h.account, "*.cover.example", "a.cover.example", "cover.example")
			if len(a.list("authorizations")) != 3 {
				t.Errorf("%s", a.body)
			}
		})
	})
	h.posted(120, "a wildcard in advance", request{by: h.account, url: "/acme/new-authz", payload: `{"identifier":{"type":"dns","value":"*.adv.example"}}`}, 400, "malformed")
	h.is(110, "each bad name is named", func(t *testing.T) {
		h.with(t, func() {
			a := h.post(request{by: h.account, url: "/acme/new-order", payload: `{"identifiers":[{"type":"dns","value":"good.example"},{"type":"dns","value":"-"},{"type":"email","value":"a@b.example"},{"type":"ip","value":"1.2.3"}]}`})
			a.want(t, 400, "compound")
			if subs, _ := a.object["subproblems"].([]any); len(subs) != 3 {
				t.Errorf("%s", a.body)
			}
		})
	})
}

func (h *hostile) validities() {
	day := 24 * time.Hour
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	post := func(row int, before, after, problem string) {
		in := map[string]any{"identifiers": []any{map[string]string{"type": "dns", "value": "when.example"}}}
		if before != "" {
			in["notBefore"] = before
		}
		if after != "" {
			in["notAfter"] = after
		}
		h.posted(row, fmt.Sprintf("%.40q to %.40q", before, after), request{by: h.account, url: "/acme/new-order", payload: jsonOf(in)}, 400, problem)
	}
	for _, text := range []string{
		"0", "now", "2026-11-22", "2026-11-22T10:00:00", "2026-11-22 10:00:00Z", "2026-11-22T10:00Z", "22 Nov 2026", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22T23:59:60Z", "2026-11-22T23:60:00Z", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z",
		"1795341600", "2026-W47-7", "2026-326", "2026-11-22T10:00:00+25:00", "2026-11-22T10:00:00Z ", " 2026-11-22T10:00:00Z", "٢٠٢٦-11-22T10:00:00Z", "20261122T100000Z", strings.Repeat("2026", 1000),
	} {
		post(126, text, "", "malformed")
		post(126, "", text, "malformed")
	}
	for _, w := range [][2]time.Duration{{day, -day}, {2 * day, day}, {-400 * day, 0}, {-10 * day, 0}, {day, day}} {
		post(126, at(w[0]), at(w[1]), "malformed")
	}
	for _, text := range []string{"0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1950-01-01T00:00:00Z"} {
		post(126, "", text, "malformed")
		post(126, text, "", "malformed")
	}
	for _, text := range []string{"9999-12-31T23:59:59Z", "2050-01-01T00:00:00Z", at(20 * 365 * day), at(3650 * day), at(1000 * day)} {
		post(127, "", text, "malformed")
		post(127, text, "", "malformed")
	}
}

func (h *hostile) policies() {
	for _, name := range []string{"none", "SERVER", "server ", "../server", "'", "default", strings.Repeat("p", 5000), "\u202e"} {
		h.posted(129, fmt.Sprintf("%.20q", name), request{by: h.account, url: "/acme/new-order", payload: `{"profile":` + jsonOf(name) + `,` + dnsOrder("profile.example")[1:]}, 400, "invalidProfile")
	}
	leaf := h.cert.Leaf
	aki, serial := b64(leaf.AuthorityKeyId), b64(leaf.SerialNumber.Bytes())
	for what, id := range map[string]string{
		"nonsense": "x", "a dot": ".", "two dots": aki + "." + serial + ".x", "no serial": aki + ".", "no issuer": "." + serial, "unknown serial": aki + "." + b64(make([]byte, 16)), "unknown issuer": b64(make([]byte, 20)) + "." + serial,
		"padding": aki + "=." + serial, "the serial only": serial, "a URL": h.urls.certificate, "of 5,000": strings.Repeat("A", 5000), "a longer serial": aki + "." + b64(append([]byte{0}, leaf.SerialNumber.Bytes()...)) + "A",
	} {
		h.posted(128, what, request{by: h.account, url: "/acme/new-order", payload: `{"replaces":` + jsonOf(id) + `,` + dnsOrder("hostile.example")[1:]}, 400, "malformed")
		h.is(128, "renewal information: "+what, func(t *testing.T) {
			h.with(t, func() {
				a := h.plain("GET", "/acme/renewal-info/"+url.PathEscape(id), nil)
				if a.problem != "malformed" || a.status != 400 && a.status != 404 {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		})
	}
	h.posted(128, "another account's", request{by: h.account, url: "/acme/new-order", payload: `{"replaces":"` + aki + "." + serial + `",` + dnsOrder("hostile.example")[1:]}, 403, "unauthorized")
	h.is(128, "already replaced", func(t *testing.T) {
		u := h.owner.Obtain("replaced.example")
		h.with(t, func() {
			h.owner.Replace(u)
			if _, err := h.owner.TryReplace(u); err != nil || !strings.Contains(h.c.Log(), "alreadyReplaced") {
				t.Errorf("replacing twice: %v, want alreadyReplaced", err)
			}
		})
	})
}

// manyOrders: the same names at once, all are orders of their own.
func (h *hostile) manyOrders() {
	h.is(132, "60 orders for the same names at once", func(t *testing.T) {
		h.with(t, func() {
			const times = 60
			seen := map[string]bool{}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range times {
				body := h.text(request{by: h.account, url: "/acme/new-order", payload: dnsOrder("a.many.example", "b.many.example")})
				wg.Go(func() {
					a := h.postBody(h.base+"/acme/new-order", body, nil)
					mu.Lock()
					defer mu.Unlock()
					a.want(t, 201, "")
					seen[a.location] = true
				})
			}
			wg.Wait()
			if len(seen) != times {
				t.Errorf("%d different orders, want %d", len(seen), times)
			}
		})
	})
}

// requests is rows 133 to 150.
func (h *hostile) requests() {
	h.states()
	ready := h.readyOrder(h.account, "csr.example", "www.csr.example")
	finalize := ready.text("finalize")
	bad := func(row int, what string, der []byte) {
		h.is(row, what, func(t *testing.T) {
			h.with(t, func() {
				h.post(request{by: h.account, url: finalize, payload: csrPayload(der)}).want(t, 400, "badCSR")
				if a := h.post(request{by: h.account, url: ready.location}); a.text("status") != "ready" {
					t.Errorf("the order is %s after a bad CSR", a.text("status"))
				}
			})
		})
	}
	names := []string{"csr.example", "www.csr.example"}
	key := ecKey(h.t, elliptic.P256())
	good := newCSR(h.t, key, names...)
	for what, text := range map[string]string{
		"PEM": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good})), "standard base64": base64.StdEncoding.EncodeToString(append(good, 0xff, 0xff)),
		"a URL": "https://evil.example/csr", "spaces": "    ",
	} {
		h.posted(134, what, request{by: h.account, url: finalize, payload: jsonOf(map[string]string{"csr": text})}, 400, "malformed")
	}
	h.badForms(bad, good)
	h.badExtensions(bad, key, names)
	h.badNamesInCSR(bad, key, names)
	h.badKeysInCSR(bad, names)
	h.endings(ready, key, names)
}

func (h *hostile) states() {
	csr := csrPayload(newCSR(h.t, ecKey(h.t, elliptic.P256()), "fixture.example"))
	h.posted(133, "pending", request{by: h.account, url: h.urls.finalize, payload: csr}, 403, "orderNotReady")
	h.is(133, "invalid", func(t *testing.T) {
		h.with(t, func() {
			o := h.order(h.account, "refuses.example")
			z := h.post(request{by: h.account, url: o.list("authorizations")[0]})
			if c := h.settle(h.account, z.challenge("http-01").URL); c.Status != "invalid" {
				t.Fatalf("the challenge is %s", c.Status)
			}
			h.post(request{by: h.account, url: o.text("finalize"), payload: csr}).want(t, 403, "orderNotReady")
			// RFC 8555 section 7.1.6: there is no way back.
			h.post(request{by: h.account, url: z.challenge("http-01").URL, payload: "{}"}).want(t, 200, "")
			if a := h.post(request{by: h.account, url: o.location}); a.text("status") != "invalid" {
				t.Errorf("the order is %s", a.body)
			}
		})
	})
	h.is(133, "valid", func(t *testing.T) {
		h.with(t, func() {
			o := h.readyOrder(h.account, "have.example")
			payload := csrPayload(newCSR(t, ecKey(t, elliptic.P256()), "have.example"))
			h.post(request{by: h.account, url: o.text("finalize"), payload: payload}).want(t, 200, "")
			h.post(request{by: h.account, url: o.text("finalize"), payload: payload}).want(t, 403, "orderNotReady")
		})
	})
	for _, payload := range []string{csr, csrPayload(nil), csrPayload([]byte("x"))} {
		h.posted(148, "another account's: "+payload[:min(len(payload), 20)], request{by: h.other, url: h.urls.ready + "/finalize", payload: payload}, 404, "malformed")
	}
	h.is(149, "an authorization given up in between", func(t *testing.T) {
		h.with(t, func() {
			o := h.readyOrder(h.account, "given-up.example")
			h.post(request{by: h.account, url: o.list("authorizations")[0], payload: `{"status":"deactivated"}`}).want(t, 200, "")
			h.post(request{by: h.account, url: o.text("finalize"), payload: csrPayload(newCSR(t, ecKey(t, elliptic.P256()), "given-up.example"))}).want(t, 403, "orderNotReady")
			if a := h.post(request{by: h.account, url: o.location}); a.text("certificate") != "" || a.text("status") == "ready" {
				t.Errorf("the order is %s", a.body)
			}
		})
	})
}

func (h *hostile) badForms(bad func(int, string, []byte), good []byte) {
	nested := func(n int) []byte {
		var out []byte
		for range n {
			out = append(out, 0x30, 0x80)
		}
		return out
	}
	deep := []byte{}
	for len(deep) < 30000 {
		header := []byte{0x30, 0x82, byte(len(deep) >> 8), byte(len(deep))}
		deep = append(header, deep...)
		if len(deep) > 20000 {
			break
		}
	}
	for what, der := range map[string][]byte{
		"empty": {}, "one octet": {0x30}, "a zero": {0}, "trailing octets": append(append([]byte{}, good...), 0), "trailing CSR": append(append([]byte{}, good...), good...), "cut": good[:len(good)-1], "half": good[:len(good)/2],
		"indefinite length": append(append([]byte{0x30, 0x80}, good[4:]...), 0, 0), "a length of 2^32": {0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, "a certificate": h.cert.Leaf.Raw, "a SET for the SEQUENCE": append([]byte{0x31}, good[1:]...), "PEM in DER": []byte("-----BEGIN CERTIFICATE REQUEST-----"), "nested, indefinite": nested(10000), "only zeros": make([]byte, 1000), "JSON": []byte(`{"csr":""}`),
	} {
		bad(134, what, der)
	}
	bad(135, "nested 5,000 deep", deep)
	bad(135, "an OID of 30,000 octets", append([]byte{0x06, 0x82, 0x75, 0x30}, []byte(strings.Repeat("\xff", 30000))...))
	h.posted(135, "64 KiB", request{by: h.account, url: h.urls.ready + "/finalize", payload: csrPayload(make([]byte, 64<<10))}, 413, "malformed")
	key := ecKey(h.t, elliptic.P256())
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("n%d.csr.example", i))
	}
	bad(135, "1,000 names", newCSR(h.t, key, many...))
	bad(135, "101 names", newCSR(h.t, key, many[:101]...))
	for i := 0; i < len(good); i += 16 {
		flipped := append([]byte{}, good...)
		flipped[i] ^= 0x40
		bad(136, fmt.Sprintf("octet %d changed", i), flipped)
	}
}

// request makes a CSR of parts that crypto/x509 would not put together.
func handmade(t testing.TB, key crypto.Signer, subject []byte, attributes ...[]byte) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if subject == nil {
		subject = []byte{0x30, 0}
	}
	return handmadeOf(t, key, spki, subject, attributes...)
}

func element(tag byte, parts ...[]byte) []byte {
	var content []byte
	for _, p := range parts {
		content = append(content, p...)
	}
	out, err := asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: tag&0x20 != 0, Bytes: content})
	if err != nil {
		panic(err)
	}
	return out
}

func handmadeOf(t testing.TB, key crypto.Signer, spki, subject []byte, attributes ...[]byte) []byte {
	t.Helper()
	info := element(0x30, []byte{2, 1, 0}, subject, spki, element(0xa0, attributes...))
	digest := sha256.Sum256(info)
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	algorithm := element(0x30, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}) // ecdsa-with-SHA256
	return element(0x30, info, algorithm, element(0x03, []byte{0}, sig))
}

// extensionRequest is the attribute that holds extensions (RFC 2985 section 5.4.2).
func extensionRequest(extensions ...[]byte) []byte {
	return element(0x30, []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e}, element(0x31, element(0x30, extensions...)))
}

func extension(oid asn1.ObjectIdentifier, value []byte) []byte {
	id, err := asn1.Marshal(oid)
	if err != nil {
		panic(err)
	}
	return element(0x30, id, element(0x04, value))
}

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

func altNames(names ...string) []byte {
	var parts [][]byte
	for _, n := range names {
		parts = append(parts, element(0x82, []byte(n)))
	}
	return extension(oidSAN, element(0x30, parts...))
}

func (h *hostile) badExtensions(bad func(int, string, []byte), key crypto.Signer, names []string) {
	san := altNames(names...)
	yes := []byte{1, 1, 0xff}
	for what, ext := range map[string][]byte{
		"CA:TRUE": extension(asn1.ObjectIdentifier{2, 5, 29, 19}, element(0x30, yes)), "CA:TRUE with a path length": extension(asn1.ObjectIdentifier{2, 5, 29, 19}, element(0x30, yes, []byte{2, 1, 3})),
		"keyCertSign": extension(asn1.ObjectIdentifier{2, 5, 29, 15}, []byte{3, 2, 2, 4}), "cRLSign": extension(asn1.ObjectIdentifier{2, 5, 29, 15}, []byte{3, 2, 1, 2}), "all key usages": extension(asn1.ObjectIdentifier{2, 5, 29, 15}, []byte{3, 3, 7, 0xff, 0x80}),
		"anyExtendedKeyUsage": extension(asn1.ObjectIdentifier{2, 5, 29, 37}, element(0x30, []byte{6, 4, 0x55, 0x1d, 0x25, 0})), "OCSPSigning": extension(asn1.ObjectIdentifier{2, 5, 29, 37}, element(0x30, []byte{6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 9})),
		"nameConstraints": extension(asn1.ObjectIdentifier{2, 5, 29, 30}, element(0x30)), "basicConstraints that are not DER": extension(asn1.ObjectIdentifier{2, 5, 29, 19}, []byte{0x30, 9}), "keyUsage that is not DER": extension(asn1.ObjectIdentifier{2, 5, 29, 15}, []byte{4, 0}), "extKeyUsage that is not DER": extension(asn1.ObjectIdentifier{2, 5, 29, 37}, []byte{1}),
	} {
		bad(140, what, handmade(h.t, key, nil, extensionRequest(san, ext)))
	}
	bad(141, "two subjectAltNames", handmade(h.t, key, nil, extensionRequest(san, san)))
	bad(141, "two others of one kind", handmade(h.t, key, nil, extensionRequest(san, extension(asn1.ObjectIdentifier{1, 2, 3}, nil), extension(asn1.ObjectIdentifier{1, 2, 3}, nil))))
	bad(141, "two extensionRequests", handmade(h.t, key, nil, extensionRequest(san), extensionRequest(san)))
	bad(141, "an empty extensionRequest before", handmade(h.t, key, nil, extensionRequest(), extensionRequest(san)))
	var forty [][]byte
	for i := range 40 {
		forty = append(forty, extension(asn1.ObjectIdentifier{1, 2, 3, i}, nil))
	}
	bad(141, "40 extensions", handmade(h.t, key, nil, extensionRequest(append(forty, san)...)))
	other := map[string][]byte{
		"otherName": element(0xa0, []byte{6, 2, 0x2a, 3}, element(0xa0, element(0x0c, []byte("x")))), "rfc822Name": element(0x81, []byte("a@csr.example")), "URI": element(0x86, []byte("https://csr.example/")), "directoryName": element(0xa4, []byte{0x30, 0}),
		"registeredID": element(0x88, []byte{0x2a, 3}), "x400Address": element(0xa3, nil), "ediPartyName": element(0xa5, nil), "an unknown type": element(0x89, []byte("x")), "an iPAddress of 5 octets": element(0x87, []byte{1, 2, 3, 4, 5}), "an iPAddress of none": element(0x87, nil), "an iPAddress with a mask": element(0x87, make([]byte, 8)), "a mapped iPAddress": element(0x87, net.ParseIP("10.0.0.1").To16()),
		"an empty dNSName": element(0x82, nil), "NUL in a dNSName": element(0x82, []byte("csr.example\x00.evil.example")), "a space in a dNSName": element(0x82, []byte(" csr.example")), "UTF-8 in a dNSName": element(0x82, []byte("ü.example")), "a dot behind": element(0x82, []byte("csr.example.")), "a wildcard within": element(0x82, []byte("a.*.csr.example")), "a line end": element(0x82, []byte("csr.example\n")), "a dNSName of 300": element(0x82, []byte(strings.Repeat("a", 300))), "a constructed dNSName": element(0xa2, []byte("csr.example")),
	}
	for what, name := range other {
		bad(139, what, handmade(h.t, key, nil, extensionRequest(extension(oidSAN, element(0x30, element(0x82, []byte(names[0])), element(0x82, []byte(names[1])), name)))))
	}
	bad(139, "no names in the SAN", handmade(h.t, key, nil, extensionRequest(extension(oidSAN, element(0x30)))))
	bad(139, "trailing octets in the SAN", handmade(h.t, key, nil, extensionRequest(extension(oidSAN, append(element(0x30, element(0x82, []byte(names[0])), element(0x82, []byte(names[1]))), 0)))))
	bad(139, "no SAN and no CN", handmade(h.t, key, nil))
}

func (h *hostile) badNamesInCSR(bad func(int, string, []byte), key crypto.Signer, names []string) {
	for _, set := range [][]string{
		{"csr.example"}, {"www.csr.example"}, {"csr.example", "www.csr.example", "more.csr.example"}, {"csr.example", "other.example"}, {"*.csr.example", "csr.example"}, {"evil.example"}, {"127.0.0.1"}, {"csr.example", "www.csr.example", "127.0.0.1"}, {"example"}, {"csr.example.evil.example", "www.csr.example"},
	} {
		bad(137, strings.Join(set, ","), newCSR(h.t, key, set...))
	}
	cn := func(cns ...string) []byte {
		var rdns [][]byte
		for _, c := range cns {
			rdns = append(rdns, element(0x31, element(0x30, []byte{6, 3, 0x55, 4, 3}, element(0x0c, []byte(c)))))
		}
		return element(0x30, rdns...)
	}
	for _, c := range []string{"evil.example", "more.csr.example", "127.0.0.1", "CSR example", strings.Repeat("a", 65), strings.Repeat("a", 5000), "*.csr.example", "csr.example\x00", "csr.example.", "<script>", "\x1b[31m"} {
		bad(138, fmt.Sprintf("CN %.30q", c), handmade(h.t, key, cn(c), extensionRequest(altNames(names...))))
	}
	bad(138, "two CNs", handmade(h.t, key, cn("csr.example", "www.csr.example"), extensionRequest(altNames(names...))))
	bad(138, "one CN twice", handmade(h.t, key, cn("csr.example", "csr.example"), extensionRequest(altNames(names...))))
	bad(138, "a CN that is no string", handmade(h.t, key, element(0x30, element(0x31, element(0x30, []byte{6, 3, 0x55, 4, 3}, []byte{2, 1, 1}))), extensionRequest(altNames(names...))))
	bad(138, "a CN for one of two names, no SAN", handmade(h.t, key, cn("csr.example")))
}

func (h *hostile) badKeysInCSR(bad func(int, string, []byte), names []string) {
	account, ok := h.account.key.(*ecdsa.PrivateKey)
	other, also := h.other.key.(*ecdsa.PrivateKey)
	if !ok || !also {
		h.t.Fatal("no ECDSA keys")
	}
	bad(143, "this account's", newCSR(h.t, account, names...))
	bad(143, "another account's", newCSR(h.t, other, names...))
	signer := ecKey(h.t, elliptic.P256())
	issuer, err := h.c.Issuer(h.cert.Leaf)
	if err != nil {
		h.t.Fatal(err)
	}
	bad(144, "the issuer's", handmadeOf(h.t, signer, issuer.RawSubjectPublicKeyInfo, []byte{0x30, 0}, extensionRequest(altNames(names...))))
	for what, k := range weakRSA(h.t) {
		spki, err := x509.MarshalPKIXPublicKey(rsaPublic(k[0], k[1]))
		if err != nil {
			continue
		}
		bad(145, "RSA "+what, handmadeOf(h.t, signer, spki, []byte{0x30, 0}, extensionRequest(altNames(names...))))
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	p224 := ecKey(h.t, elliptic.P224())
	p224SPKI, err := x509.MarshalPKIXPublicKey(p224.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	offCurve := append([]byte{}, spki...)
	offCurve[len(offCurve)-1] ^= 1
	compressed := elliptic.MarshalCompressed(elliptic.P256(), signer.X, signer.Y) //nolint:staticcheck // there is no other way to write one
	ecAlgorithm := element(0x30, []byte{6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}, []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7})
	explicit := element(0x30, []byte{6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}, element(0x30, []byte{2, 1, 1}, element(0x30, []byte{6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 1, 1}, element(0x02, elliptic.P256().Params().P.Bytes()))))
	point := spki[len(spki)-65:]
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	for what, spki := range map[string][]byte{
		"P-224": p224SPKI, "a point off the curve": offCurve, "a compressed point": element(0x30, ecAlgorithm, element(0x03, []byte{0}, compressed)), "explicit parameters": element(0x30, explicit, element(0x03, []byte{0}, point)),
		"no parameters": element(0x30, element(0x30, []byte{6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}), element(0x03, []byte{0}, point)), "infinity": element(0x30, ecAlgorithm, []byte{3, 2, 0, 0}), "an empty point": element(0x30, ecAlgorithm, []byte{3, 1, 0}),
		"DSA": element(0x30, element(0x30, []byte{6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1}), []byte{3, 2, 0, 5}), "RSA-PSS": element(0x30, element(0x30, []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10}), []byte{3, 2, 0, 5}), "X25519": element(0x30, element(0x30, []byte{6, 3, 0x2b, 0x65, 0x6e}), element(0x03, []byte{0}, make([]byte, 32))),
		"Ed448": element(0x30, element(0x30, []byte{6, 3, 0x2b, 0x65, 0x71}), element(0x03, []byte{0}, make([]byte, 57))), "Ed25519 of small order": element(0x30, element(0x30, []byte{6, 3, 0x2b, 0x65, 0x70}), element(0x03, []byte{0}, make([]byte, 32))), "nothing": element(0x30), "another key than signed": mustSPKI(ed.Public()),
	} {
		bad(145, what, handmadeOf(h.t, signer, spki, []byte{0x30, 0}, extensionRequest(altNames(names...))))
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // that it is weak is the point
	if err == nil {
		bad(145, "a real RSA key of 1024 bits", newCSR(h.t, short, names...))
	}
	for what, alg := range map[string]x509.SignatureAlgorithm{"SHA-1": x509.ECDSAWithSHA1} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names, SignatureAlgorithm: alg, Subject: pkix.Name{}}, signer)
		if err == nil {
			bad(136, what, der)
		}
	}
}

func mustSPKI(public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	return der
}

// endings: after all bad ones, two good CSRs at once give one certificate, and
// what they asked for beside the names is not in it.
func (h *hostile) endings(ready *answer, key *ecdsa.PrivateKey, names []string) {
	mustStaple := extension(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, []byte{0x30, 3, 2, 1, 5})
	h.is(147, "two at once", func(t *testing.T) {
		h.with(t, func() {
			upper := []string{strings.ToUpper(names[0]), names[1]} // equal but for case
			bodies := []string{
				h.text(request{by: h.account, url: ready.text("finalize"), payload: csrPayload(handmade(t, key, nil, extensionRequest(altNames(upper...), mustStaple)))}),
				h.text(request{by: h.account, url: ready.text("finalize"), payload: csrPayload(newCSR(t, ecKey(t, elliptic.P256()), names...))}),
			}
			got := make([]*answer, len(bodies))
			var wg sync.WaitGroup
			for i, body := range bodies {
				wg.Go(func() { got[i] = h.postBody(ready.text("finalize"), body, nil) })
			}
			wg.Wait()
			won := 0
			for _, a := range got {
				switch {
				case a.status == 200:
					won++
				case a.problem != "orderNotReady" || a.status != 403:
					t.Errorf("the loser was told %d %s", a.status, a.body)
				}
			}
			if won != 1 {
				t.Errorf("%d finalizes won", won)
			}
		})
	})
	h.is(142, "must-staple is not the client's to choose", func(t *testing.T) {
		h.with(t, func() {
			o := h.readyOrder(h.account, "staple.example")
			a := h.post(request{by: h.account, url: o.text("finalize"), payload: csrPayload(handmade(t, ecKey(t, elliptic.P256()), nil, extensionRequest(altNames("staple.example"), mustStaple)))})
			a.want(t, 200, "")
			chain := h.post(request{by: h.account, url: a.text("certificate")})
			leaf := h.c.WantChain(chain.body, "staple.example")
			for _, e := range leaf.Extensions {
				if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
					t.Error("the certificate has the TLS feature that the CSR asked for")
				}
			}
		})
	})
}
