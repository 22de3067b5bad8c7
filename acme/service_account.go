package acme

import (
	"context"
	"errors"
	"net/mail"
	"strings"
	"time"

	"chancery/ca"
)

// NewAccount is a newAccount request whose signature by Key was verified
// (RFC 8555 section 7.3).
type NewAccount struct {
	Key                Key
	Contact            []string
	TermsAgreed        bool
	OnlyReturnExisting bool
	Binding            *ExternalBinding // nil when the client sent none
	Addr               string           // client's IP address
}

// NewAccount creates an account, or returns the one that has the key already;
// created says which.
func (s *Service) NewAccount(ctx context.Context, r NewAccount) (a *Account, created bool, err error) {
	now := s.now()
	switch a, err := s.Store.AccountByKey(ctx, r.Key.SPKI()); {
	case err == nil:
		return existing(a)
	case !errors.Is(err, ca.ErrNotFound):
		return nil, false, s.internal(ctx, "looking up the account", err)
	case r.OnlyReturnExisting:
		return nil, false, Problemf(AccountDoesNotExist, "No account has this key, and onlyReturnExisting asks not to create one.")
	}
	if err := s.checkAccountKey(ctx, r.Key); err != nil {
		return nil, false, err
	}
	if err := CheckContact(r.Contact); err != nil {
		return nil, false, err
	}
	a = &Account{ID: newID(now), Key: r.Key, Contact: r.Contact, CreatedAt: now}
	if s.Settings.Terms != "" && !r.TermsAgreed {
		return nil, false, &Problem{Kind: UserActionRequired, Instance: s.Settings.Terms, Detail: "The terms of service at " + s.Settings.Terms + " must be agreed to: send termsOfServiceAgreed true."}
	}
	if r.TermsAgreed {
		a.TermsAgreedAt = now
	}
	if a.ExternalKeyID, err = s.checkBinding(ctx, r, now); err != nil {
		return nil, false, err
	}
	err = s.Store.CreateAccount(ctx, ca.Actor{Kind: ca.ActorAccount, ID: a.ID, Addr: r.Addr}, now, a, s.accountSpend(a, r.Addr)...)
	var taken *KeyInUse
	switch {
	case err == nil:
		return a, true, nil
	case errors.As(err, &taken): // the same newAccount, a moment earlier
		if a, err = s.Store.Account(ctx, taken.Account); err != nil {
			return nil, false, s.internal(ctx, "looking up the account", err)
		}
		return existing(a)
	case errors.Is(err, ErrExternalKeyUsed):
		return nil, false, badBinding()
	}
	return nil, false, s.limited(ctx, "creating the account", err)
}

func existing(a *Account) (*Account, bool, error) {
	if a.Status() != StatusValid {
		return nil, false, inactive(a)
	}
	return a, false, nil
}

// inactive is the answer to every request of an account that is not valid any
// more (RFC 8555 section 7.3.6).
func inactive(a *Account) *Problem {
	return &Problem{Kind: Unauthorized, Status: 401, Detail: "This account is " + string(a.Status()) + "; register another one with a new key."}
}

// Authenticate finds the account that a request names as its signer. The
// caller verifies the signature with the account's key and then calls
// Account.Usable.
func (s *Service) Authenticate(ctx context.Context, id string) (*Account, error) {
	if !ValidID(id) {
		return nil, noAccount()
	}
	a, err := s.Store.Account(ctx, id)
	if errors.Is(err, ca.ErrNotFound) {
		return nil, noAccount()
	}
	if err != nil {
		return nil, s.internal(ctx, "looking up the account", err)
	}
	return a, nil
}

func noAccount() *Problem {
	return Problemf(AccountDoesNotExist, "The account that kid names does not exist here; register with newAccount.")
}

// Usable is nil if the account may make requests, else the problem to answer
// with (RFC 8555 section 7.3.6). Check it after the signature, so that only
// the holder of the key learns the account's state.
func (a *Account) Usable() error {
	if a.Status() != StatusValid {
		return inactive(a)
	}
	return nil
}

// AccountChange is an account update by its holder (RFC 8555 sections 7.3.2
// and 7.3.6). The zero value changes nothing.
type AccountChange struct {
	Contact     *[]string
	TermsAgreed bool
	Deactivate  bool
}

// UpdateAccount changes the caller's account and returns it as it is then.
func (s *Service) UpdateAccount(ctx context.Context, c Caller, change AccountChange) (*Account, error) {
	now := s.now()
	u := AccountUpdate{Contact: change.Contact}
	if change.Contact != nil {
		if err := CheckContact(*change.Contact); err != nil {
			return nil, err
		}
	}
	if change.TermsAgreed {
		u.TermsAgreedAt = &now
	}
	if change.Deactivate {
		u.DeactivatedAt = &now
	}
	if u == (AccountUpdate{}) {
		return c.Account, nil
	}
	return s.updateAccount(ctx, c.actor(), now, c.Account.ID, u)
}

// RevokeAccount ends an account by an operator's word. Its certificates stay.
func (s *Service) RevokeAccount(ctx context.Context, by ca.Actor, id string) (*Account, error) {
	now := s.now()
	return s.updateAccount(ctx, by, now, id, AccountUpdate{RevokedAt: &now})
}

func (s *Service) updateAccount(ctx context.Context, by ca.Actor, now time.Time, id string, u AccountUpdate) (*Account, error) {
	a, err := s.Store.UpdateAccount(ctx, by, now, id, u)
	switch {
	case err == nil:
		return a, nil
	case errors.Is(err, ca.ErrNotFound):
		return nil, notFound("account")
	case errors.Is(err, ca.ErrConflict):
		return nil, &Problem{Kind: Unauthorized, Status: 401, Detail: "This account is no longer valid."}
	}
	return nil, s.internal(ctx, "updating the account", err)
}

// ChangeKey gives the caller's account another key (RFC 8555 section 7.3.5).
// Both signatures were verified. A key that another account has is a problem
// with status 409 and that account as its Location.
func (s *Service) ChangeKey(ctx context.Context, c Caller, to Key) (*Account, error) {
	now := s.now()
	if to.SPKI() == c.Account.Key.SPKI() {
		return nil, Problemf(Malformed, "The new key is the account's key already; make a new one.")
	}
	if err := s.checkAccountKey(ctx, to); err != nil {
		return nil, err
	}
	err := s.Store.ChangeKey(ctx, c.actor(), now, c.Account.ID, c.Account.Key.SPKI(), to)
	var taken *KeyInUse
	switch {
	case err == nil:
		changed := *c.Account
		changed.Key = to
		return &changed, nil
	case errors.As(err, &taken):
		return nil, &Problem{Kind: Malformed, Status: 409, Location: taken.Account, Detail: "Another account has the new key already; make a new one."}
	case errors.Is(err, ca.ErrConflict):
		return nil, &Problem{Kind: Malformed, Status: 409, Detail: "The account's key was changed by another request at the same time."}
	}
	return nil, s.internal(ctx, "changing the account's key", err)
}

// CheckContact checks the contact URLs of an account (RFC 8555 section 7.3):
// mailto with one plain address each, no header fields. Whether mail arrives
// there is not checked.
func CheckContact(contact []string) error {
	if len(contact) > maxContacts {
		return Problemf(InvalidContact, "%d contacts were sent, at most %d are kept.", len(contact), maxContacts)
	}
	for _, c := range contact {
		scheme, address, ok := strings.Cut(c, ":")
		if !ok || !strings.EqualFold(scheme, "mailto") {
			return Problemf(UnsupportedContact, "Contact %.100q is not supported; mailto: URLs are.", c)
		}
		if len(c) > maxContactLength || !plainAddress(address) {
			return Problemf(InvalidContact, "Contact %.100q is not a mailto: URL with one plain ASCII address and nothing behind it.", c)
		}
	}
	return nil
}

func plainAddress(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`?#%,;<>"()`, s[i]) >= 0 {
			return false
		}
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil || parsed.Address != s {
		return false
	}
	domain := s[strings.LastIndexByte(s, '@')+1:]
	id, err := ca.ParseIdentifier("dns", domain)
	return err == nil && !id.IsWildcard()
}
