package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// Order is an order in a listing.
type Order struct {
	ID          string        `json:"id"`
	Account     string        `json:"account"`
	Status      string        `json:"status"`
	Names       []string      `json:"names"`
	Profile     string        `json:"profile"`
	CreatedAt   time.Time     `json:"created_at"`
	ExpiresAt   time.Time     `json:"expires_at"`
	FinalizedAt time.Time     `json:"finalized_at,omitzero"`
	Certificate string        `json:"certificate,omitempty"` // its serial
	Replaces    string        `json:"replaces,omitempty"`    // ARI certID, RFC 9773 section 5
	Error       *acme.Problem `json:"error,omitempty"`       // as the client saw it
}

// OrderDetail is one order with what was proven for it, and how.
type OrderDetail struct {
	Order
	NotBefore      time.Time       `json:"not_before,omitzero"` // as asked for
	NotAfter       time.Time       `json:"not_after,omitzero"`
	Authorizations []Authorization `json:"authorizations"`
}

// Authorization is an authorization with its evidence (invariant 5).
type Authorization struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	Wildcard    bool            `json:"wildcard"`
	Status      string          `json:"status"`
	CreatedAt   time.Time       `json:"created_at"`
	ExpiresAt   time.Time       `json:"expires_at"`
	Offered     []string        `json:"offered"`             // challenge types
	Attempted   string          `json:"attempted,omitempty"` // the one that the client answered
	AttemptedAt time.Time       `json:"attempted_at,omitzero"`
	ValidatedAt time.Time       `json:"validated_at,omitzero"`
	Error       *acme.Problem   `json:"error,omitempty"`
	Evidence    json.RawMessage `json:"evidence,omitempty"` // an acme.Evidence
}

func showOrder(o *acme.Order, now time.Time) Order {
	out := Order{
		ID: o.ID, Account: o.Account, Status: string(o.StatusAt(now)), Names: make([]string, len(o.Identifiers)), Profile: o.Profile,
		CreatedAt: o.CreatedAt.UTC(), ExpiresAt: o.ExpiresAt.UTC(), FinalizedAt: o.BeganAt.UTC(), Replaces: o.Replaces, Error: o.Error,
	}
	for i, n := range o.Identifiers {
		out.Names[i] = n.Value()
	}
	if o.Issued() {
		out.Certificate = o.Certificate.String()
	}
	return out
}

func showAuthorization(a *acme.Authorization, now time.Time) Authorization {
	out := Authorization{
		ID: a.ID, Name: a.Identifier.Value(), Wildcard: a.Wildcard, Status: string(a.StatusAt(now)),
		CreatedAt: a.CreatedAt.UTC(), ExpiresAt: a.ExpiresAt.UTC(), Offered: make([]string, len(a.Types)), Attempted: string(a.Attempt),
		AttemptedAt: a.AttemptedAt.UTC(), ValidatedAt: a.ValidatedAt.UTC(), Error: a.Error,
	}
	if a.Wildcard {
		out.Name = "*." + out.Name
	}
	for i, t := range a.Types {
		out.Offered[i] = string(t)
	}
	if json.Valid(a.Evidence) {
		out.Evidence = a.Evidence
	}
	return out
}

func (a *Admin) orders(r *request) (*reply, error) {
	q := &r.query
	s := acme.OrderSearch{Account: q.id("account"), After: q.id("cursor"), Limit: q.limit()}
	if err := q.done(); err != nil {
		return nil, err
	}
	list, err := a.config.Store.Orders(r.ctx, s)
	if err != nil {
		return nil, cursorGone(err, s.After)
	}
	return page(list, s.Limit,
		func(o *acme.Order) Order { return showOrder(o, r.now) },
		func(o *acme.Order) string { return o.ID }), nil
}

// cursorGone tells a cursor that names nothing (any more) from an object that
// was asked for.
func cursorGone(err error, cursor string) error {
	if cursor != "" && errors.Is(err, ca.ErrNotFound) {
		return problemf(http.StatusBadRequest, "The cursor names nothing; begin again without it.")
	}
	return err
}

func (a *Admin) order(r *request) (*reply, error) {
	if err := r.query.done(); err != nil {
		return nil, err
	}
	id := r.vars["id"]
	if !acme.ValidID(id) {
		return nil, problemf(http.StatusBadRequest, "%.40q is no ID.", id)
	}
	o, err := a.config.Store.Order(r.ctx, id)
	if err != nil {
		return nil, err
	}
	out := OrderDetail{
		Order: showOrder(o, r.now), NotBefore: o.NotBefore.UTC(), NotAfter: o.NotAfter.UTC(),
		Authorizations: make([]Authorization, len(o.Authorizations)),
	}
	for i, z := range o.Authorizations {
		out.Authorizations[i] = showAuthorization(z, r.now)
	}
	return ok(out), nil
}
