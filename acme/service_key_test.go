package acme_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// blocking lets the signing core of a world know the store's blocked keys, as
// package app does.
func (w *world) blocking() *world {
	authority, ok := w.Issuer.(*ca.Authority)
	if !ok {
		w.t.Fatal("another issuer")
	}
	authority.BlockedKeys = func(ctx context.Context, spki [32]byte) (bool, error) {
		_, err := w.db.BlockedKey(ctx, spki)
		if errors.Is(err, ca.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	return w
}

func (w *world) reasonOf(serial ca.Serial) ca.Reason {
	w.t.Helper()
	c, err := w.db.Certificate(w.t.Context(), serial)
	must(w.t, err)
	if c.Revocation == nil {
		return -1
	}
	return c.Revocation.Reason
}

func serialOf(t *testing.T, n interface{ FillBytes([]byte) []byte }) (s ca.Serial) {
	t.Helper()
	n.FillBytes(s[:])
	return s
}

// TestIncident_I44: a key that is shown to be compromised takes every live
// certificate with it at once, is never certified again, and is no account's.
func TestIncident_I44(t *testing.T) {
	w := newWorld(t).blocking()
	key, other := newKey(t), newKey(t)
	a, b := w.register(), w.register()
	first, second, third := w.obtain(a, key, "a.example"), w.obtain(a, key, "b.example"), w.obtain(b, key, "c.example")
	bystander := w.obtain(b, other, "d.example")
	must(t, w.RevokeCertificate(t.Context(), a, acme.Key{}, second.Raw, ca.Superseded))
	told := map[ca.Serial]bool{}
	w.Hooks.Revoked = func(c *ca.Certificate, _ ca.Reason) { told[c.Serial] = true }

	must(t, w.RevokeCertificate(t.Context(), acme.Caller{}, accountKey(t, key), first.Raw, ca.KeyCompromise))
	for i, c := range []*struct{ serial ca.Serial }{{serialOf(t, first.SerialNumber)}, {serialOf(t, second.SerialNumber)}, {serialOf(t, third.SerialNumber)}} {
		if got := w.reasonOf(c.serial); got != ca.KeyCompromise {
			t.Errorf("certificate %d: reason %d", i, got)
		}
		if !told[c.serial] {
			t.Errorf("certificate %d: nobody was told, so that no CRL is made", i)
		}
	}
	if got := w.reasonOf(serialOf(t, bystander.SerialNumber)); got != -1 {
		t.Errorf("a certificate with another key: reason %d", got)
	}
	events, err := w.db.Events(t.Context(), ca.EventSearch{Action: "key.block", Limit: 10})
	must(t, err)
	if len(events) != 1 || events[0].By.Kind != ca.ActorCertificateKey {
		t.Errorf("audit: %+v", events)
	}

	// The CSR, the account, the key change: each refuses it (rows 54, 107, 146).
	o := w.order(b, "c.example")
	w.fulfil(b, o)
	_, err = w.Finalize(t.Context(), b, o.ID, csrFor(t, key, "c.example"))
	wantKind(t, err, acme.BadCSR)
	if o, err = w.Order(t.Context(), b, o.ID); err != nil || o.StatusAt(w.now()) != acme.StatusReady {
		t.Errorf("the order is %s, %v", o.StatusAt(w.now()), err)
	}
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, key)})
	wantKind(t, err, acme.BadPublicKey)
	_, err = w.ChangeKey(t.Context(), b, accountKey(t, key))
	wantKind(t, err, acme.BadPublicKey)

	// The same proof again changes nothing, and says so.
	err = w.RevokeCertificate(t.Context(), acme.Caller{}, accountKey(t, key), third.Raw, ca.KeyCompromise)
	wantKind(t, err, acme.AlreadyRevoked)
	err = w.RevokeCertificate(t.Context(), acme.Caller{}, accountKey(t, key), third.Raw, ca.Superseded)
	wantKind(t, err, acme.AlreadyRevoked)
}

// TestBlockedByOperator: an operator's block does the same, also to the
// account that has the key, and can be taken back; what was proven can't.
func TestBlockedByOperator(t *testing.T) {
	w := newWorld(t).blocking()
	by := ca.Actor{Kind: ca.ActorOperator, ID: "token"}
	c, key, mine := w.register(), newKey(t), newKey(t)
	cert := w.obtain(c, key, "a.example")
	spki := accountKey(t, key).SPKI()
	n, err := w.BlockKey(t.Context(), by, spki, "found in a repository")
	must(t, err)
	if n != 1 || w.reasonOf(serialOf(t, cert.SerialNumber)) != ca.KeyCompromise {
		t.Errorf("%d certificates were revoked", n)
	}
	must(t, w.UnblockKey(t.Context(), by, spki))
	w.obtain(c, key, "a.example")
	if err := w.UnblockKey(t.Context(), by, spki); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("unblocked twice: %v", err)
	}
	cert = w.obtain(c, key, "a.example")
	must(t, w.RevokeCertificate(t.Context(), acme.Caller{}, accountKey(t, key), cert.Raw, ca.KeyCompromise))
	wantKind(t, w.UnblockKey(t.Context(), by, spki), acme.Malformed)

	a, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, mine)})
	must(t, err)
	_, err = w.BlockKey(t.Context(), by, a.Key.SPKI(), "")
	must(t, err)
	if a, err = w.Authenticate(t.Context(), a.ID); err != nil || a.Usable() == nil {
		t.Errorf("the account is %s, %v", a.Status(), err)
	}
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, mine)})
	wantKind(t, err, acme.Unauthorized)
}

// TestIncident_I46: who may give which reason, all pairs. Control of names
// proves nothing about a key, so it revokes no certificate as compromised, and
// nothing but the key itself blocks the key.
func TestIncident_I46(t *testing.T) {
	w := newWorld(t).blocking()
	owner, holder, some, stranger := w.register(), w.register(), w.register(), w.register()
	w.obtain(holder, newKey(t), "a.example", "b.example")
	w.obtain(some, newKey(t), "a.example")
	good := map[ca.Reason]bool{0: true, 1: true, 3: true, 4: true, 5: true} // BR 7.2.2; 9 is the CA's own to give
	const done = acme.Kind(-1)
	pairs := 0
	for _, who := range []struct {
		name     string
		caller   acme.Caller
		own      bool // the certificate's key signs
		compared map[ca.Reason]acme.Kind
		denied   bool
	}{
		{name: "the account that ordered", caller: owner},
		{name: "an account with all names", caller: holder, compared: map[ca.Reason]acme.Kind{ca.KeyCompromise: acme.BadRevocationReason}},
		{name: "the certificate's key", own: true},
		{name: "an account with some names", caller: some, denied: true},
		{name: "an account without names", caller: stranger, denied: true},
		{name: "another key", denied: true},
	} {
		for reason := ca.Reason(-2); reason <= 12; reason++ {
			pairs++
			key := newKey(t)
			cert := w.obtain(owner, key, "a.example", "b.example")
			sibling := w.obtain(owner, key, "a.example")
			var signer acme.Key
			if who.own {
				signer = accountKey(t, key)
			} else if who.caller.Account == nil {
				signer = accountKey(t, newKey(t))
			}
			want := done
			if !good[reason] {
				want = acme.BadRevocationReason
			}
			if k, ok := who.compared[reason]; ok {
				want = k
			}
			if who.denied {
				want = acme.Unauthorized
			}
			err := w.RevokeCertificate(t.Context(), who.caller, signer, cert.Raw, reason)
			what := fmt.Sprintf("%s, reason %d", who.name, reason)
			if want == done {
				if err != nil || w.reasonOf(serialOf(t, cert.SerialNumber)) != reason {
					t.Errorf("%s: %v", what, err)
				}
			} else {
				if p := acme.AsProblem(err); p == nil || p.Kind != want {
					t.Errorf("%s: %v, want %v", what, err, want)
				}
				if got := w.reasonOf(serialOf(t, cert.SerialNumber)); got != -1 {
					t.Errorf("%s: refused, and revoked with reason %d", what, got)
				}
			}
			_, err = w.db.BlockedKey(t.Context(), accountKey(t, key).SPKI())
			siblingGone := w.reasonOf(serialOf(t, sibling.SerialNumber)) != -1
			if proven := who.own && reason == ca.KeyCompromise; (err == nil) != proven || siblingGone != proven {
				t.Errorf("%s: key blocked: %v, other certificate revoked: %v", what, err == nil, siblingGone)
			}
		}
	}
	t.Logf("%d pairs", pairs)
}

// TestCompromiseIsOneChange: of a thousand equal requests one does it (row 203).
func TestCompromiseIsOneChange(t *testing.T) {
	w := newWorld(t).blocking()
	key := newKey(t)
	cert := w.obtain(w.register(), key, "a.example")
	var wg sync.WaitGroup
	results := make(chan error, 1000)
	for range cap(results) {
		wg.Go(func() {
			results <- w.RevokeCertificate(context.Background(), acme.Caller{}, accountKey(t, key), cert.Raw, ca.KeyCompromise)
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		if err == nil {
			won++
		} else if p := acme.AsProblem(err); p == nil || p.Kind != acme.AlreadyRevoked {
			t.Errorf("got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d requests were the first", won)
	}
	for _, action := range []string{"key.block", "certificate.revoke"} {
		if events, err := w.db.Events(t.Context(), ca.EventSearch{Action: action, Limit: 10}); err != nil || len(events) != 1 {
			t.Errorf("%s: %d events, %v", action, len(events), err)
		}
	}
}

// TestBlockedKeysAreSweptUp: what a crash left between block and revocations,
// Run ends within a minute (I44: an hour).
func TestBlockedKeysAreSweptUp(t *testing.T) {
	w := newWorld(t).blocking()
	w.Settings.TakeOverEvery = time.Millisecond
	key := newKey(t)
	cert := w.obtain(w.register(), key, "a.example")
	// The certificate was expired by the clock that blocked its key, and is live
	// by the one that runs on: so the block revoked nothing.
	_, err := w.db.BlockKey(t.Context(), ca.System("test"), ca.BlockedKey{SPKI: accountKey(t, key).SPKI(), At: w.now().Add(1000 * 24 * time.Hour), Source: ca.BlockedAsCompromised})
	must(t, err)
	if w.reasonOf(serialOf(t, cert.SerialNumber)) != -1 {
		t.Fatal("it is revoked already")
	}
	run, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(run) })
	defer func() { end(); wg.Wait() }()
	eventually(t, func() bool { return w.reasonOf(serialOf(t, cert.SerialNumber)) == ca.KeyCompromise })
}

// TestAccountAndCertificateKeysAreApart: RFC 8555 section 11.1, in both
// directions (rows 107 and 143).
func TestAccountAndCertificateKeysAreApart(t *testing.T) {
	w := newWorld(t)
	c, certKey := w.register(), newKey(t)
	w.obtain(c, certKey, "a.example")
	_, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, certKey)})
	wantKind(t, err, acme.BadPublicKey)
	_, err = w.ChangeKey(t.Context(), c, accountKey(t, certKey))
	wantKind(t, err, acme.BadPublicKey)
	mine := newKey(t)
	_, _, err = w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, mine)})
	must(t, err)
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	_, err = w.Finalize(t.Context(), c, o.ID, csrFor(t, mine, "a.example"))
	wantKind(t, err, acme.BadCSR)
}

// brokenCheck is an issuer whose list of blocked keys can't be read.
type brokenCheck struct{ acme.Issuer }

func (brokenCheck) CheckAccountKey(context.Context, crypto.PublicKey) error {
	return errors.New("the store is away")
}

// TestUnknownIsNoPermission: a key that can't be looked up is not taken.
func TestUnknownIsNoPermission(t *testing.T) {
	w := newWorld(t)
	w.Issuer = brokenCheck{w.Issuer}
	_, _, err := w.NewAccount(t.Context(), acme.NewAccount{Key: accountKey(t, newKey(t))})
	wantKind(t, err, acme.ServerInternal)
}
