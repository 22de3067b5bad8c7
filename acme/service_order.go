package acme

import (
	"context"
	"errors"
	"slices"
	"time"

	"chancery/ca"
)

// NewOrder is a newOrder request (RFC 8555 section 7.4).
type NewOrder struct {
	Identifiers []ca.Identifier
	NotBefore   time.Time // zero: not asked for
	NotAfter    time.Time // zero: not asked for
	Profile     string    // empty: the default
	Replaces    string    // ARI certID (RFC 9773 section 5), empty: none
}

// reuseMargin is how much longer than the order's start an authorization must
// last to be reused: one that ends while the client makes its CSR is no help.
const reuseMargin = time.Hour

// NewOrder creates an order. Names that the account is authorized for already
// are not validated again.
func (s *Service) NewOrder(ctx context.Context, c Caller, r NewOrder) (*Order, error) {
	now := s.now()
	names, err := s.orderNames(r.Identifiers)
	if err != nil {
		return nil, err
	}
	profile, err := s.Issuer.Permit(r.Profile, names, r.NotBefore, r.NotAfter, now)
	if err != nil {
		return nil, s.refusal(ctx, "checking the order", err)
	}
	if err := s.checkReplaces(ctx, c, r.Replaces, names); err != nil {
		return nil, err
	}
	o := &Order{
		ID: newID(now), Account: c.Account.ID, Profile: profile, Identifiers: names,
		NotBefore: r.NotBefore, NotAfter: r.NotAfter, Replaces: r.Replaces,
		CreatedAt: now, ExpiresAt: now.Add(orDefault(s.Settings.OrderLife, defaultOrderLife)),
	}
	fresh, err := s.authorize(ctx, c, o, now)
	if err != nil {
		return nil, err
	}
	spend, err := s.orderSpend(ctx, c, o, fresh)
	if err != nil {
		return nil, err
	}
	switch err := s.Store.CreateOrder(ctx, c.actor(), now, o, fresh, spend...); {
	case err == nil:
		return o, nil
	case errors.Is(err, ErrAlreadyReplaced):
		return nil, Problemf(AlreadyReplaced, "Another order of this account replaces that certificate already.")
	default:
		return nil, s.limited(ctx, "storing the order", err)
	}
}

// orderNames checks how many names there are and drops repeated ones, which
// RFC 8555 neither allows nor forbids.
func (s *Service) orderNames(ids []ca.Identifier) ([]ca.Identifier, error) {
	most := orDefault(s.Settings.MaxIdentifiers, defaultMaxIdentifiers)
	switch {
	case len(ids) == 0:
		return nil, Problemf(Malformed, "The order has no identifiers; name at least one.")
	case len(ids) > most:
		return nil, Problemf(Malformed, "The order has %d identifiers; at most %d fit into one certificate.", len(ids), most)
	}
	names := make([]ca.Identifier, 0, len(ids))
	for _, id := range ids {
		if !slices.Contains(names, id) {
			names = append(names, id)
		}
	}
	return names, nil
}

// checkReplaces checks the certificate that an order says it replaces
// (RFC 9773 section 5): the same account, at least one name in common. That
// no other order replaces it is left to the store, inside its transaction.
func (s *Service) checkReplaces(ctx context.Context, c Caller, certID string, names []ca.Identifier) error {
	if certID == "" {
		return nil
	}
	old, err := s.Issuer.ByCertID(ctx, certID)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		return Problemf(Malformed, "No certificate was issued here that has the certID which replaces names.")
	case err != nil:
		return s.refusal(ctx, "looking up the replaced certificate", err)
	case old.Account != c.Account.ID:
		return Problemf(Unauthorized, "The certificate that replaces names belongs to another account.")
	}
	for _, n := range names {
		if slices.Contains(old.Names, n) {
			return nil
		}
	}
	return Problemf(Malformed, "The order and the certificate that replaces names have no identifier in common.")
}

// authorize fills the order's authorizations: valid ones that the account
// has, and fresh ones, which it also returns. The order ends with the first of
// the reused ones.
func (s *Service) authorize(ctx context.Context, c Caller, o *Order, now time.Time) (fresh []*Authorization, err error) {
	valid, err := s.Store.ValidAuthorizations(ctx, c.Account.ID, o.Identifiers, now.Add(reuseMargin))
	if err != nil {
		return nil, s.internal(ctx, "looking for valid authorizations", err)
	}
	valid = s.corroborated(valid)
	for _, name := range o.Identifiers {
		i := slices.IndexFunc(valid, func(a *Authorization) bool {
			return a.Identifier == name.Base() && a.Wildcard == name.IsWildcard()
		})
		if i >= 0 {
			o.Authorizations = append(o.Authorizations, valid[i])
			if valid[i].ExpiresAt.Before(o.ExpiresAt) {
				o.ExpiresAt = valid[i].ExpiresAt
			}
			continue
		}
		a := newAuthorization(c.Account.ID, name, now, now.Add(orDefault(s.Settings.OrderLife, defaultOrderLife)))
		o.Authorizations = append(o.Authorizations, a)
		fresh = append(fresh, a)
	}
	return fresh, nil
}

// Order returns one of the caller's orders.
func (s *Service) Order(ctx context.Context, c Caller, id string) (*Order, error) {
	if !ValidID(id) {
		return nil, notFound("order")
	}
	o, err := s.Store.Order(ctx, id)
	switch {
	case errors.Is(err, ca.ErrNotFound) || err == nil && o.Account != c.Account.ID:
		return nil, notFound("order")
	case err != nil:
		return nil, s.internal(ctx, "looking up the order", err)
	}
	return o, nil
}

// Orders lists the IDs of the caller's orders, oldest first, from the one
// behind the cursor (empty: the first). next is empty at the end.
func (s *Service) Orders(ctx context.Context, c Caller, cursor string, limit int) (ids []string, next string, err error) {
	if cursor != "" && !ValidID(cursor) {
		return nil, "", Problemf(Malformed, "The cursor of the orders list is not one that was given out here; begin at the account's orders URL.")
	}
	ids, err = s.Store.OrderIDs(ctx, c.Account.ID, cursor, s.now(), limit+1)
	if err != nil {
		return nil, "", s.internal(ctx, "listing the orders", err)
	}
	if len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	return ids, next, nil
}

// Finalize takes the CSR of a ready order and has the certificate issued
// (RFC 8555 section 7.4). It waits a moment for the certificate; the order it
// returns is valid, invalid or still processing. A CSR that can't be used
// leaves the order ready.
func (s *Service) Finalize(ctx context.Context, c Caller, id string, csrDER []byte) (*Order, error) {
	o, err := s.Order(ctx, c, id)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if status := o.StatusAt(now); status != StatusReady {
		return nil, notReady(status)
	}
	csr, err := ca.ParseCSR(csrDER)
	if err != nil {
		return nil, s.refusal(ctx, "reading the CSR", err)
	}
	switch _, err := s.Store.AccountByKey(ctx, csr.SPKIHash()); {
	case err == nil:
		return nil, Problemf(BadCSR, "The CSR has an account's key; a certificate needs a key of its own (RFC 8555 section 11.1).")
	case !errors.Is(err, ca.ErrNotFound):
		return nil, s.internal(ctx, "comparing the CSR's key with account keys", err)
	}
	o.CSR, o.BeganAt, o.LeaseUntil = csrDER, now, now.Add(s.issueTime()+leaseMargin)
	if err := s.Issuer.Check(issuanceOf(o, csr, c.actor(), now)); err != nil {
		return nil, s.refusal(ctx, "checking the CSR", err)
	}
	err = s.Store.BeginFinalize(ctx, c.actor(), now, o.ID, csrDER, o.LeaseUntil)
	if errors.Is(err, ca.ErrConflict) {
		return nil, notReady(StatusProcessing)
	}
	if err != nil {
		return nil, s.internal(ctx, "accepting the CSR", err)
	}
	begun := *o
	waitFor(ctx, s.startIssuance(ctx, &begun), orDefault(s.Settings.Wait, defaultWait))
	o, err = s.Order(ctx, c, o.ID)
	if err == nil && o.Error != nil && (o.Error.Kind == CAA || o.Error.Kind == DNS) {
		return nil, o.Error // the order is invalid, and says the same (SAFETY row 150)
	}
	return o, err
}

// issueTime bounds one issuance: CAA records may have to be looked at anew.
func (s *Service) issueTime() time.Duration { return s.validationTime() + signTime }

func notReady(status Status) *Problem {
	detail := map[Status]string{
		StatusPending:    "The order is pending: fulfil all its authorizations first.",
		StatusProcessing: "The order is processing: a CSR was accepted already; poll the order's URL.",
		StatusValid:      "The order is valid: its certificate was issued already, see the order's certificate URL.",
	}[status]
	return &Problem{Kind: OrderNotReady, Detail: orDefault(detail, "The order is "+string(status)+"; make a new one.")}
}

func issuanceOf(o *Order, csr *ca.CSR, by ca.Actor, now time.Time) *ca.Request {
	return &ca.Request{
		By: by, Order: o.ID, Account: o.Account, Profile: o.Profile, Names: o.Identifiers,
		CSR: csr, NotBefore: o.NotBefore, NotAfter: o.NotAfter, Now: now,
	}
}

// startIssuance has a begun order's certificate issued in the background. A
// refusal ends the order; any other error leaves it to whoever takes it over.
func (s *Service) startIssuance(ctx context.Context, o *Order) <-chan struct{} {
	return s.work.start(ctx, s.issueTime(), func(ctx context.Context) {
		began := time.Now()
		problem, err := s.issue(ctx, o)
		switch {
		case err != nil:
			s.log().ErrorContext(ctx, "issuance will be tried again", "order", o.ID, "error", err)
			s.issued(o.Profile, ServerInternal.String(), began)
		case problem != nil:
			s.issued(o.Profile, problem.Kind.String(), began)
		default:
			s.issued(o.Profile, "issued", began)
		}
	})
}

func (s *Service) issued(profile, outcome string, began time.Time) {
	if s.Hooks.Issued != nil {
		s.Hooks.Issued(profile, outcome, time.Since(began))
	}
}

// issue does one attempt at the certificate of a begun order. The problem is
// why the order was ended; an error may pass.
func (s *Service) issue(ctx context.Context, o *Order) (*Problem, error) {
	now := s.now()
	by := ca.Actor{Kind: ca.ActorAccount, ID: o.Account}
	err := s.prove(ctx, o, by)
	if err == nil {
		return nil, nil
	}
	problem := AsProblem(err)
	if problem == nil && now.After(o.ExpiresAt) {
		s.log().ErrorContext(ctx, "issuance is given up", "order", o.ID, "error", err)
		problem = Problemf(ServerInternal, "The certificate could not be issued before the order expired; make a new order.")
	}
	if problem == nil {
		return nil, err
	}
	if err := s.Store.FailOrder(ctx, by, now, o.ID, problem); err != nil && !errors.Is(err, ca.ErrConflict) {
		return nil, err
	}
	return problem, nil
}

// prove has a begun order's certificate issued on the evidence for its names.
func (s *Service) prove(ctx context.Context, o *Order, by ca.Actor) error {
	csr, err := ca.ParseCSR(o.CSR)
	if err != nil {
		return err
	}
	proof, err := s.proofOf(ctx, o)
	if err != nil {
		return err
	}
	r := issuanceOf(o, csr, by, s.now()) // looking at CAA records took its time
	r.Evidence = proof
	_, err = s.Issuer.Issue(ctx, r)
	return err
}

// refusal turns an error of package ca into the problem to answer with.
func (s *Service) refusal(ctx context.Context, doing string, err error) error {
	if p := AsProblem(err); p != nil {
		return p
	}
	return s.internal(ctx, doing, err)
}
