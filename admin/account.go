package admin

import (
	"net/http"
	"time"

	"chancery/acme"
)

// Account is an ACME account.
type Account struct {
	ID            string    `json:"id"`
	Status        string    `json:"status"` // valid, deactivated (by its holder) or revoked (by an operator)
	Contact       []string  `json:"contact"`
	Thumbprint    string    `json:"thumbprint"` // of its key, RFC 7638, base64url
	ExternalKey   string    `json:"external_key,omitempty"`
	CreatedAt     time.Time `json:"created_at"`
	TermsAgreedAt time.Time `json:"terms_agreed_at,omitzero"`
	DeactivatedAt time.Time `json:"deactivated_at,omitzero"`
	RevokedAt     time.Time `json:"revoked_at,omitzero"`
}

func showAccount(a *acme.Account) Account {
	out := Account{
		ID: a.ID, Status: string(a.Status()), Contact: append([]string{}, a.Contact...), Thumbprint: a.Key.Thumbprint(),
		ExternalKey: a.ExternalKeyID, CreatedAt: a.CreatedAt.UTC(),
		TermsAgreedAt: a.TermsAgreedAt.UTC(), DeactivatedAt: a.DeactivatedAt.UTC(), RevokedAt: a.RevokedAt.UTC(),
	}
	return out
}

func (a *Admin) accounts(r *request) (*reply, error) {
	q := &r.query
	s := acme.AccountSearch{
		Status:        acme.Status(q.oneOf("status", string(acme.StatusValid), string(acme.StatusDeactivated), string(acme.StatusRevoked))),
		ExternalKeyID: q.id("external_key"),
		After:         q.id("cursor"),
		Limit:         q.limit(),
	}
	if err := q.done(); err != nil {
		return nil, err
	}
	list, err := a.config.Store.Accounts(r.ctx, s)
	if err != nil {
		return nil, cursorGone(err, s.After)
	}
	return page(list, s.Limit, showAccount, func(a *acme.Account) string { return a.ID }), nil
}

func (a *Admin) account(r *request) (*reply, error) {
	if err := r.query.done(); err != nil {
		return nil, err
	}
	found, err := a.findAccount(r)
	if err != nil {
		return nil, err
	}
	return ok(showAccount(found)), nil
}

func (a *Admin) findAccount(r *request) (*acme.Account, error) {
	id := r.vars["id"]
	if !acme.ValidID(id) {
		return nil, problemf(http.StatusBadRequest, "%.40q is no ID.", id)
	}
	return a.config.Store.Account(r.ctx, id)
}

// deactivateAccount ends an account by the operator's word, which RFC 8555
// section 7.1.6 calls revoked.
func (a *Admin) deactivateAccount(r *request) (*reply, error) {
	if _, err := r.body(); err != nil {
		return nil, err
	}
	found, err := a.findAccount(r)
	if err != nil {
		return nil, err
	}
	if found.Status() != acme.StatusValid {
		return nil, problemf(http.StatusConflict, "The account is %s already.", found.Status())
	}
	if found, err = a.config.Engine.RevokeAccount(r.ctx, r.by, found.ID); err != nil {
		return nil, err
	}
	return ok(showAccount(found)), nil
}
