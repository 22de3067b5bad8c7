package admin_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/admin"
	"chancery/ca"
	"chancery/crl"
	"chancery/storage"
)

const token = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

// world is the operator's door over HTTP, on a real store, engine and signing
// core. Only the network of validations is played.
type world struct {
	t       *testing.T
	db      *storage.DB
	service *acme.Service
	server  *httptest.Server
	metrics *admin.Metrics
	log     *bytes.Buffer
	issuer  *ca.Issuer
	clock   atomic.Int64 // Unix milliseconds
	refuse  atomic.Bool  // validations fail
}

func (w *world) now() time.Time          { return time.UnixMilli(w.clock.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.clock.Add(d.Milliseconds()) }

// Validate plays the network.
func (w *world) Validate(_ context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	e := &acme.Evidence{
		Method: a.Type, Identifier: a.Identifier.Value(), Started: w.now(), Millis: 3,
		Steps: []acme.Step{{Do: "http", What: "GET http://" + a.Identifier.Value(), From: "192.0.2.7:80", Got: "status 200"}},
	}
	if w.refuse.Load() {
		return e, acme.Problemf(acme.IncorrectResponse, "the web server said no")
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
	if secret, ok := bytes.CutPrefix(b, []byte(c+"|")); ok {
		return secret, nil
	}
	return nil, errors.New("sealed for another context")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := storage.Open(t.Context(), ":memory:")
	must(t, err)
	w := &world{t: t, db: db, metrics: admin.NewMetrics("test"), log: &bytes.Buffer{}}
	w.clock.Store(time.Now().UnixMilli())
	authority := w.authority()
	w.service = &acme.Service{
		Store: db, Validator: w, Issuer: authority, Sealer: plainSealer{}, Now: w.now,
		Settings: acme.Settings{Wait: 5 * time.Second, ExternalAccount: acme.BindingOptional},
		Hooks: acme.Hooks{
			Validated: func(t acme.ChallengeType, outcome string, took time.Duration) {
				w.metrics.Validated(string(t), outcome, took)
			},
			Issued:  w.metrics.Issued,
			Revoked: func(_ *ca.Certificate, reason ca.Reason) { w.metrics.Revoked(admin.ReasonName(reason)) },
		},
	}
	cert := w.issuer.Certificate()
	door, err := admin.New(admin.Config{
		Store: db, Engine: w.service, Chains: authority.Chains, Lists: db, Shards: []crl.Shard{{Issuer: w.issuer.ID()}},
		Issuers: []admin.IssuerStatus{{ID: w.issuer.ID(), Active: true, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}},
		Metrics: w.metrics, Token: token, Hosts: []string{"Admin.Example."}, Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: w.now,
	})
	must(t, err)
	w.server = httptest.NewServer(door)
	t.Cleanup(func() {
		w.server.Close()
		w.service.Stop(context.Background())
		must(t, db.Close())
	})
	return w
}

func (w *world) authority() *ca.Authority {
	w.t.Helper()
	rootKey, issuerKey := newKey(w.t), newKey(w.t)
	root, err := ca.NewRoot(ca.RootSpec{Name: "Test", Key: rootKey, Now: w.now()})
	must(w.t, err)
	const publish = "http://localhost:14080"
	intermediate, err := ca.NewIntermediate(ca.IntermediateSpec{
		Name: "Test", Public: issuerKey.Public(), Root: root, RootKey: rootKey, PublishURL: publish, Now: w.now(),
	})
	must(w.t, err)
	w.issuer, err = ca.NewIssuer(ca.IssuerConfig{Chain: []*x509.Certificate{intermediate, root}, Key: issuerKey, PublishURL: publish})
	must(w.t, err)
	profile := ca.DefaultProfile()
	return &ca.Authority{
		Issuers: []*ca.Issuer{w.issuer}, Profiles: map[string]*ca.Profile{profile.Name: &profile}, Default: profile.Name, Ledger: w.db,
		AccountKeys: func(context.Context, [32]byte) (bool, error) { return false, nil },
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

func (w *world) register(contact ...string) acme.Caller {
	w.t.Helper()
	point, err := newKey(w.t).Public().(*ecdsa.PublicKey).Bytes() // 4, x, y
	must(w.t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	key, err := acme.ParseKey([]byte(`{"kty":"EC","crv":"P-256","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}`))
	must(w.t, err)
	a, _, err := w.service.NewAccount(w.t.Context(), acme.NewAccount{Key: key, Contact: contact})
	must(w.t, err)
	return acme.Caller{Account: a, Addr: "192.0.2.1"}
}

// order asks for names and answers the challenges.
func (w *world) order(c acme.Caller, values ...string) *acme.Order {
	w.t.Helper()
	ids := make([]ca.Identifier, len(values))
	for i, v := range values {
		id, err := ca.ParseIdentifier("dns", v)
		must(w.t, err)
		ids[i] = id
	}
	o, err := w.service.NewOrder(w.t.Context(), c, acme.NewOrder{Identifiers: ids})
	must(w.t, err)
	for _, a := range o.Authorizations {
		if a.StatusAt(w.now()) == acme.StatusPending {
			_, err := w.service.Respond(w.t.Context(), c, a.ID, a.Types[0])
			must(w.t, err)
		}
	}
	return o
}

// obtain returns the order with its certificate.
func (w *world) obtain(c acme.Caller, values ...string) *acme.Order {
	w.t.Helper()
	o := w.order(c, values...)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: values}, newKey(w.t))
	must(w.t, err)
	o, err = w.service.Finalize(w.t.Context(), c, o.ID, csr)
	must(w.t, err)
	if !o.Issued() {
		w.t.Fatalf("order %s: %v", o.StatusAt(w.now()), o.Error)
	}
	w.advance(2 * time.Millisecond) // so that serials and IDs have a sequence
	return o
}

// call makes a request with the token and wants its status.
func (w *world) call(status int, method, path, body string) []byte {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	must(w.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set(admin.OperatorHeader, "alice")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := w.server.Client().Do(r)
	must(w.t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(res.Body)
	must(w.t, err)
	if res.StatusCode != status {
		w.t.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, res.StatusCode, status, text)
	}
	if status >= 400 {
		var p admin.Problem
		if err := json.Unmarshal(text, &p); err != nil || p.Status != status || p.Title == "" || p.Detail == "" ||
			res.Header.Get("Content-Type") != "application/problem+json" {
			w.t.Errorf("%s %s: no whole problem document: %s", method, path, text)
		}
	}
	return text
}

func get[T any](w *world, path string) T {
	w.t.Helper()
	var v T
	must(w.t, json.Unmarshal(w.call(200, "GET", path, ""), &v))
	return v
}

func leaf(t *testing.T, chain []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		t.Fatalf("no PEM: %s", chain)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return c
}

// call503 reads an answer of readiness that is no problem document.
func (w *world) call503(path string) []byte {
	w.t.Helper()
	res, err := w.server.Client().Get(w.server.URL + path)
	must(w.t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(res.Body)
	must(w.t, err)
	if res.StatusCode != http.StatusServiceUnavailable {
		w.t.Fatalf("%s: status %d: %s", path, res.StatusCode, text)
	}
	return text
}

// publish puts a list in the store that is good for an hour.
func (w *world) publish() {
	w.t.Helper()
	now := w.now().Truncate(time.Second)
	shard := crl.Shard{Issuer: w.issuer.ID()}
	claim, err := w.db.Begin(w.t.Context(), now, shard, now.Add(time.Minute))
	must(w.t, err)
	must(w.t, w.db.Put(w.t.Context(), ca.System("test"), now, &crl.List{
		Shard: shard, Number: claim.Number, Mark: claim.Mark, ThisUpdate: now, NextUpdate: now.Add(time.Hour), RefreshAt: now.Add(time.Hour), Entries: 3, DER: []byte{0x30, 0},
	}))
}
