package catest_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/cmd/chancery/catest"
)

// This file and its hostile_* neighbors are the catalogue of hostile input
// (docs/hostile-input.md): row by row what is sent to a whole CA over real
// sockets, and the exact status and error type that must come back.

// minHostileCases is how many concrete cases run at least; families are
// generated, and one that generates nothing must not pass for a good one.
const minHostileCases = 1000

// TestHostile throws the catalogue at one CA. After each answer nothing of the
// inside may show, each answer to a POST has a nonce, and none is a 5xx; at
// the end the CA still serves and the oracle finds the store whole.
func TestHostile(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	for _, family := range []struct {
		name string
		run  func(*hostile)
	}{
		{"http", (*hostile).http},
		{"jws", (*hostile).jws},
		{"keys", (*hostile).keys},
		{"json", (*hostile).json},
		{"account", (*hostile).accounts},
		{"binding", (*hostile).bindings},
		{"order", (*hostile).orders},
		{"csr", (*hostile).requests},
		{"dns", (*hostile).records},
		{"http-01", (*hostile).web},
		{"tls-alpn-01", (*hostile).alpn},
		{"ocsp", (*hostile).status},
		{"revocation", (*hostile).revocations},
		{"operator", (*hostile).operator},
		{"configuration", (*hostile).configuration},
	} {
		t.Run(family.name, func(t *testing.T) {
			h.t = t
			family.run(h)
		})
	}
	h.t = t
	t.Logf("%d cases of hostile input", h.total)
	if h.total < minHostileCases {
		t.Errorf("%d cases, want %d or more", h.total, minHostileCases)
	}

	h.checkIndex()
	h.wantAlive()
	h.c.Check()
}

// hostile is the CA and what the families share.
type hostile struct {
	t     *testing.T
	c     *catest.CA
	base  string // of URLs
	total int
	rows  map[int]int // row of the catalogue to number of cases

	mu     sync.Mutex
	nonces []string

	account *party // with an order in each state
	other   *party // with nothing
	cert    *catest.Certificate
	owner   *catest.Client // of cert
	urls    resources
	site    *site
}

// resources are URLs of the account's objects.
type resources struct{ order, finalize, authorization, challenge, certificate, ready string }

// party is one who signs: an account when it has a kid.
type party struct {
	key crypto.Signer
	alg string
	kid string
}

func newHostile(t *testing.T) *hostile {
	t.Helper()
	internet := catest.NewInternet(t)
	web := newSite(t, internet)
	c := catest.Start(t, catest.On(internet), catest.Set(fmt.Sprintf("validation.http_port=%d", web.port)))
	h := &hostile{t: t, c: c, site: web, base: strings.TrimSuffix(c.DirectoryURL, "/acme/directory"), rows: map[int]int{}}
	h.account, h.other = h.register(), h.register()
	h.owner = c.Client(catest.HTTP)
	h.cert = h.owner.Obtain("hostile.example")
	a := h.order(h.account, "fixture.example")
	h.urls.order, h.urls.finalize, h.urls.authorization = a.location, a.text("finalize"), a.list("authorizations")[0]
	z := h.post(request{by: h.account, url: h.urls.authorization})
	h.urls.challenge = z.challenge("http-01").URL
	h.urls.ready = h.readyOrder(h.account, "ready.example").location
	h.urls.certificate = h.certificate(h.account, "have.example")
	return h
}

// wantAlive: after all that, a good client gets what it wants.
func (h *hostile) wantAlive() {
	h.t.Helper()
	h.c.Client(catest.HTTP).Obtain("alive.example")
}

// is runs one case of a row.
func (h *hostile) is(row int, what string, f func(t *testing.T)) {
	h.t.Helper()
	h.rows[row]++
	h.total++
	h.t.Run(fmt.Sprintf("%03d %s", row, what), f)
}

// request is one ACME POST. The zero value of a field is what a good client sends.
type request struct {
	by      *party
	url     string         // whole, or a path
	payload string         // "" is a POST-as-GET
	header  map[string]any // changes of the protected header; nil takes a member out
	jwk     bool           // signed by key, not by account

	protected string                                      // the header's text, instead of all above
	sign      func(input []byte) []byte                   // another signature
	body      func(protected, payload, sig string) string // another body
	http      http.Header                                 // changes of HTTP's header; nil takes one out
}

// answer is an answer, read whole.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	object   map[string]any
	location string
	closed   bool   // it says that the connection ends here
	problem  string // error type without its prefix
	detail   string
}

func (a *answer) text(member string) string { s, _ := a.object[member].(string); return s }

func (a *answer) list(member string) []string {
	var out []string
	list, _ := a.object[member].([]any)
	for _, v := range list {
		s, _ := v.(string)
		out = append(out, s)
	}
	return out
}

// challengeView is a challenge as a client sees it.
type challengeView struct {
	Type, URL, Token, Status string
	Error                    struct{ Type, Detail string }
}

func (a *answer) challenge(kind string) challengeView {
	var z struct{ Challenges []challengeView }
	_ = json.Unmarshal(a.body, &z)
	for _, c := range z.Challenges {
		if c.Type == kind {
			return c
		}
	}
	return challengeView{}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (h *hostile) absolute(u string) string {
	if strings.HasPrefix(u, "/") {
		return h.base + u
	}
	return u
}

// head is the protected header of a request.
func (h *hostile) head(r request) map[string]any {
	head := map[string]any{"alg": r.by.alg, "nonce": h.nonce(), "url": h.absolute(r.url)}
	if r.jwk || r.by.kid == "" {
		head["jwk"] = jwkOf(r.by.key.Public())
	} else {
		head["kid"] = r.by.kid
	}
	for name, v := range r.header {
		if v == nil {
			delete(head, name)
			continue
		}
		head[name] = v
	}
	return head
}

// text is the body of a request.
func (h *hostile) text(r request) string {
	protected := r.protected
	if protected == "" {
		protected = jsonOf(h.head(r))
	}
	p, payload := b64([]byte(protected)), b64([]byte(r.payload))
	sign := r.sign
	if sign == nil {
		sign = func(input []byte) []byte { return signJWS(r.by.key, input) }
	}
	sig := b64(sign([]byte(p + "." + payload)))
	if r.body != nil {
		return r.body(p, payload, sig)
	}
	return flattened(p, payload, sig)
}

func flattened(protected, payload, sig string) string {
	return `{"protected":"` + protected + `","payload":"` + payload + `","signature":"` + sig + `"}`
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own values
	}
	return string(b)
}

// jwkOf is a JWK, members in the order of the alphabet.
func jwkOf(public crypto.PublicKey) map[string]any {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		size := (len(point) - 1) / 2
		return map[string]any{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+size]), "y": b64(point[1+size:])}
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}
	}
	panic(fmt.Sprintf("no JWK for %T", public))
}

func thumbprint(public crypto.PublicKey) string {
	sum := sha256.Sum256([]byte(jsonOf(jwkOf(public)))) // maps are written sorted, as RFC 7638 wants it
	return b64(sum[:])
}

func signJWS(key crypto.Signer, input []byte) []byte {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		var digest []byte
		switch k.Params().BitSize {
		case 256:
			d := sha256.Sum256(input)
			digest = d[:]
		case 384:
			d := sha512.Sum384(input)
			digest = d[:]
		default:
			d := sha512.Sum512(input)
			digest = d[:]
		}
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			panic(err)
		}
		size := (k.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out
	case *rsa.PrivateKey:
		d := sha256.Sum256(input)
		out, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, d[:])
		if err != nil {
			panic(err)
		}
		return out
	case ed25519.PrivateKey:
		return ed25519.Sign(k, input)
	}
	return []byte("no signature")
}

// nonce is one that was not used yet.
func (h *hostile) nonce() string {
	h.mu.Lock()
	if n := len(h.nonces); n > 0 {
		nonce := h.nonces[n-1]
		h.nonces = h.nonces[:n-1]
		h.mu.Unlock()
		return nonce
	}
	h.mu.Unlock()
	resp, err := h.c.HTTP().Head(h.base + "/acme/new-nonce")
	if err != nil {
		h.t.Fatalf("new-nonce: %v", err)
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Replay-Nonce")
}

// post sends a request and checks what every answer must have.
func (h *hostile) post(r request) *answer {
	h.t.Helper()
	return h.postBody(h.absolute(r.url), h.text(r), r.http)
}

// do is one HTTP request whose answer is checked as every one.
func (h *hostile) postBody(target, body string, header http.Header) *answer {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/jose+json")
	maps.Copy(r.Header, header)
	a := h.do(r)
	if nonces := a.header["Replay-Nonce"]; len(nonces) != 1 {
		h.t.Errorf("POST %s: the answer has the nonces %q, want one", target, nonces)
	} else {
		h.mu.Lock()
		h.nonces = append(h.nonces, nonces[0])
		h.mu.Unlock()
	}
	return a
}

func (h *hostile) do(r *http.Request) *answer {
	h.t.Helper()
	resp, err := h.c.HTTP().Do(r)
	if err != nil {
		h.t.Fatalf("%s %.200s: %v", r.Method, r.URL, err)
	}
	a, err := readAnswer(resp)
	if err != nil {
		h.t.Fatalf("%s %.200s: %v", r.Method, r.URL, err)
	}
	for _, why := range a.improper() {
		h.t.Errorf("%s %.200s: %s", r.Method, r.URL, why)
	}
	return a
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

func readAnswer(resp *http.Response) (*answer, error) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a := &answer{status: resp.StatusCode, header: resp.Header, body: body, location: resp.Header.Get("Location"), closed: resp.Close}
	_ = json.Unmarshal(body, &a.object)
	if kind, ok := strings.CutPrefix(a.text("type"), "urn:ietf:params:acme:error:"); ok {
		a.problem = kind
	}
	a.detail = a.text("detail")
	return a, err
}

// inside are words that only somebody who looks inside could know.
var inside = []string{"sqlite", "SELECT ", "INSERT ", "UPDATE ", "goroutine", "panic", "runtime error", ".go:", "/tmp/", "nil pointer", "sql:", "chancery.db", "passphrase"}

// maxDetail bounds what an error says, and with it what it repeats of the
// request.
const maxDetail = 1500

// improper says what no answer may be or hold.
func (a *answer) improper() (why []string) {
	// net/http's own words about HTTP itself: a transfer coding (RFC 9112
	// section 6.1) or a version (section 2.6) that nobody has.
	if a.status >= 500 && !(a.object == nil && (a.status == 501 || a.status == 505)) {
		why = append(why, fmt.Sprintf("status %d: %.300s", a.status, a.body))
	}
	for _, word := range inside {
		if bytes.HasPrefix(a.body, []byte("# HELP")) {
			break // metrics, which tell the operator of the inside
		}
		if bytes.Contains(a.body, []byte(word)) {
			why = append(why, fmt.Sprintf("the answer shows the inside (%q): %.300s", word, a.body))
		}
	}
	if len(a.detail) > maxDetail {
		why = append(why, fmt.Sprintf("a detail of %d octets", len(a.detail)))
	}
	for name, values := range a.header {
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
				why = append(why, fmt.Sprintf("header %s has %q", name, v))
			}
		}
	}
	if a.problem != "" && a.header.Get("Content-Type") != "application/problem+json" {
		why = append(why, "a problem of type "+a.header.Get("Content-Type"))
	}
	if s, ok := a.object["status"].(float64); ok && a.problem != "" && int(s) != a.status {
		why = append(why, fmt.Sprintf("a problem with status %v came with status %d", s, a.status))
	}
	return why
}

// want is the exact answer of a case; no problem is "".
func (a *answer) want(t *testing.T, status int, problem string) {
	t.Helper()
	if a.status != status || a.problem != problem {
		t.Errorf("%d %s %.400s, want %d %s", a.status, a.problem, a.body, status, problem)
	}
}

// posted is a case that is one POST.
func (h *hostile) posted(row int, what string, r request, status int, problem string) {
	h.t.Helper()
	h.is(row, what, func(t *testing.T) {
		t.Helper()
		h.with(t, func() { h.post(r).want(t, status, problem) })
	})
}

// with makes t the test that helpers report to.
func (h *hostile) with(t *testing.T, f func()) {
	outer := h.t
	h.t = t
	defer func() { h.t = outer }()
	f()
}

func (h *hostile) register() *party {
	h.t.Helper()
	p := &party{key: ecKey(h.t, elliptic.P256()), alg: "ES256"}
	a := h.post(request{by: p, url: "/acme/new-account", payload: `{"termsOfServiceAgreed":true}`})
	if a.status != http.StatusCreated {
		h.t.Fatalf("newAccount: %d %s", a.status, a.body)
	}
	p.kid = a.location
	return p
}

func dnsOrder(names ...string) string {
	ids := make([]map[string]string, 0, len(names))
	for _, n := range names {
		kind := "dns"
		if net.ParseIP(n) != nil {
			kind = "ip"
		}
		ids = append(ids, map[string]string{"type": kind, "value": n})
	}
	return jsonOf(map[string]any{"identifiers": ids})
}

// order is a new order.
func (h *hostile) order(by *party, names ...string) *answer {
	h.t.Helper()
	a := h.post(request{by: by, url: "/acme/new-order", payload: dnsOrder(names...)})
	if a.status != http.StatusCreated {
		h.t.Fatalf("order for %v: %d %s", names, a.status, a.body)
	}
	return a
}

// readyOrder is an order whose names are proven.
func (h *hostile) readyOrder(by *party, names ...string) *answer {
	h.t.Helper()
	o := h.order(by, names...)
	for _, u := range o.list("authorizations") {
		z := h.post(request{by: by, url: u})
		if z.text("status") == "valid" {
			continue
		}
		c := z.challenge("http-01")
		id, _ := z.object["identifier"].(map[string]any)
		name, _ := id["value"].(string)
		h.c.Net.AnswerHTTP(name, c.Token, c.Token+"."+thumbprint(by.key.Public()))
		h.settle(by, c.URL)
	}
	r := h.post(request{by: by, url: o.location})
	if r.text("status") != "ready" {
		h.t.Fatalf("order for %v: %d %s", names, r.status, r.body)
	}
	r.location = o.location
	return r
}

// settleTime bounds how long a validation may take.
const settleTime = 30 * time.Second

// settle responds to a challenge and waits for its end.
func (h *hostile) settle(by *party, challenge string) challengeView {
	h.t.Helper()
	a := h.post(request{by: by, url: challenge, payload: "{}"})
	for deadline := time.Now().Add(settleTime); ; {
		var c challengeView
		if err := json.Unmarshal(a.body, &c); err != nil || a.status != http.StatusOK {
			h.t.Fatalf("challenge: %d %s", a.status, a.body)
		}
		if c.Status != "processing" && c.Status != "pending" {
			return c
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("challenge still %s after %s", c.Status, settleTime)
		}
		time.Sleep(50 * time.Millisecond)
		a = h.post(request{by: by, url: challenge})
	}
}

// certificate is the URL of a new one.
func (h *hostile) certificate(by *party, name string) string {
	h.t.Helper()
	o := h.readyOrder(by, name)
	a := h.post(request{by: by, url: o.text("finalize"), payload: csrPayload(newCSR(h.t, ecKey(h.t, elliptic.P256()), name))})
	for deadline := time.Now().Add(settleTime); a.text("status") == "processing" && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
		a = h.post(request{by: by, url: o.location})
	}
	if a.text("certificate") == "" {
		h.t.Fatalf("finalize: %d %s", a.status, a.body)
	}
	return a.text("certificate")
}

func newCSR(t testing.TB, key crypto.Signer, names ...string) []byte {
	t.Helper()
	var template x509.CertificateRequest
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func csrPayload(der []byte) string { return `{"csr":"` + b64(der) + `"}` }

// address is where a door listens.
func address(door string) string {
	u, err := url.Parse(door)
	if err != nil {
		panic(err)
	}
	return net.JoinHostPort("127.0.0.1", u.Port())
}

// raw sends octets to a door and reads one answer; nil when it hung up
// without one.
func (h *hostile) raw(door, text string) *answer {
	h.t.Helper()
	var conn net.Conn
	var err error
	if strings.HasPrefix(door, "https:") {
		conn, err = tls.Dial("tcp", address(door), &tls.Config{RootCAs: h.c.Root, ServerName: "localhost"})
	} else {
		conn, err = net.Dial("tcp", address(door))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(settleTime))
	_, _ = io.WriteString(conn, text) // it may hang up early
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil
	}
	a, _ := readAnswer(resp) // and may cut its answer short
	for _, why := range a.improper() {
		h.t.Errorf("%.100q: %s", text, why)
	}
	return a
}
