package acme_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
	"chancery/storage"
)

// world is an engine on a real store and a real signing core. Only the
// network is played: prove decides what a validation sees.
type world struct {
	*acme.Service
	t     *testing.T
	db    *storage.DB
	clock atomic.Int64 // Unix milliseconds
	asked atomic.Int64 // validations made
	prove atomic.Pointer[func(ctx context.Context, a acme.Attempt) *acme.Problem]
	caa   atomic.Pointer[func(q acme.CAAQuestion) *acme.Problem]
	looks atomic.Int64 // looks at CAA records beside validations
}

func (w *world) CheckCAA(_ context.Context, q acme.CAAQuestion) (*ca.CAAEvidence, *acme.Problem) {
	w.looks.Add(1)
	e := &ca.CAAEvidence{At: w.now(), Require: q.Require}
	if f := w.caa.Load(); f != nil {
		if problem := (*f)(q); problem != nil {
			e.Why = problem.Detail
			return e, problem
		}
	}
	e.Allowed = true
	return e, nil
}

func (w *world) allowing(f func(q acme.CAAQuestion) *acme.Problem) { w.caa.Store(&f) }

func (w *world) Validate(ctx context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	w.asked.Add(1)
	e := &acme.Evidence{Method: a.Type, Identifier: a.Identifier.Value(), Started: w.now()}
	if f := w.prove.Load(); f != nil {
		return e, (*f)(ctx, a)
	}
	return e, nil
}

func (w *world) proving(f func(ctx context.Context, a acme.Attempt) *acme.Problem) { w.prove.Store(&f) }

func (w *world) now() time.Time          { return time.UnixMilli(w.clock.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.clock.Add(d.Milliseconds()) }

// plainSealer keeps what it is given: sealing is the app's.
type plainSealer struct{}

func (plainSealer) Seal(b []byte, c string) ([]byte, error) { return append([]byte(c+"|"), b...), nil }

func (plainSealer) Open(b []byte, c string) ([]byte, error) {
	if len(b) <= len(c) || string(b[:len(c)+1]) != c+"|" {
		return nil, errors.New("sealed for another context")
	}
	return b[len(c)+1:], nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := storage.Open(t.Context(), ":memory:")
	must(t, err)
	w := &world{t: t, db: db}
	w.clock.Store(time.Now().UnixMilli())
	w.Service = &acme.Service{
		Store: db, Validator: w, Issuer: newAuthority(t, db), Sealer: plainSealer{}, Now: w.now,
		Settings: acme.Settings{Wait: 5 * time.Second},
	}
	t.Cleanup(func() {
		w.Stop(context.Background())
		if findings, err := db.Check(context.Background()); err != nil || len(findings) > 0 {
			t.Errorf("the store is not sound: %v %q", err, findings)
		}
		must(t, db.Close())
	})
	return w
}

func newAuthority(t *testing.T, db *storage.DB) *ca.Authority {
	t.Helper()
	rootKey, issuerKey := newKey(t), newKey(t)
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

func accountKey(t *testing.T, k crypto.Signer) acme.Key {
	t.Helper()
	point, err := k.Public().(*ecdsa.PublicKey).Bytes() // 4, x, y
	must(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	key, err := acme.ParseKey([]byte(`{"kty":"EC","crv":"P-256","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}`))
	must(t, err)
	return key
}

func (w *world) register() acme.Caller {
	w.t.Helper()
	a, created, err := w.NewAccount(w.t.Context(), acme.NewAccount{Key: accountKey(w.t, newKey(w.t))})
	must(w.t, err)
	if !created {
		w.t.Fatal("a new key had an account")
	}
	return acme.Caller{Account: a, Addr: "192.0.2.1"}
}

func names(t *testing.T, values ...string) []ca.Identifier {
	t.Helper()
	ids := make([]ca.Identifier, len(values))
	for i, v := range values {
		id, err := ca.ParseIdentifier("dns", v)
		must(t, err)
		ids[i] = id
	}
	return ids
}

func (w *world) order(c acme.Caller, values ...string) *acme.Order {
	w.t.Helper()
	o, err := w.NewOrder(w.t.Context(), c, acme.NewOrder{Identifiers: names(w.t, values...)})
	must(w.t, err)
	return o
}

// fulfil answers one challenge of each pending authorization.
func (w *world) fulfil(c acme.Caller, o *acme.Order) {
	w.t.Helper()
	for _, a := range o.Authorizations {
		if a.StatusAt(w.now()) == acme.StatusPending {
			_, err := w.Respond(w.t.Context(), c, a.ID, a.Types[0])
			must(w.t, err)
		}
	}
}

func csrFor(t *testing.T, key crypto.Signer, values ...string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{}, DNSNames: values}, key)
	must(t, err)
	return der
}

// obtain does the whole of it and returns the certificate.
func (w *world) obtain(c acme.Caller, key crypto.Signer, values ...string) *x509.Certificate {
	w.t.Helper()
	o := w.order(c, values...)
	w.fulfil(c, o)
	o, err := w.Finalize(w.t.Context(), c, o.ID, csrFor(w.t, key, values...))
	must(w.t, err)
	return w.download(c, o)
}

func (w *world) download(c acme.Caller, o *acme.Order) *x509.Certificate {
	w.t.Helper()
	if status := o.StatusAt(w.now()); status != acme.StatusValid {
		w.t.Fatalf("order is %s: %v", status, o.Error)
	}
	chain, _, err := w.Certificate(w.t.Context(), c, o.Certificate.String(), 0)
	must(w.t, err)
	block, _ := pem.Decode(chain)
	cert, err := x509.ParseCertificate(block.Bytes)
	must(w.t, err)
	return cert
}

func wantKind(t *testing.T, err error, kind acme.Kind) {
	t.Helper()
	if p := acme.AsProblem(err); p == nil || p.Kind != kind {
		t.Errorf("got %v, want a problem %v", err, kind)
	}
}

func TestObtainRenewRevoke(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	key := newKey(t)
	first := w.obtain(c, key, "a.example", "*.a.example")
	if w.asked.Load() != 2 {
		t.Errorf("%d validations for two names", w.asked.Load())
	}
	second := w.obtain(c, key, "a.example", "*.a.example")
	if w.asked.Load() != 2 {
		t.Error("valid authorizations were not reused")
	}
	if first.SerialNumber.Cmp(second.SerialNumber) == 0 {
		t.Error("two orders, one serial")
	}
	must(t, w.RevokeCertificate(t.Context(), c, acme.Key{}, first.Raw, ca.Superseded))
	wantKind(t, w.RevokeCertificate(t.Context(), c, acme.Key{}, first.Raw, ca.Superseded), acme.AlreadyRevoked)
	serial, ok := ca.SerialFromBig(first.SerialNumber)
	if !ok {
		t.Fatal("serial has another form")
	}
	stored, err := w.db.Certificate(t.Context(), serial)
	must(t, err)
	if stored.Revocation == nil || stored.Revocation.Reason != ca.Superseded {
		t.Errorf("stored revocation %+v", stored.Revocation)
	}
}

func TestOneAttemptOneVerdict(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	o := w.order(c, "a.example")
	var wg sync.WaitGroup
	for i := range 64 {
		typ := o.Authorizations[0].Types[i%3]
		wg.Go(func() {
			if _, err := w.Respond(t.Context(), c, o.Authorizations[0].ID, typ); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.asked.Load(); n != 1 {
		t.Errorf("%d validations", n)
	}
}

func TestTwoFinalizesOneCertificate(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	var won, notReady atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			_, err := w.Finalize(t.Context(), c, o.ID, csrFor(t, newKey(t), "a.example"))
			switch p := acme.AsProblem(err); {
			case err == nil:
				won.Add(1)
			case p != nil && p.Kind == acme.OrderNotReady:
				notReady.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || notReady.Load() != 31 {
		t.Errorf("%d won, %d were told orderNotReady", won.Load(), notReady.Load())
	}
}

func TestSlowValidationIsAnsweredProcessing(t *testing.T) {
	w := newWorld(t)
	w.Settings.Wait = 10 * time.Millisecond
	release := make(chan struct{})
	w.proving(func(ctx context.Context, _ acme.Attempt) *acme.Problem {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return acme.Problemf(acme.Connection, "slow")
		}
	})
	c := w.register()
	o := w.order(c, "a.example")
	a, err := w.Respond(t.Context(), c, o.Authorizations[0].ID, acme.HTTP01)
	must(t, err)
	if got := a.ChallengeStatus(acme.HTTP01); got != acme.StatusProcessing {
		t.Errorf("challenge is %s", got)
	}
	close(release)
	w.Stop(t.Context())
	a, err = w.Challenge(t.Context(), c, a.ID, acme.HTTP01)
	must(t, err)
	if got := a.ChallengeStatus(acme.HTTP01); got != acme.StatusValid || len(a.Evidence) == 0 {
		t.Errorf("challenge is %s with evidence %s", got, a.Evidence)
	}
}

// TestAbandonedValidation: a process is stopped in the middle of a validation;
// the next one makes it again once the lease has run out, and not before.
func TestAbandonedValidation(t *testing.T) {
	w := newWorld(t)
	w.Settings.Wait = time.Millisecond
	w.proving(func(ctx context.Context, _ acme.Attempt) *acme.Problem {
		<-ctx.Done()
		return acme.Problemf(acme.Connection, "cut short")
	})
	c := w.register()
	o := w.order(c, "a.example")
	a, err := w.Respond(t.Context(), c, o.Authorizations[0].ID, acme.HTTP01)
	must(t, err)
	eventually(t, func() bool { return w.asked.Load() == 1 })
	grace, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	w.Stop(grace)

	next := &acme.Service{Store: w.db, Validator: w, Issuer: w.Issuer, Sealer: plainSealer{}, Now: w.now, Settings: acme.Settings{TakeOverEvery: time.Millisecond}}
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return nil })
	run, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = next.Run(run) })
	defer func() { end(); wg.Wait(); next.Stop(t.Context()) }()
	time.Sleep(50 * time.Millisecond)
	if n := w.asked.Load(); n != 1 {
		t.Fatalf("the lease did not hold: %d validations", n)
	}
	w.advance(time.Minute)
	eventually(t, func() bool {
		a, err = next.Challenge(t.Context(), c, a.ID, acme.HTTP01)
		return err == nil && a.ChallengeStatus(acme.HTTP01) == acme.StatusValid
	})
	if n := w.asked.Load(); n != 2 {
		t.Errorf("%d validations", n)
	}
}

func eventually(t *testing.T, true func() bool) {
	t.Helper()
	for range 1000 {
		if true() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it never came true")
}

// brokenOnce is an issuer whose key store is away at the first call.
type brokenOnce struct {
	acme.Issuer
	calls atomic.Int64
}

func (b *brokenOnce) Issue(ctx context.Context, r *ca.Request) (*ca.Certificate, error) {
	if b.calls.Add(1) == 1 {
		return nil, errors.New("token removed")
	}
	return b.Issuer.Issue(ctx, r)
}

func TestIssuanceIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	broken := &brokenOnce{Issuer: w.Issuer}
	w.Issuer = broken
	w.Settings.TakeOverEvery = time.Millisecond
	c := w.register()
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	o, err := w.Finalize(t.Context(), c, o.ID, csrFor(t, newKey(t), "a.example"))
	must(t, err)
	if got := o.StatusAt(w.now()); got != acme.StatusProcessing {
		t.Fatalf("order is %s", got)
	}
	run, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(run) })
	defer func() { end(); wg.Wait() }()
	w.advance(time.Minute)
	eventually(t, func() bool {
		o, err = w.Order(t.Context(), c, o.ID)
		return err == nil && o.StatusAt(w.now()) == acme.StatusValid
	})
	w.download(c, o)
}

// refusing is an issuer that finds, when it comes to signing, what it did not
// find when checking.
type refusing struct{ acme.Issuer }

func (refusing) Issue(context.Context, *ca.Request) (*ca.Certificate, error) {
	return nil, &ca.Refusal{Code: ca.LintFailed, Detail: "e_some_lint: says so"}
}

func TestRefusalEndsTheOrder(t *testing.T) {
	w := newWorld(t)
	w.Issuer = refusing{w.Issuer}
	c := w.register()
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	o, err := w.Finalize(t.Context(), c, o.ID, csrFor(t, newKey(t), "a.example"))
	must(t, err)
	if o.StatusAt(w.now()) != acme.StatusInvalid || o.Error == nil || o.Error.Kind != acme.BadCSR {
		t.Errorf("order is %s: %v", o.StatusAt(w.now()), o.Error)
	}
}

func TestBadCSRLeavesTheOrderReady(t *testing.T) {
	w := newWorld(t)
	accountSigner := newKey(t)
	a, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, accountSigner)})
	must(t, err)
	c := acme.Caller{Account: a}
	otherSigner := newKey(t)
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, otherSigner)})
	must(t, err)
	o := w.order(c, "a.example")
	_, err = w.Finalize(t.Context(), c, o.ID, csrFor(t, newKey(t), "a.example"))
	wantKind(t, err, acme.OrderNotReady)
	w.fulfil(c, o)
	for name, csr := range map[string][]byte{
		"garbage":               []byte("garbage"),
		"another name":          csrFor(t, newKey(t), "b.example"),
		"one name more":         csrFor(t, newKey(t), "a.example", "b.example"),
		"the account's key":     csrFor(t, accountSigner, "a.example"),
		"another account's key": csrFor(t, otherSigner, "a.example"),
	} {
		_, err := w.Finalize(t.Context(), c, o.ID, csr)
		if p := acme.AsProblem(err); p == nil || p.Kind != acme.BadCSR {
			t.Errorf("%s: %v", name, err)
		}
		if o, err := w.Order(t.Context(), c, o.ID); err != nil || o.StatusAt(w.now()) != acme.StatusReady {
			t.Errorf("%s: order is not ready any more (%v)", name, err)
		}
	}
}

func TestForeignObjectsAreNotFound(t *testing.T) {
	w := newWorld(t)
	mine, other := w.register(), w.register()
	o := w.order(mine, "a.example")
	w.fulfil(mine, o)
	done, err := w.Finalize(t.Context(), mine, o.ID, csrFor(t, newKey(t), "a.example"))
	must(t, err)
	_, errOrder := w.Order(t.Context(), other, o.ID)
	_, errAuthorization := w.Authorization(t.Context(), other, o.Authorizations[0].ID)
	_, errRespond := w.Respond(t.Context(), other, o.Authorizations[0].ID, acme.HTTP01)
	_, errDeactivate := w.DeactivateAuthorization(t.Context(), other, o.Authorizations[0].ID)
	_, errFinalize := w.Finalize(t.Context(), other, o.ID, nil)
	_, _, errCertificate := w.Certificate(t.Context(), other, done.Certificate.String(), 0)
	_, errMissing := w.Order(t.Context(), other, "AZrCF0mYcBe9yDqPZXh2bQ")
	for i, err := range []error{errOrder, errAuthorization, errRespond, errDeactivate, errFinalize, errCertificate, errMissing} {
		if p := acme.AsProblem(err); p == nil || p.HTTPStatus() != 404 {
			t.Errorf("%d: %v", i, err)
		}
	}
	if errOrder.Error() != errMissing.Error() {
		t.Errorf("foreign and missing differ: %v, %v", errOrder, errMissing)
	}
}

func TestAuthorizationRules(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	a, created, err := w.NewAuthorization(t.Context(), c, names(t, "a.example")[0])
	must(t, err)
	if !created || a.StatusAt(w.now()) != acme.StatusPending {
		t.Fatalf("created %v, %s", created, a.StatusAt(w.now()))
	}
	_, err = w.Respond(t.Context(), c, a.ID, acme.DNS01)
	must(t, err)
	if o := w.order(c, "a.example"); o.StatusAt(w.now()) != acme.StatusReady {
		t.Errorf("a pre-authorized name's order is %s", o.StatusAt(w.now()))
	}
	if o := w.order(c, "*.a.example"); o.StatusAt(w.now()) != acme.StatusPending || len(o.Authorizations[0].Types) != 1 || !o.Authorizations[0].Wildcard {
		t.Errorf("the name's authorization was taken for the wildcard's: %+v", o.Authorizations[0])
	}
	_, _, err = w.NewAuthorization(t.Context(), c, names(t, "*.a.example")[0])
	wantKind(t, err, acme.Malformed)
	_, err = w.DeactivateAuthorization(t.Context(), c, a.ID)
	must(t, err)
	_, err = w.DeactivateAuthorization(t.Context(), c, a.ID)
	wantKind(t, err, acme.Malformed)
	if o := w.order(c, "a.example"); o.StatusAt(w.now()) != acme.StatusPending {
		t.Errorf("a deactivated authorization was reused: %s", o.StatusAt(w.now()))
	}
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return acme.Problemf(acme.DNS, "NXDOMAIN") })
	o := w.order(c, "b.example")
	w.fulfil(c, o)
	o, err = w.Order(t.Context(), c, o.ID)
	must(t, err)
	if o.StatusAt(w.now()) != acme.StatusInvalid || o.Authorizations[0].Error.Kind != acme.DNS {
		t.Errorf("order is %s, %v", o.StatusAt(w.now()), o.Authorizations[0].Error)
	}
}

func TestReuseEnds(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	w.obtain(c, newKey(t), "a.example")
	w.advance(9 * 24 * time.Hour)
	if o := w.order(c, "a.example"); o.StatusAt(w.now()) != acme.StatusReady || o.ExpiresAt.After(o.Authorizations[0].ExpiresAt) {
		t.Errorf("order is %s until %s, its authorization until %s", o.StatusAt(w.now()), o.ExpiresAt, o.Authorizations[0].ExpiresAt)
	}
	w.advance(24 * time.Hour)
	if o := w.order(c, "a.example"); o.StatusAt(w.now()) != acme.StatusPending {
		t.Errorf("order is %s", o.StatusAt(w.now()))
	}
}

func TestOrderLimits(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	_, err := w.NewOrder(t.Context(), c, acme.NewOrder{})
	wantKind(t, err, acme.Malformed)
	many := make([]string, 101)
	for i := range many {
		many[i] = string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example"
	}
	_, err = w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, many...)})
	wantKind(t, err, acme.Malformed)
	_, err = w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "a.example"), Profile: "nope"})
	wantKind(t, err, acme.InvalidProfile)
	_, err = w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, "a.example"), NotAfter: w.now().Add(20 * 365 * 24 * time.Hour)})
	wantKind(t, err, acme.Malformed)
	if o := w.order(c, "a.example", "A.example", "a.example"); len(o.Identifiers) != 1 {
		t.Errorf("repeated names: %v", o.Identifiers)
	}
}

func TestOrdersList(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	var want []string
	for range 7 {
		want = append(want, w.order(c, "a.example").ID)
		w.advance(time.Second)
	}
	var got []string
	for cursor := ""; ; {
		ids, next, err := w.Orders(t.Context(), c, cursor, 3)
		must(t, err)
		got = append(got, ids...)
		if cursor = next; next == "" {
			break
		}
	}
	if len(got) != 7 || got[0] != want[0] || got[6] != want[6] {
		t.Errorf("got %v, want %v", got, want)
	}
	_, _, err := w.Orders(t.Context(), c, "' OR 1=1 --", 3)
	wantKind(t, err, acme.Malformed)
}

func TestReplaces(t *testing.T) {
	w := newWorld(t)
	c, other := w.register(), w.register()
	cert := w.obtain(c, newKey(t), "a.example", "b.example")
	serial, _ := ca.SerialFromBig(cert.SerialNumber)
	stored, err := w.db.Certificate(t.Context(), serial)
	must(t, err)
	certID, err := w.Issuer.(*ca.Authority).CertID(stored)
	must(t, err)
	replace := func(c acme.Caller, certID string, values ...string) (*acme.Order, error) {
		return w.NewOrder(t.Context(), c, acme.NewOrder{Identifiers: names(t, values...), Replaces: certID})
	}
	_, err = replace(other, certID, "a.example")
	wantKind(t, err, acme.Unauthorized)
	_, err = replace(c, certID, "c.example")
	wantKind(t, err, acme.Malformed)
	_, err = replace(c, "AAAA.AAAA", "a.example")
	wantKind(t, err, acme.Malformed)
	_, err = replace(c, "nonsense", "a.example")
	wantKind(t, err, acme.Malformed)
	o, err := replace(c, certID, "a.example")
	must(t, err)
	if o.Replaces != certID {
		t.Errorf("replaces %q", o.Replaces)
	}
	_, err = replace(c, certID, "a.example")
	wantKind(t, err, acme.AlreadyReplaced)
	w.advance(8 * 24 * time.Hour) // the replacement was never fulfilled and is invalid now
	_, err = replace(c, certID, "a.example")
	must(t, err)

	info, err := w.RenewalInfo(t.Context(), certID)
	must(t, err)
	life := cert.NotAfter.Sub(cert.NotBefore)
	if info.Start.Before(cert.NotBefore.Add(life/2)) || !info.End.After(info.Start) || !info.End.Before(cert.NotAfter) || info.RetryAfter != 6*time.Hour {
		t.Errorf("window %+v of a certificate from %s to %s", info, cert.NotBefore, cert.NotAfter)
	}
	must(t, w.RevokeCertificate(t.Context(), c, acme.Key{}, cert.Raw, ca.Unspecified))
	if info, err = w.RenewalInfo(t.Context(), certID); err != nil || info.End.After(w.now()) {
		t.Errorf("revoked: %+v, %v", info, err)
	}
	_, err = w.RenewalInfo(t.Context(), "AAAA.AAAA")
	wantKind(t, err, acme.Malformed)
}

func TestWhoMayRevoke(t *testing.T) {
	w := newWorld(t)
	owner, holder, partial, stranger := w.register(), w.register(), w.register(), w.register()
	w.obtain(holder, newKey(t), "a.example", "b.example")
	w.obtain(partial, newKey(t), "a.example")
	certKey := newKey(t)
	keyed := func(k crypto.Signer) acme.Key { return accountKey(t, k) }
	for _, c := range []struct {
		name   string
		caller acme.Caller
		key    acme.Key
		reason ca.Reason
		want   acme.Kind // -1: done
	}{
		{"owner", owner, acme.Key{}, ca.Unspecified, -1},
		{"owner, key compromise", owner, acme.Key{}, ca.KeyCompromise, -1},
		{"owner, hold", owner, acme.Key{}, ca.CertificateHold, acme.BadRevocationReason},
		{"owner, unused reason", owner, acme.Key{}, 7, acme.BadRevocationReason},
		{"owner, negative reason", owner, acme.Key{}, -1, acme.BadRevocationReason},
		{"holder of all names", holder, acme.Key{}, ca.CessationOfOperation, -1},
		{"holder of all names, key compromise", holder, acme.Key{}, ca.KeyCompromise, acme.BadRevocationReason},
		{"holder of some names", partial, acme.Key{}, ca.Unspecified, acme.Unauthorized},
		{"stranger", stranger, acme.Key{}, ca.Unspecified, acme.Unauthorized},
		{"another key", acme.Caller{}, keyed(newKey(t)), ca.KeyCompromise, acme.Unauthorized},
		{"no key", acme.Caller{}, acme.Key{}, ca.KeyCompromise, acme.Unauthorized},
		{"certificate's key", acme.Caller{}, keyed(certKey), ca.KeyCompromise, -1}, // the last: it blocks the key
	} {
		cert := w.obtain(owner, certKey, "a.example", "b.example")
		err := w.RevokeCertificate(t.Context(), c.caller, c.key, cert.Raw, c.reason)
		if c.want == -1 {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		} else if p := acme.AsProblem(err); p == nil || p.Kind != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	cert := w.obtain(owner, newKey(t), "a.example")
	flipped := append([]byte(nil), cert.Raw...)
	flipped[len(flipped)-1] ^= 1
	err := w.RevokeCertificate(t.Context(), owner, acme.Key{}, flipped, ca.Unspecified)
	if p := acme.AsProblem(err); p == nil || p.HTTPStatus() != 404 {
		t.Errorf("a certificate with a flipped bit: %v", err)
	}
	if err := w.RevokeCertificate(t.Context(), owner, acme.Key{}, []byte("garbage"), ca.Unspecified); acme.AsProblem(err) == nil {
		t.Errorf("garbage: %v", err)
	}
	w.advance(91 * 24 * time.Hour)
	wantKind(t, w.RevokeCertificate(t.Context(), owner, acme.Key{}, cert.Raw, ca.Unspecified), acme.Unauthorized)
}

func TestExternalAccountBinding(t *testing.T) {
	w := newWorld(t)
	w.Settings.ExternalAccount = acme.BindingRequired
	by := ca.Actor{Kind: ca.ActorOperator, ID: "test"}
	once, secret, err := w.CreateExternalKey(t.Context(), by, acme.NewExternalKey{Label: "team"})
	must(t, err)
	bind := func(id, alg string, secret []byte, inner, outer acme.Key) error {
		input := []byte("protected.payload")
		_, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: outer, Binding: &acme.ExternalBinding{
			KeyID: id, Algorithm: alg, SigningInput: input, MAC: hmacSHA256(secret, input), Key: inner,
		}})
		return err
	}
	key := accountKey(t, newKey(t))
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: key})
	wantKind(t, err, acme.ExternalAccountRequired)
	wantKind(t, bind(once.ID, "HS256", []byte("wrong"), key, key), acme.Unauthorized)
	wantKind(t, bind("nobody", "HS256", make([]byte, 32), key, key), acme.Unauthorized)
	wantKind(t, bind(once.ID, "HS256", secret, accountKey(t, newKey(t)), key), acme.Unauthorized)
	wantKind(t, bind(once.ID, "RS256", secret, key, key), acme.Malformed)

	var won atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		k := accountKey(t, newKey(t))
		wg.Go(func() {
			if bind(once.ID, "HS256", secret, k, k) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("a single-use key bound %d accounts", won.Load())
	}

	many, secret, err := w.CreateExternalKey(t.Context(), by, acme.NewExternalKey{Reusable: true, Expires: w.now().Add(time.Hour)})
	must(t, err)
	for range 3 {
		k := accountKey(t, newKey(t))
		must(t, bind(many.ID, "HS256", secret, k, k))
	}
	w.advance(time.Hour)
	wantKind(t, bind(many.ID, "HS256", secret, key, key), acme.Unauthorized)
	revoked, secret, err := w.CreateExternalKey(t.Context(), by, acme.NewExternalKey{Reusable: true})
	must(t, err)
	must(t, w.RevokeExternalKey(t.Context(), by, revoked.ID))
	wantKind(t, bind(revoked.ID, "HS256", secret, key, key), acme.Unauthorized)
}

func TestAccounts(t *testing.T) {
	w := newWorld(t)
	w.Settings.Terms = "https://ca.example/terms"
	key := accountKey(t, newKey(t))
	_, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: key, OnlyReturnExisting: true})
	wantKind(t, err, acme.AccountDoesNotExist)
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: key})
	wantKind(t, err, acme.UserActionRequired)
	var ids sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			a, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: key, TermsAgreed: true})
			if err != nil {
				t.Error(err)
				return
			}
			ids.Store(a.ID, a)
		})
	}
	wg.Wait()
	var c acme.Caller
	count := 0
	ids.Range(func(_, a any) bool { c.Account = a.(*acme.Account); count++; return true })
	if count != 1 {
		t.Fatalf("%d accounts for one key", count)
	}
	contact := []string{"mailto:a@b.example"}
	a, err := w.UpdateAccount(t.Context(), c, acme.AccountChange{Contact: &contact})
	must(t, err)
	if len(a.Contact) != 1 {
		t.Errorf("contact %v", a.Contact)
	}
	other := w.registerAgreed()
	if _, err = w.ChangeKey(t.Context(), c, other.Account.Key); acme.AsProblem(err) == nil || acme.AsProblem(err).Location != other.Account.ID || acme.AsProblem(err).HTTPStatus() != 409 {
		t.Errorf("a key in use: %v", err)
	}
	_, err = w.ChangeKey(t.Context(), c, key)
	wantKind(t, err, acme.Malformed)
	newer := accountKey(t, newKey(t))
	changed, err := w.ChangeKey(t.Context(), c, newer)
	must(t, err)
	if _, err = w.ChangeKey(t.Context(), c, accountKey(t, newKey(t))); err == nil {
		t.Error("a key change from a key that is not the account's any more")
	}
	c.Account = changed
	got, created, err := w.NewAccount(t.Context(), acme.NewAccount{Key: newer, OnlyReturnExisting: true})
	if err != nil || created || got.ID != a.ID {
		t.Errorf("by its new key: %v %v", got, err)
	}
	a, err = w.UpdateAccount(t.Context(), c, acme.AccountChange{Deactivate: true})
	must(t, err)
	wantKind(t, a.Usable(), acme.Unauthorized)
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: newer, TermsAgreed: true})
	wantKind(t, err, acme.Unauthorized)
}

func (w *world) registerAgreed() acme.Caller {
	w.t.Helper()
	a, _, err := w.NewAccount(w.t.Context(), acme.NewAccount{Key: accountKey(w.t, newKey(w.t)), TermsAgreed: true})
	must(w.t, err)
	return acme.Caller{Account: a}
}

func hmacSHA256(secret, input []byte) []byte {
	// written out, so that the test does not compute with the code under test
	const block = 64
	if len(secret) > block {
		sum := sha256.Sum256(secret)
		secret = sum[:]
	}
	inner, outer := make([]byte, block), make([]byte, block)
	copy(inner, secret)
	copy(outer, secret)
	for i := range block {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	sum := sha256.Sum256(append(inner, input...))
	mac := sha256.Sum256(append(outer, sum[:]...))
	return mac[:]
}
