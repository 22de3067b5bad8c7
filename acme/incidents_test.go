package acme_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// Public incidents of other CAs whose defence is the engine's; docs/safety.md
// has them all.

// TestIncident_I05: a proof was a signature, and was checked under whatever
// key was on file. Here it is the text of the account key's thumbprint: after
// a key change the old key's is no proof any more, and another key for which
// an old signature verifies too has another thumbprint.
func TestIncident_I05(t *testing.T) {
	w := newWorld(t)
	var seen []acme.Attempt
	w.proving(func(_ context.Context, a acme.Attempt) *acme.Problem {
		seen = append(seen, a)
		return nil
	})
	c := w.register()
	o := w.order(c, "a.example", "b.example")
	oldPrint := c.Account.Key.Thumbprint()
	_, err := w.Respond(t.Context(), c, o.Authorizations[0].ID, acme.HTTP01)
	must(t, err)
	stale := c
	newer := accountKey(t, newKey(t))
	changed, err := w.ChangeKey(t.Context(), c, newer)
	must(t, err)
	c.Account = changed
	// Even a request that was authenticated just before the change is held
	// against the key that the account has now.
	_, err = w.Respond(t.Context(), stale, o.Authorizations[1].ID, acme.HTTP01)
	must(t, err)
	if len(seen) != 2 || seen[0].KeyAuthorization != seen[0].Token+"."+oldPrint || seen[1].KeyAuthorization != seen[1].Token+"."+newer.Thumbprint() {
		t.Errorf("wanted were %+v", seen)
	}
	duplicateSignature(t)
}

// duplicateSignature makes, for a signature by one RSA key, another key under
// which it verifies too (e = 1 mod the order, so any message's does), and shows
// that it is no account key, or one with another thumbprint.
func duplicateSignature(t *testing.T) {
	t.Helper()
	honest, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	digest := make([]byte, 32)
	signature, err := rsa.SignPKCS1v15(rand.Reader, honest, crypto.SHA256, digest)
	must(t, err)
	// With e = 1, n = signature - padded digest makes signature^e = padded
	// digest mod n: the cheapest key of this kind.
	padded := new(big.Int).Exp(new(big.Int).SetBytes(signature), big.NewInt(int64(honest.E)), honest.N)
	n := new(big.Int).Abs(new(big.Int).Sub(new(big.Int).SetBytes(signature), padded))
	jwk := func(n *big.Int, e byte) []byte {
		b64 := base64.RawURLEncoding.EncodeToString
		return fmt.Appendf(nil, `{"e":%q,"kty":"RSA","n":%q}`, b64([]byte{e}), b64(n.Bytes()))
	}
	if _, err := acme.ParseKey(jwk(n, 1)); acme.AsProblem(err) == nil || acme.AsProblem(err).Kind != acme.BadPublicKey {
		t.Errorf("a key with exponent 1: %v", err)
	}
	// Another exponent: whether or not it would be refused, it is another key.
	a, err := acme.RestoreKey(string(jwk(honest.N, 3)))
	must(t, err)
	b, err := acme.RestoreKey(string(jwk(honest.N, 17)))
	must(t, err)
	if a.Thumbprint() == b.Thumbprint() || a.SPKI() == b.SPKI() {
		t.Error("two keys, one thumbprint")
	}
}

// TestIncident_I08: a validation authorized another name than the one that
// was asked for. After any sequence of orders and verdicts, an account is
// authorized for exactly names that it asked for and proved.
func TestIncident_I08(t *testing.T) {
	w := newWorld(t)
	random := mathrand.New(mathrand.NewPCG(8, 8))
	var universe []string
	for _, base := range []string{"example", "a.example", "www.a.example", "mail.a.example", "b.example", "www.b.example", "aa.example"} {
		universe = append(universe, base, "*."+base)
	}
	w.proving(func(_ context.Context, a acme.Attempt) *acme.Problem {
		if strings.HasPrefix(a.Identifier.Value(), "mail.") {
			return acme.Problemf(acme.Unauthorized, "no")
		}
		return nil
	})
	callers := []acme.Caller{w.register(), w.register(), w.register()}
	proved := map[string]map[string]bool{}
	for _, c := range callers {
		proved[c.Account.ID] = map[string]bool{}
	}
	for range 60 {
		c := callers[random.IntN(len(callers)-1)] // the last never asks for anything
		want := universe[random.IntN(len(universe))]
		if strings.TrimPrefix(want, "*.") == "example" {
			continue
		}
		o := w.order(c, want)
		if random.IntN(3) > 0 {
			w.fulfil(c, o)
		}
		o, err := w.Order(t.Context(), c, o.ID)
		must(t, err)
		if o.Authorizations[0].StatusAt(w.now()) == acme.StatusValid {
			proved[c.Account.ID][want] = true
		}
	}
	total := 0
	for _, c := range callers {
		for _, name := range universe {
			ok, err := w.db.Authorized(t.Context(), c.Account.ID, names(t, name), w.now())
			must(t, err)
			if ok != proved[c.Account.ID][name] {
				t.Errorf("account %s and %s: authorized %t", c.Account.ID, name, ok)
			}
			if ok {
				total++
			}
		}
	}
	if total < 5 {
		t.Errorf("only %d names were proved", total)
	}
}

// TestIncident_I29: requests in parallel made one challenge be validated
// several times, with several outcomes.
func TestIncident_I29(t *testing.T) {
	w := newWorld(t)
	w.proving(func(context.Context, acme.Attempt) *acme.Problem {
		time.Sleep(20 * time.Millisecond)
		return acme.Problemf(acme.Unauthorized, "no")
	})
	c := w.register()
	o := w.order(c, "a.example")
	a := o.Authorizations[0]
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			got, err := w.Respond(t.Context(), c, a.ID, a.Types[i%3])
			if err != nil || got.ID != a.ID {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return nil })
	for _, typ := range a.Types { // a second try can't turn the verdict
		got, err := w.Respond(t.Context(), c, a.ID, typ)
		must(t, err)
		if got.StatusAt(w.now()) != acme.StatusInvalid {
			t.Errorf("after its verdict it is %s", got.StatusAt(w.now()))
		}
	}
	if n := w.asked.Load(); n != 1 {
		t.Errorf("%d validations", n)
	}
}

// TestIncident_I30: that an order must be ready was checked in the front end
// only. The engine and the store refuse each event in each state but the one
// it belongs to, and a refused event changes nothing.
func TestIncident_I30(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	orders := w.ordersInEachState(c)
	csr := csrFor(t, newKey(t), "a.example")
	for status, id := range orders {
		before, err := w.db.Order(t.Context(), id)
		must(t, err)
		if got := before.StatusAt(w.now()); got != status {
			t.Fatalf("an order is %s, not %s", got, status)
		}
		if status == acme.StatusReady {
			continue
		}
		_, err = w.Finalize(t.Context(), c, id, csr)
		wantKind(t, err, acme.OrderNotReady)
		if err := w.db.BeginFinalize(t.Context(), ca.System("test"), w.now(), id, csr, w.now().Add(time.Minute)); err == nil {
			t.Errorf("the store let an order that is %s be finalized", status)
		}
		if status != acme.StatusProcessing {
			if err := w.db.FailOrder(t.Context(), ca.System("test"), w.now(), id, acme.Problemf(acme.CAA, "x")); err == nil {
				t.Errorf("the store let an order that is %s be failed", status)
			}
		}
		after, err := w.db.Order(t.Context(), id)
		must(t, err)
		if after.StatusAt(w.now()) != status || after.Certificate != before.Certificate {
			t.Errorf("an order that was %s is %s", status, after.StatusAt(w.now()))
		}
	}
	w.illegalEventsOfAuthorizations(c)
}

func (w *world) ordersInEachState(c acme.Caller) map[acme.Status]string {
	w.t.Helper()
	out := map[acme.Status]string{}
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return acme.Problemf(acme.DNS, "no") })
	o := w.order(c, "bad.example")
	w.fulfil(c, o)
	out[acme.StatusInvalid] = o.ID
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return nil })
	out[acme.StatusPending] = w.order(c, "pending.example").ID
	o = w.order(c, "a.example")
	w.fulfil(c, o)
	out[acme.StatusReady] = o.ID
	o = w.order(c, "a.example")
	_, err := w.Finalize(w.t.Context(), c, o.ID, csrFor(w.t, newKey(w.t), "a.example"))
	must(w.t, err)
	out[acme.StatusValid] = o.ID
	o = w.order(c, "a.example")
	must(w.t, w.db.BeginFinalize(w.t.Context(), ca.System("test"), w.now(), o.ID, csrFor(w.t, newKey(w.t), "a.example"), w.now().Add(time.Hour)))
	out[acme.StatusProcessing] = o.ID
	return out
}

func (w *world) illegalEventsOfAuthorizations(c acme.Caller) {
	w.t.Helper()
	t := w.t
	states := map[acme.Status]*acme.Authorization{}
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return acme.Problemf(acme.DNS, "no") })
	o := w.order(c, "x1.example")
	w.fulfil(c, o)
	states[acme.StatusInvalid] = o.Authorizations[0]
	w.proving(func(context.Context, acme.Attempt) *acme.Problem { return nil })
	o = w.order(c, "x2.example")
	w.fulfil(c, o)
	states[acme.StatusValid] = o.Authorizations[0]
	o = w.order(c, "x3.example")
	_, err := w.DeactivateAuthorization(t.Context(), c, o.Authorizations[0].ID)
	must(t, err)
	states[acme.StatusDeactivated] = o.Authorizations[0]
	asked := w.asked.Load()
	for status, a := range states {
		got, err := w.Respond(t.Context(), c, a.ID, acme.HTTP01)
		must(t, err)
		if got.StatusAt(w.now()) != status {
			t.Errorf("answering the challenge of one that was %s made it %s", status, got.StatusAt(w.now()))
		}
		if err := w.db.BeginValidation(t.Context(), ca.System("test"), w.now(), a.ID, acme.HTTP01, w.now().Add(time.Minute)); err == nil {
			t.Errorf("the store began the validation of one that is %s", status)
		}
		if err := w.db.CompleteValidation(t.Context(), ca.System("test"), w.now(), a.ID, acme.Verdict{Evidence: []byte("{}"), ExpiresAt: w.now().Add(time.Hour)}); err == nil {
			t.Errorf("the store took a verdict for one that is %s", status)
		}
		if status != acme.StatusValid {
			_, err = w.DeactivateAuthorization(t.Context(), c, a.ID)
			wantKind(t, err, acme.Malformed)
		}
	}
	// A verdict without an attempt, and an attempt at what was not offered.
	o = w.order(c, "x4.example", "*.x5.example")
	for _, a := range o.Authorizations {
		if err := w.db.CompleteValidation(t.Context(), ca.System("test"), w.now(), a.ID, acme.Verdict{Evidence: []byte("{}"), ExpiresAt: w.now().Add(time.Hour)}); err == nil {
			t.Error("a verdict without an attempt")
		}
	}
	if _, err := w.Respond(t.Context(), c, o.Authorizations[1].ID, acme.HTTP01); err == nil {
		t.Error("http-01 for a wildcard was begun")
	}
	if n := w.asked.Load(); n != asked {
		t.Errorf("%d validations for illegal events", n-asked)
	}
}

// TestIncident_I32: a token that was a path. Those made here are 43 characters
// of base64url, whatever the seed.
func TestIncident_I32(t *testing.T) {
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	seen := map[string]bool{}
	for range 2000 {
		a := acme.Authorization{}
		_, _ = rand.Read(a.Seed[:])
		for _, typ := range []acme.ChallengeType{acme.HTTP01, acme.DNS01, acme.TLSALPN01} {
			token := a.Token(typ)
			if !form.MatchString(token) || seen[token] {
				t.Fatalf("token %q (again: %t)", token, seen[token])
			}
			seen[token] = true
		}
	}
}

// TestIncident_I63: what was authorized was not what was acted upon. Each verb
// that changes something, by one account on each object of another.
func TestIncident_I63(t *testing.T) {
	w := newWorld(t)
	mine, other := w.register(), w.register()
	ready := w.order(mine, "a.example")
	w.fulfil(mine, ready)
	pending := w.order(mine, "b.example")
	certKey, foreignKey := newKey(t), newKey(t)
	cert := w.obtain(mine, certKey, "a.example")
	w.obtain(other, foreignKey, "c.example")
	serial, _ := ca.SerialFromBig(cert.SerialNumber)
	stored, err := w.db.Certificate(t.Context(), serial)
	must(t, err)
	certID, err := w.Issuer.(*ca.Authority).CertID(stored)
	must(t, err)
	before := w.asked.Load()
	for what, act := range map[string]func() error{
		"finalize": func() error {
			_, err := w.Finalize(t.Context(), other, ready.ID, csrFor(t, newKey(t), "a.example"))
			return err
		},
		"respond": func() error {
			_, err := w.Respond(t.Context(), other, pending.Authorizations[0].ID, acme.HTTP01)
			return err
		},
		"deactivate": func() error {
			_, err := w.DeactivateAuthorization(t.Context(), other, ready.Authorizations[0].ID)
			return err
		},
		"replace": func() error {
			_, err := w.NewOrder(t.Context(), other, acme.NewOrder{Identifiers: names(t, "a.example"), Replaces: certID})
			return err
		},
		"revoke by account": func() error { return w.RevokeCertificate(t.Context(), other, acme.Key{}, cert.Raw, ca.Unspecified) },
		"revoke by the key of another certificate": func() error {
			return w.RevokeCertificate(t.Context(), acme.Caller{}, accountKey(t, foreignKey), cert.Raw, ca.KeyCompromise)
		},
	} {
		if p := acme.AsProblem(act()); p == nil || p.HTTPStatus() < 400 || p.HTTPStatus() >= 500 {
			t.Errorf("%s: %v", what, p)
		}
	}
	if w.asked.Load() != before {
		t.Error("a foreign challenge was validated")
	}
	stored, err = w.db.Certificate(t.Context(), serial)
	must(t, err)
	o, err := w.Order(t.Context(), mine, ready.ID)
	must(t, err)
	if stored.Revocation != nil || o.StatusAt(w.now()) != acme.StatusReady {
		t.Errorf("revocation %v, order %s", stored.Revocation, o.StatusAt(w.now()))
	}
}

// TestIncident_I99: a mail tool leaked subscribers' addresses. Contacts are
// kept only when the client gives them, go when it takes them back, and stand
// nowhere else: not in the audit log, not in another account's answers.
func TestIncident_I99(t *testing.T) {
	w := newWorld(t)
	const address = "leak-me@subscriber.example"
	a, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, newKey(t)), Contact: []string{"mailto:" + address}})
	must(t, err)
	c := acme.Caller{Account: a, Addr: "192.0.2.1"}
	w.obtain(c, newKey(t), "a.example")
	plain := w.register()
	if stored, err := w.db.Account(t.Context(), plain.Account.ID); err != nil || len(stored.Contact) != 0 {
		t.Errorf("contacts of an account that gave none: %v, %v", stored.Contact, err)
	}
	none := []string{}
	_, err = w.UpdateAccount(t.Context(), c, acme.AccountChange{Contact: &none})
	must(t, err)
	if stored, err := w.db.Account(t.Context(), a.ID); err != nil || len(stored.Contact) != 0 {
		t.Errorf("contacts that were taken back: %v, %v", stored.Contact, err)
	}
	events, err := w.db.Events(t.Context(), ca.EventSearch{Limit: ca.MaxSearch})
	must(t, err)
	text, err := json.Marshal(events)
	must(t, err)
	if len(events) < 5 || strings.Contains(string(text), "subscriber") {
		t.Errorf("%d audit events: %s", len(events), text)
	}
	bad := []string{"mailto:" + address + "?subject=x"}
	_, err = w.UpdateAccount(t.Context(), plain, acme.AccountChange{Contact: &bad})
	if p := acme.AsProblem(err); p == nil || !slices.Contains([]acme.Kind{acme.InvalidContact}, p.Kind) {
		t.Errorf("a contact with header fields: %v", err)
	}
}
