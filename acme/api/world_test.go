package api_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/acme"
	"chancery/acme/api"
	"chancery/ca"
	"chancery/storage"
)

const base = "https://ca.example"

// world is the API over the engine on a real store and a real signing core.
// Only the network is played: prove decides what a validation sees.
type world struct {
	*api.API
	t        testing.TB
	service  *acme.Service
	clock    atomic.Int64 // Unix milliseconds
	log      *syncBuffer
	observed chan observation
	prove    func(acme.Attempt) *acme.Problem
}

type observation struct {
	route, problem string
	status         int
}

func (w *world) now() time.Time          { return time.UnixMilli(w.clock.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.clock.Add(d.Milliseconds()) }

func (w *world) Validate(_ context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	e := &acme.Evidence{Method: a.Type, Identifier: a.Identifier.Value(), Started: w.now()}
	if w.prove != nil {
		return e, w.prove(a)
	}
	return e, nil
}

// CheckCAA finds no CAA records anywhere.
func (w *world) CheckCAA(_ context.Context, q acme.CAAQuestion) (*ca.CAAEvidence, *acme.Problem) {
	return &ca.CAAEvidence{At: w.now(), Allowed: true, Require: q.Require}, nil
}

// plainSealer keeps what it is given: sealing is the app's.
type plainSealer struct{}

func (plainSealer) Seal(b []byte, c string) ([]byte, error) { return append([]byte(c+"|"), b...), nil }

func (plainSealer) Open(b []byte, c string) ([]byte, error) {
	if out, ok := bytes.CutPrefix(b, []byte(c+"|")); ok {
		return out, nil
	}
	return nil, errors.New("sealed for another context")
}

type syncBuffer struct {
	mu  chan struct{}
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu <- struct{}{}
	defer func() { <-b.mu }()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu <- struct{}{}
	defer func() { <-b.mu }()
	return b.buf.String()
}

func newWorld(t testing.TB, settings ...func(*acme.Settings, *api.Config)) *world {
	t.Helper()
	db, err := storage.Open(t.Context(), ":memory:")
	must(t, err)
	w := &world{t: t, log: &syncBuffer{mu: make(chan struct{}, 1)}, observed: make(chan observation, 100_000)}
	w.clock.Store(time.Now().UnixMilli())
	config := api.Config{
		BaseURL: base, Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: w.now,
		Observe: func(route string, status int, _ time.Duration, problem string) {
			select {
			case w.observed <- observation{route, problem, status}:
			default:
			}
		},
	}
	s := acme.Settings{Wait: 5 * time.Second}
	for _, set := range settings {
		set(&s, &config)
	}
	w.service = &acme.Service{
		Store: db, Validator: w, Issuer: newAuthority(t, db), Sealer: plainSealer{}, Settings: s, Now: w.now,
		AccountURL: func(id string) string { return w.AccountURL(id) }, Log: slog.New(slog.DiscardHandler),
	}
	config.Service = w.service
	w.API, err = api.New(config)
	must(t, err)
	t.Cleanup(func() {
		w.service.Stop(context.Background())
		must(t, db.Close())
	})
	return w
}

func newAuthority(t testing.TB, db *storage.DB) *ca.Authority {
	t.Helper()
	rootKey, issuerKey := ecKey(t), ecKey(t)
	now := time.Now()
	root, err := ca.NewRoot(ca.RootSpec{Name: "Test", Key: rootKey, Now: now})
	must(t, err)
	const publish = "http://localhost:14080"
	intermediate, err := ca.NewIntermediate(ca.IntermediateSpec{
		Name: "Test", Public: issuerKey.Public(), Root: root, RootKey: rootKey, PublishURL: publish, Now: now,
	})
	must(t, err)
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Chain: []*x509.Certificate{intermediate, root}, Key: issuerKey, PublishURL: publish})
	must(t, err)
	profile := ca.DefaultProfile()
	return &ca.Authority{
		Issuers: []*ca.Issuer{issuer}, Profiles: map[string]*ca.Profile{profile.Name: &profile}, Default: profile.Name, Ledger: db,
		AccountKeys: func(ctx context.Context, spki [32]byte) (bool, error) {
			_, err := db.AccountByKey(ctx, spki)
			if errors.Is(err, ca.ErrNotFound) {
				return false, nil
			}
			return err == nil, err
		},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

func b64(b []byte) string  { return base64.RawURLEncoding.EncodeToString(b) }
func b64s(s string) string { return b64([]byte(s)) }

// answer is an answer, read whole.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	problem problem
}

type problem struct {
	Type        string
	Detail      string
	Status      int
	Instance    string
	Algorithms  []string
	Identifier  map[string]string
	Subproblems []problem
}

func (a *answer) into(t testing.TB, v any) {
	t.Helper()
	if a.status >= 400 {
		t.Fatalf("answer %d: %s", a.status, a.body)
	}
	must(t, json.Unmarshal(a.body, v))
}

// send serves a request in process and checks what every answer must have.
func (w *world) send(r *http.Request) *answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return w.check(r, rec.Result())
}

func (w *world) check(r *http.Request, res *http.Response) *answer {
	w.t.Helper()
	body, err := io.ReadAll(res.Body)
	must(w.t, err)
	a := &answer{status: res.StatusCode, header: res.Header, body: body}
	one := func(name, want string) {
		w.t.Helper()
		if got := res.Header[name]; len(got) != 1 || want != "" && got[0] != want {
			w.t.Errorf("%s %s: header %s is %q, want %q", r.Method, r.URL, name, got, want)
		}
	}
	one("Access-Control-Allow-Origin", "*")
	one("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodPost {
		one("Replay-Nonce", "")
	}
	if !strings.HasSuffix(r.URL.Path, "/directory") && (len(res.Header["Link"]) == 0 || res.Header["Link"][0] != `<`+base+`/acme/directory>;rel="index"`) {
		w.t.Errorf("%s %s: Link %q", r.Method, r.URL, res.Header["Link"])
	}
	if a.status >= 400 && r.Method != http.MethodHead {
		one("Content-Type", "application/problem+json")
		must(w.t, json.Unmarshal(body, &a.problem))
		a.problem.Type = strings.TrimPrefix(a.problem.Type, "urn:ietf:params:acme:error:")
		if a.problem.Status != a.status || a.problem.Detail == "" {
			w.t.Errorf("%s %s: problem %s with status %d", r.Method, r.URL, body, a.status)
		}
	}
	return a
}

func (a *answer) want(t testing.TB, what string, status int, kind string) {
	t.Helper()
	if a.status != status || a.problem.Type != kind {
		t.Errorf("%s: %d %s (%s), want %d %s", what, a.status, a.problem.Type, a.body, status, kind)
	}
}

func (w *world) get(method, path string) *answer {
	w.t.Helper()
	return w.send(httptest.NewRequest(method, path, nil))
}

func (w *world) nonce() string {
	w.t.Helper()
	return w.get(http.MethodHead, "/acme/new-nonce").header.Get("Replay-Nonce")
}

// post sends a body as a JWS.
func (w *world) post(path, body string) *answer {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/jose+json")
	return w.send(r)
}

// client holds an account key; kid is empty until it has registered.
type client struct {
	w   *world
	key crypto.Signer
	alg string
	kid string
}

func (w *world) client() *client { return &client{w: w, key: ecKey(w.t), alg: "ES256"} }

// registered is a client with an account.
func (w *world) registered() *client {
	w.t.Helper()
	c := w.client()
	c.register(`{"termsOfServiceAgreed":true}`).want(w.t, "newAccount", 201, "")
	return c
}

func (c *client) register(payload string) *answer {
	c.w.t.Helper()
	a := c.postJWK("/acme/new-account", payload)
	if location := a.header.Get("Location"); location != "" {
		c.kid = location
	}
	return a
}

func (c *client) jwk() json.RawMessage {
	b, err := jose.JSONWebKey{Key: c.key.Public()}.MarshalJSON()
	must(c.w.t, err)
	return b
}

// header is the protected header of a good request.
func (c *client) header(path string) map[string]any {
	h := map[string]any{"alg": c.alg, "nonce": c.w.nonce(), "url": base + path}
	if c.kid != "" {
		h["kid"] = c.kid
	} else {
		h["jwk"] = c.jwk()
	}
	return h
}

func (c *client) postJWK(path, payload string) *answer {
	c.w.t.Helper()
	h := c.header(path)
	delete(h, "kid")
	h["jwk"] = c.jwk()
	return c.w.post(path, c.jws(h, payload))
}

func (c *client) post(path, payload string) *answer {
	c.w.t.Helper()
	return c.w.post(path, c.jws(c.header(path), payload))
}

// at posts to a URL of the server.
func (c *client) at(url, payload string) *answer {
	c.w.t.Helper()
	return c.post(strings.TrimPrefix(url, base), payload)
}

// jws signs a header and a payload.
func (c *client) jws(header map[string]any, payload string) string {
	b, err := json.Marshal(header)
	must(c.w.t, err)
	return c.jwsOf(string(b), payload)
}

func (c *client) jwsOf(header, payload string) string {
	input := b64s(header) + "." + b64s(payload)
	return `{"protected":"` + b64s(header) + `","payload":"` + b64s(payload) + `","signature":"` + b64(sign(c.w.t, c.key, c.alg, input)) + `"}`
}

// sign makes a JWS signature without the code under test.
func sign(t testing.TB, key crypto.Signer, alg, input string) []byte {
	t.Helper()
	sum256, sum384, sum512 := sha256.Sum256([]byte(input)), sha512.Sum384([]byte(input)), sha512.Sum512([]byte(input))
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		digest := map[string][]byte{"ES256": sum256[:], "ES384": sum384[:], "ES512": sum512[:]}[alg]
		if digest == nil {
			digest = sum256[:]
		}
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		must(t, err)
		size := (key.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case *rsa.PrivateKey:
		out, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum256[:])
		must(t, err)
		return out
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(input))
	}
	t.Fatalf("key %T", key)
	return nil
}

// binding is an external account binding of the client's key.
func (c *client) binding(kid string, secret []byte, edit func(h map[string]any)) string {
	h := map[string]any{"alg": "HS256", "kid": kid, "url": base + "/acme/new-account"}
	if edit != nil {
		edit(h)
	}
	b, err := json.Marshal(h)
	must(c.w.t, err)
	input := b64(b) + "." + b64(c.jwk())
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return `{"protected":"` + b64(b) + `","payload":"` + b64(c.jwk()) + `","signature":"` + b64(mac.Sum(nil)) + `"}`
}

// objects as clients read them.
type orderJSON struct {
	Status         string
	Expires        string
	Identifiers    []struct{ Type, Value string }
	Profile        string
	NotBefore      string
	NotAfter       string
	Replaces       string
	Error          *problem
	Authorizations []string
	Finalize       string
	Certificate    string
	url            string
}

type authorizationJSON struct {
	Status     string
	Expires    string
	Identifier struct{ Type, Value string }
	Wildcard   bool
	Challenges []challengeJSON
}

type challengeJSON struct {
	Type, URL, Status, Token, Validated string
	Error                               *problem
}

func identifiers(names ...string) string {
	list := make([]string, 0, len(names))
	for _, n := range names {
		list = append(list, `{"type":"dns","value":"`+n+`"}`)
	}
	return `"identifiers":[` + strings.Join(list, ",") + `]`
}

func (c *client) order(names ...string) *orderJSON {
	c.w.t.Helper()
	a := c.post("/acme/new-order", "{"+identifiers(names...)+"}")
	o := &orderJSON{url: a.header.Get("Location")}
	a.into(c.w.t, o)
	return o
}

// fulfil answers the first challenge of each pending authorization.
func (c *client) fulfil(o *orderJSON) {
	c.w.t.Helper()
	for _, url := range o.Authorizations {
		var z authorizationJSON
		c.at(url, "").into(c.w.t, &z)
		if z.Status == "pending" {
			c.at(z.Challenges[0].URL, "{}").want(c.w.t, "challenge", 200, "")
		}
	}
}

func csr(t testing.TB, key crypto.Signer, names ...string) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	must(t, err)
	return b64(der)
}

// obtain does the whole of it and returns the order and the leaf.
func (c *client) obtain(key crypto.Signer, names ...string) (*orderJSON, *x509.Certificate) {
	c.w.t.Helper()
	o := c.order(names...)
	c.fulfil(o)
	c.at(o.Finalize, `{"csr":"`+csr(c.w.t, key, names...)+`"}`).into(c.w.t, o)
	if o.Status != "valid" {
		c.w.t.Fatalf("the order is %s: %+v", o.Status, o.Error)
	}
	return o, leaf(c.w.t, c.at(o.Certificate, ""))
}
