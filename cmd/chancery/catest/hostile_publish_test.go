package catest_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ocsp"

	"chancery/cmd/chancery/catest"
)

// ask sends an OCSP request by POST.
func (h *hostile) ask(der []byte, contentType string) *answer {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodPost, h.c.PublishURL+"/ocsp", bytes.NewReader(der))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return h.do(r)
}

const ocspType = "application/ocsp-request"

// status is row 202. Responses are named by their status: what is wrong in
// OCSP is said in OCSP, with HTTP 200.
func (h *hostile) status() {
	issuer, err := h.c.Issuer(h.cert.Leaf)
	if err != nil {
		h.t.Fatal(err)
	}
	good, err := ocsp.CreateRequest(h.cert.Leaf, issuer, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.badRequests(good)
	h.serials(issuer)
	h.nonceSizes(issuer)
	h.ocspOverHTTP(good)
}

var (
	ocspMalformed    = ocsp.MalformedRequestErrorResponse
	ocspUnauthorized = ocsp.UnauthorizedErrorResponse
)

func (h *hostile) asked(what string, der, want []byte) {
	h.t.Helper()
	h.is(202, what, func(t *testing.T) {
		h.with(t, func() {
			a := h.ask(der, ocspType)
			if a.status != 200 || !bytes.Equal(a.body, want) {
				t.Errorf("%d %x, want 200 %x", a.status, a.body[:min(len(a.body), 20)], want)
			}
		})
	})
}

// withExtensions is a request, made by ocsp.CreateRequest, with requestExtensions.
func withExtensions(request []byte, extensions ...[]byte) []byte {
	return element(0x30, element(0x30, element(0x30, request[6:]), element(0xa2, element(0x30, extensions...))))
}

func (h *hostile) badRequests(good []byte) {
	change := func(f func(b []byte) []byte) []byte { return f(append([]byte{}, good...)) }
	for what, der := range map[string][]byte{
		"empty": {}, "one octet": {0x30}, "an empty SEQUENCE": {0x30, 0}, "no request": element(0x30, element(0x30, element(0x30))), "text": []byte("good?"), "a certificate": h.cert.Leaf.Raw, "octets behind": append(append([]byte{}, good...), 0), "twice": append(append([]byte{}, good...), good...), "cut": good[:len(good)-1],
		"indefinite length": append(append([]byte{0x30, 0x80}, good[2:]...), 0, 0), "a long length": append([]byte{0x30, 0x81, good[1]}, good[2:]...), "a SET": change(func(b []byte) []byte { b[0] = 0x31; return b }), "nested": bytes.Repeat([]byte{0x30, 0x80}, 2000), "zeros": make([]byte, 500),
		"two requests": element(0x30, element(0x30, element(0x30, good[6:], good[6:]))), "100 requests": element(0x30, element(0x30, element(0x30, bytes.Repeat(good[6:], 30)))), "version 2": element(0x30, element(0x30, element(0xa0, []byte{2, 1, 1}), element(0x30, good[6:]))), "a version that is none": element(0x30, element(0x30, element(0xa0, []byte{4, 0}), element(0x30, good[6:]))),
		"a critical extension":        withExtensions(good, element(0x30, []byte{6, 2, 0x2a, 3}, []byte{1, 1, 0xff}, []byte{4, 0})),
		"an extension twice":          withExtensions(good, element(0x30, []byte{6, 2, 0x2a, 3}, []byte{4, 0}), element(0x30, []byte{6, 2, 0x2a, 3}, []byte{4, 0})),
		"no extensions in extensions": withExtensions(good),
	} {
		h.asked(what, der, ocspMalformed)
	}
	for i := 2; i < len(good)-40; i += 3 {
		h.is(202, fmt.Sprintf("octet %d changed", i), func(t *testing.T) {
			h.with(t, func() {
				a := h.ask(change(func(b []byte) []byte { b[i] ^= 0x55; return b }), ocspType)
				// It asks for something else, or is none: never good.
				if a.status != 200 || !bytes.Equal(a.body, ocspMalformed) && !bytes.Equal(a.body, ocspUnauthorized) {
					t.Errorf("%d %x", a.status, a.body[:min(len(a.body), 20)])
				}
			})
		})
	}
}

// serials that were never given out are never good (BR 4.9.10).
func (h *hostile) serials(issuer *x509.Certificate) {
	own := h.cert.Leaf.SerialNumber
	for what, n := range map[string]*big.Int{
		"0": big.NewInt(0), "1": big.NewInt(1), "-1": big.NewInt(-1), "the negative": new(big.Int).Neg(own), "+1": new(big.Int).Add(own, big.NewInt(1)), "-1 of ours": new(big.Int).Sub(own, big.NewInt(1)), "shifted": new(big.Int).Lsh(own, 8), "cut": new(big.Int).Rsh(own, 8), "of 160 bits": new(big.Int).Lsh(big.NewInt(1), 159), "of 200 octets": new(big.Int).Lsh(big.NewInt(1), 1600), "the issuer's": issuer.SerialNumber,
	} {
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
			h.is(202, fmt.Sprintf("serial %s by %s", what, hash), func(t *testing.T) {
				der, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: n}, issuer, &ocsp.RequestOptions{Hash: hash})
				if err != nil {
					t.Fatal(err)
				}
				h.with(t, func() {
					a := h.ask(der, ocspType)
					if r, err := ocsp.ParseResponse(a.body, issuer); err == nil && r.Status == ocsp.Good {
						t.Error("good")
					} else if a.status != 200 {
						t.Errorf("%d %s", a.status, a.body)
					}
				})
			})
		}
	}
	root, err := h.c.Issuer(issuer)
	if err != nil {
		h.t.Fatal(err)
	}
	for what, foreign := range map[string]*x509.Certificate{"the root": root, "itself": h.cert.Leaf} {
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			der, err := ocsp.CreateRequest(h.cert.Leaf, foreign, &ocsp.RequestOptions{Hash: hash})
			if err != nil {
				h.t.Fatal(err)
			}
			h.asked(fmt.Sprintf("issuer %s by %s", what, hash), der, ocspUnauthorized)
		}
	}
	for _, hash := range []crypto.Hash{crypto.SHA384, crypto.SHA512} {
		der, err := ocsp.CreateRequest(h.cert.Leaf, issuer, &ocsp.RequestOptions{Hash: hash})
		if err != nil {
			h.t.Fatal(err)
		}
		h.asked("CertID by "+hash.String(), der, ocspUnauthorized)
	}
}

// nonceSizes: RFC 9654 section 2.1.
func (h *hostile) nonceSizes(issuer *x509.Certificate) {
	plain, err := ocsp.CreateRequest(h.cert.Leaf, issuer, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	oid := []byte{6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2}
	with := func(nonces ...[]byte) []byte {
		var list [][]byte
		for _, n := range nonces {
			list = append(list, element(0x30, oid, element(4, n)))
		}
		return withExtensions(plain, list...)
	}
	for _, size := range []int{0, 129, 256, 1000} {
		h.asked(fmt.Sprintf("nonce of %d", size), with(element(4, make([]byte, size))), ocspMalformed)
	}
	h.asked("two nonces", with(element(4, []byte("a")), element(4, []byte("b"))), ocspMalformed)
	h.asked("a nonce that is no OCTET STRING", with([]byte("nonce")), ocspMalformed)
	h.asked("a nonce with octets behind", with(append(element(4, []byte("a")), 0)), ocspMalformed)
	for _, size := range []int{1, 16, 32, 33, 128} {
		h.is(202, fmt.Sprintf("nonce of %d is echoed", size), func(t *testing.T) {
			nonce := make([]byte, size)
			_, _ = rand.Read(nonce)
			h.with(t, func() {
				a := h.ask(with(element(4, nonce)), ocspType)
				r, err := ocsp.ParseResponse(a.body, issuer)
				if err != nil || r.Status != ocsp.Good || !bytes.Contains(a.body, element(4, nonce)) {
					t.Errorf("%d %v, want good with the nonce", a.status, err)
				}
			})
		})
	}
}

func (h *hostile) ocspOverHTTP(good []byte) {
	text := base64.StdEncoding.EncodeToString(good)
	get := func(what, path string, status int) {
		h.is(202, what, func(t *testing.T) {
			h.with(t, func() {
				a := h.raw(h.c.PublishURL, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				if a == nil || a.status != status {
					t.Errorf("%+v, want %d", a, status)
				}
			})
		})
	}
	get("GET", "/ocsp/"+text, 200)
	get("GET, all escaped", "/ocsp/"+strings.ReplaceAll(url.QueryEscape(text), "+", "%2B"), 200)
	get("GET, lower-case escapes", "/ocsp/"+strings.ToLower("%2F")+text, 200)
	get("GET, no padding", "/ocsp/"+strings.TrimRight(text, "="), 200)
	get("GET, two slashes", "/ocsp//"+text, 200)
	get("GET of nothing", "/ocsp/", 400)
	get("GET of no base64", "/ocsp/!!!!", 400)
	get("GET, a bad escape", "/ocsp/%zz", 400)
	get("GET, a line end", "/ocsp/"+text[:8]+"%0a"+text[8:], 400)
	get("GET, NUL", "/ocsp/%00", 400)
	get("GET of 3 KiB", "/ocsp/"+strings.Repeat("M", 3<<10), 414)
	get("GET, a path beside", "/ocspx/"+text, 404)
	get("GET, upper case", "/OCSP/"+text, 404)
	get("GET, dots", "/ocsp/../ocsp/"+text, 400)
	for _, contentType := range []string{"", "text/plain", "application/json", "application/ocsp-response", "application/x-www-form-urlencoded", "application/ocsp-requestx", ";;"} {
		h.is(202, "POST "+contentType, func(t *testing.T) {
			h.with(t, func() { h.ask(good, contentType).want(t, 415, "") })
		})
	}
	h.is(202, "POST of 5 KiB", func(t *testing.T) {
		h.with(t, func() { h.ask(make([]byte, 5<<10), ocspType).want(t, 413, "") })
	})
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		for _, path := range []string{"/ocsp", "/root.pem"} {
			h.is(202, method+" "+path, func(t *testing.T) {
				h.with(t, func() { h.plain(method, h.c.PublishURL+path, nil).want(t, 405, "") })
			})
		}
	}
	for _, path := range []string{"/", "/crl/", "/crl/x.crl", "/crl/../root.pem", "/crl/%2e%2e/chancery.yaml", "/issuer/", "/issuer/x.der", "/issuer/..%2froot.key", "/chancery.yaml", "/admin.token", "/keys/issuer.pem", "/passphrase", "/chancery.db", "/root.pem/", "//root.pem", "/ROOT.PEM", "/metrics", "/acme/directory"} {
		get("GET "+path, path, 404)
	}
	get("a Range that is none", "/root.pem", 200)
	h.is(202, "If-None-Match", func(t *testing.T) {
		h.with(t, func() {
			a := h.plain("GET", h.c.PublishURL+"/ocsp/"+text, nil)
			b := h.plain("GET", h.c.PublishURL+"/ocsp/"+text, http.Header{"If-None-Match": {a.header.Get("ETag")}})
			if a.status != 200 || b.status != 304 || len(b.body) != 0 {
				t.Errorf("%d, then %d with %d octets", a.status, b.status, len(b.body))
			}
		})
	})
}

// revocations is row 203.
func (h *hostile) revocations() {
	post := func(what string, by *party, payload string, status int, kind string) {
		h.posted(203, what, request{by: by, url: "/acme/revoke-cert", payload: payload}, status, kind)
	}
	of := func(der []byte, more string) string { return `{"certificate":"` + b64(der) + `"` + more + `}` }
	leaf := h.cert.Leaf
	issuer, err := h.c.Issuer(leaf)
	if err != nil {
		h.t.Fatal(err)
	}
	flipped := append([]byte{}, leaf.Raw...)
	flipped[len(flipped)-5] ^= 1
	names := append([]byte{}, leaf.Raw...)
	copy(names[bytes.Index(names, []byte("hostile.example")):], "hostilX")
	foreign := selfSigned(h.t, challengeTemplate("hostile.example"), nil).Certificate[0]
	// What is no certificate of ours, whatever it is, was not issued here.
	for what, c := range map[string]struct {
		der    []byte
		status int
	}{
		"empty": {nil, 404}, "garbage": {[]byte("garbage"), 404}, "zeros": {make([]byte, 1000), 404}, "PEM in base64": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), 404}, "cut": {leaf.Raw[:len(leaf.Raw)-1], 404}, "octets behind": {append(append([]byte{}, leaf.Raw...), 0), 404},
		"a CSR": {newCSR(h.t, ecKey(h.t, elliptic.P256()), "hostile.example"), 404}, "a foreign CA's": {foreign, 404}, "another signature": {flipped, 404}, "another name": {names, 404}, "the issuer's own": {issuer.Raw, 404},
	} {
		post(what, h.account, of(c.der, ""), c.status, "malformed")
	}
	for _, reason := range []string{"2", "6", "7", "8", "10", "11", "-1", "255", "2147483648"} {
		h.is(203, "reason "+reason, func(t *testing.T) {
			h.with(t, func() {
				p := h.account
				der := h.download(p, h.urls.certificate)
				h.post(request{by: p, url: "/acme/revoke-cert", payload: of(der, `,"reason":`+reason)}).want(t, 400, "badRevocationReason")
			})
		})
	}
	for _, reason := range []string{`"1"`, "1.5", "1e0", "true", "[]", "{}", "01"} {
		post("reason "+reason, h.account, of(leaf.Raw, `,"reason":`+reason), 400, "malformed")
	}
	for _, reason := range []string{"0", "1", "3", "4", "5", "9"} {
		post("another account, reason "+reason, h.other, of(leaf.Raw, `,"reason":`+reason), 403, "unauthorized")
		h.posted(203, "a key that is not the certificate's, reason "+reason, request{by: h.other, url: "/acme/revoke-cert", payload: of(leaf.Raw, `,"reason":`+reason), jwk: true}, 403, "unauthorized")
	}
	h.domainProof(of)
	h.racingRevocations(of)
}

// download is the DER of a certificate.
func (h *hostile) download(by *party, u string) []byte {
	h.t.Helper()
	chain, err := catest.ParseChain(h.post(request{by: by, url: u}).body)
	if err != nil {
		h.t.Fatal(err)
	}
	return chain[0].Raw
}

// domainProof: control of all names, of some of them, and keyCompromise (I46).
func (h *hostile) domainProof(of func([]byte, string) string) {
	owner, some, all := h.register(), h.register(), h.register()
	o := h.readyOrder(owner, "one.proof.example", "two.proof.example")
	key := ecKey(h.t, elliptic.P256())
	issued := h.post(request{by: owner, url: o.text("finalize"), payload: csrPayload(newCSR(h.t, key, "one.proof.example", "two.proof.example"))})
	der := h.download(owner, issued.text("certificate"))
	h.readyOrder(some, "one.proof.example")
	h.readyOrder(all, "one.proof.example", "two.proof.example")
	h.posted(203, "control of some names", request{by: some, url: "/acme/revoke-cert", payload: of(der, "")}, 403, "unauthorized")
	h.posted(203, "keyCompromise by control of all names", request{by: all, url: "/acme/revoke-cert", payload: of(der, `,"reason":1`)}, 400, "badRevocationReason")
	h.posted(203, "control of all names", request{by: all, url: "/acme/revoke-cert", payload: of(der, `,"reason":4`)}, 200, "")
	h.posted(203, "again", request{by: all, url: "/acme/revoke-cert", payload: of(der, `,"reason":4`)}, 400, "alreadyRevoked")
	h.posted(203, "again by the owner", request{by: owner, url: "/acme/revoke-cert", payload: of(der, "")}, 400, "alreadyRevoked")
	h.posted(203, "again, another reason", request{by: owner, url: "/acme/revoke-cert", payload: of(der, `,"reason":5`)}, 400, "alreadyRevoked")
}

func (h *hostile) racingRevocations(of func([]byte, string) string) {
	owner := h.register()
	der := h.download(owner, h.certificate(owner, "race.revoked.example"))
	h.is(203, "100 at once", func(t *testing.T) {
		h.with(t, func() {
			const times = 100
			var mu sync.Mutex
			got := map[string]int{}
			var wg sync.WaitGroup
			for range times {
				body := h.text(request{by: owner, url: "/acme/revoke-cert", payload: of(der, `,"reason":4`)})
				wg.Go(func() {
					a := h.postBody(h.base+"/acme/revoke-cert", body, nil)
					mu.Lock()
					got[fmt.Sprint(a.status, a.problem)]++
					mu.Unlock()
				})
			}
			wg.Wait()
			if got["200"] != 1 || got["400alreadyRevoked"] != times-1 {
				t.Errorf("%v, want one 200", got)
			}
		})
	})
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		h.t.Fatal(err)
	}
	h.c.WantRevoked(leaf, 4)
}
