package ca

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Request is the wish for one certificate.
type Request struct {
	By        Actor
	Order     string // ACME order, empty for Chancery's own certificate
	Account   string
	Profile   string // empty: the default
	Names     []Identifier
	CSR       *CSR
	NotBefore time.Time // zero: now
	NotAfter  time.Time // zero: the profile's validity
	Now       time.Time

	// Evidence is why the names may be certified: one for each, and no others.
	// Issue asks for it; Check does not look at it.
	Evidence []NameEvidence
}

// Authority issues certificates and has them revoked. All fields are set
// before use and not changed afterwards; it is then safe for concurrent use.
type Authority struct {
	Issuers  []*Issuer           // at least one; the first is active, the others answer for what they issued
	Profiles map[string]*Profile // by name
	Default  string              // profile of requests that name none
	Ledger   Ledger

	Rules       *Rules    // nil: private-strict
	DeniedNames *NameList // names that no profile certifies; nil: none
	WeakKeys    *WeakKeys // keys that are known to be weak or compromised; nil: none

	Perspectives PerspectivePolicy // from how many a name must have been seen; zero: this CA alone

	// AccountKeys says whether the key with this SHA-256 of its SPKI is (or
	// was) an ACME account's: it must not be certified (RFC 8555 section
	// 11.1). nil: there are no accounts.
	AccountKeys func(ctx context.Context, spki [32]byte) (bool, error)
	// BlockedKeys says whether the key with this SHA-256 of its SPKI is blocked:
	// it was compromised, or an operator says so. nil: none is.
	BlockedKeys func(ctx context.Context, spki [32]byte) (bool, error)

	Random io.Reader // for serial numbers and signatures; nil: crypto/rand
}

const (
	// lookupTimeout bounds the look for an account's key in Check, whose
	// caller has no context to give.
	lookupTimeout = 5 * time.Second
	// serialTries: two serials are equal once in 2^80 for one millisecond. A
	// second collision means that the random source is broken.
	serialTries = 2
	// maxAge is how far in the past notBefore may lie when something is
	// signed: for orders that asked for a notBefore, and for what was reserved
	// before a crash (R25's strict value; BR 7.1.2.7 allows 48 hours).
	maxAge = time.Hour
)

// Permit says whether a profile (empty: the default) would certify these
// names for this validity at `now`, and returns the profile's name. The error
// is a *Refusal: InvalidProfile, BadValidity, or RejectedIdentifier with one
// part for each name.
func (a *Authority) Permit(profile string, names []Identifier, notBefore, notAfter, now time.Time) (string, error) {
	p, err := a.profile(profile)
	if err != nil {
		return "", err
	}
	if _, _, err := a.validity(p, span{notBefore, notAfter}, now, p.Backdate); err != nil {
		return "", err
	}
	return p.Name, a.promise(a.Issuers[0], p).permitNames(names)
}

func (a *Authority) profile(name string) (*Profile, error) {
	if name == "" {
		name = a.Default
	}
	if p := a.Profiles[name]; p != nil {
		return p, nil
	}
	var known []string
	for n := range a.Profiles {
		known = append(known, n)
	}
	slices.Sort(known)
	return nil, &Refusal{Code: InvalidProfile, Detail: fmt.Sprintf("there is no profile %s; there are %q", quote(name), known)}
}

// Check says whether Issue would accept the request: what Permit says, the
// names of the CSR against those of the request, and its key. Nothing is
// stored or signed. Besides *Refusal, an error of AccountKeys is possible.
func (a *Authority) Check(r *Request) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	_, err := a.accept(ctx, r)
	return err
}

// accepted is a request that passed its checks.
type accepted struct {
	request  *Request
	profile  *Profile
	from, to time.Time
}

func (a *Authority) accept(ctx context.Context, r *Request) (*accepted, error) {
	p, err := a.profile(r.Profile)
	if err != nil {
		return nil, err
	}
	if r.CSR == nil || r.Now.IsZero() {
		return nil, errors.New("issue: the request has no CSR or no instant")
	}
	if err := a.promise(a.Issuers[0], p).permit(r.own(), r.Names); err != nil {
		return nil, err
	}
	if err := sameNames(r.Names, r.CSR.names); err != nil {
		return nil, err
	}
	if err := p.checkKey(r.CSR); err != nil {
		return nil, err
	}
	if err := a.checkOwner(ctx, r.CSR); err != nil {
		return nil, err
	}
	if err := a.checkKnown(ctx, r.CSR.key, r.CSR.SPKIHash()); err != nil {
		return nil, keyOfCSR(err) // section 6.7: badCSR is for what stands in a CSR
	}
	grace := max(p.Backdate, maxAge) // the order that asked may be some minutes old by now
	from, to, err := a.validity(p, span{r.NotBefore, r.NotAfter}, r.Now, grace)
	if err != nil {
		return nil, err
	}
	return &accepted{r, p, from, to}, nil
}

// sameNames: the CSR must ask for exactly the order's names (RFC 8555 section 7.4).
func sameNames(order, csr []Identifier) error {
	for _, id := range order {
		if !slices.Contains(csr, id) {
			return &Refusal{Code: BadCSR, Detail: fmt.Sprintf("the CSR lacks %s, which the order has", id), Identifier: &id}
		}
	}
	for _, id := range csr {
		if !slices.Contains(order, id) {
			return &Refusal{Code: BadCSR, Detail: fmt.Sprintf("the CSR asks for %s, which the order does not have", id), Identifier: &id}
		}
	}
	return nil
}

// checkOwner refuses keys that are known to be somebody's for another purpose.
func (a *Authority) checkOwner(ctx context.Context, c *CSR) error {
	hash := c.SPKIHash()
	for _, issuer := range a.Issuers {
		for _, cert := range issuer.chain {
			if sha256.Sum256(cert.RawSubjectPublicKeyInfo) == hash {
				return badCSR("the CSR's key is a CA's")
			}
		}
	}
	if a.AccountKeys == nil {
		return nil
	}
	taken, err := a.AccountKeys(ctx, hash)
	if err != nil {
		return fmt.Errorf("issue: is the key an account's: %w", err)
	}
	if taken { // RFC 8555 section 11.1
		return badCSR("the CSR's key is an account's key; make another one for the certificate")
	}
	return nil
}

// Issue signs a certificate. See doc.go for its steps.
//
// It is idempotent by r.Order. If the order has its certificate already, that
// one is returned. If an earlier call reserved a serial and did not come
// further, Issue signs what was reserved then. That is safe although the
// earlier call may have signed the same octets: a signature leaves this
// package only once PutCertificate made it durable, of two signatures over
// one reservation PutCertificate keeps the first, and everybody gets that one.
//
// A *Refusal is final; after any other error the call may be made again.
func (a *Authority) Issue(ctx context.Context, r *Request) (*Certificate, error) {
	ok, err := a.accept(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := ok.profile.checkEvidence(r); err != nil {
		return nil, err
	}
	if err := a.checkPerspectives(ok.profile, r); err != nil {
		return nil, err
	}
	for range serialTries {
		t, err := a.prepare(ok)
		if err != nil {
			return nil, err
		}
		stored, err := a.Ledger.Reserve(ctx, r.By, t.certificate())
		switch {
		case errors.Is(err, ErrConflict):
			continue // with another serial
		case errors.Is(err, ErrBlockedKey): // since it was checked, a moment ago
			return nil, keyOfCSR(blockedKey())
		case err != nil:
			return nil, fmt.Errorf("issue: reserve: %w", err)
		case stored.Serial != t.cert.Serial:
			return a.resume(ctx, r, stored)
		}
		return a.finish(ctx, r.By, t)
	}
	return nil, fmt.Errorf("issue: %w: two new serial numbers were taken; check the random source", ErrConflict)
}

// resume ends what an earlier call for the same order began.
func (a *Authority) resume(ctx context.Context, r *Request, stored *Certificate) (*Certificate, error) {
	if r.Order == "" || stored.Order != r.Order {
		return nil, fmt.Errorf("issue: the store answered with serial %s of order %q for order %q", stored.Serial, stored.Order, r.Order)
	}
	if stored.DER != nil {
		return stored, nil
	}
	if stored.SPKI != r.CSR.SPKIHash() {
		return nil, badCSR("issuance for this order was begun with another key")
	}
	if stored.NotBefore.Before(r.Now.Add(-maxAge)) {
		return nil, &Refusal{Code: BadValidity, Detail: fmt.Sprintf(
			"issuance for this order was begun at %s and could not be ended in time; make a new order", stamp(stored.NotBefore))}
	}
	if stored.Revocation != nil {
		return nil, &Refusal{Code: BadValidity, Detail: "the serial number of this order was revoked before it was signed; make a new order"}
	}
	issuer := a.issuer(stored.Issuer)
	if issuer == nil {
		return nil, &Refusal{Code: BadValidity, Detail: "the issuer with which this order was begun is gone; make a new order"}
	}
	p, err := a.profile(stored.Profile)
	if err != nil {
		return nil, err
	}
	if err := sameNames(r.Names, stored.Names); err != nil {
		return nil, err
	}
	t, err := a.newTicket(issuer, p, *stored)
	if err != nil {
		return nil, err
	}
	return a.finish(ctx, r.By, t)
}

// finish signs what is reserved, and stores it before anybody sees it.
func (a *Authority) finish(ctx context.Context, by Actor, t *ticket) (*Certificate, error) {
	issued, err := t.sign(a.random())
	if err != nil {
		return nil, err
	}
	err = a.Ledger.PutCertificate(ctx, by, issued)
	if err == nil {
		return issued, nil
	}
	if !errors.Is(err, ErrConflict) {
		return nil, fmt.Errorf("issue: store: %w", err)
	}
	// Somebody else ended it at the same time. Theirs counts; ours is dropped.
	first, err := a.Ledger.Certificate(ctx, issued.Serial)
	if err != nil {
		return nil, fmt.Errorf("issue: read what another replica stored: %w", err)
	}
	if first.DER == nil {
		return nil, fmt.Errorf("issue: serial %s was put and is not there: %w", issued.Serial, ErrConflict)
	}
	return first, nil
}

func (a *Authority) random() io.Reader {
	if a.Random != nil {
		return a.Random
	}
	return rand.Reader
}

func (a *Authority) issuer(id string) *Issuer {
	for _, i := range a.Issuers {
		if i.id == id {
			return i
		}
	}
	return nil
}
