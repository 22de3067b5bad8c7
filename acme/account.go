package acme

import "time"

// Status is a status of an ACME object (RFC 8555 section 7.1.6).
type Status string

// The statuses of accounts, orders, authorizations and challenges.
const (
	StatusPending     Status = "pending"
	StatusReady       Status = "ready"
	StatusProcessing  Status = "processing"
	StatusValid       Status = "valid"
	StatusInvalid     Status = "invalid"
	StatusDeactivated Status = "deactivated"
	StatusExpired     Status = "expired"
	StatusRevoked     Status = "revoked"
)

// Account is an ACME account (RFC 8555 section 7.1.2).
type Account struct {
	ID            string
	Key           Key
	Contact       []string // mailto: URLs, as the client gave them
	TermsAgreedAt time.Time
	ExternalKeyID string // kid of the external account binding, empty without one
	CreatedAt     time.Time
	DeactivatedAt time.Time // by its holder; zero while it is not
	RevokedAt     time.Time // by an operator; zero while it is not
}

// Status is valid, deactivated or revoked (RFC 8555 section 7.1.6).
func (a *Account) Status() Status {
	switch {
	case !a.RevokedAt.IsZero():
		return StatusRevoked
	case !a.DeactivatedAt.IsZero():
		return StatusDeactivated
	}
	return StatusValid
}

// AccountUpdate is what may change in an account by newAccount's sibling, the
// account update (RFC 8555 section 7.3.2). A nil field is left as it is.
type AccountUpdate struct {
	Contact       *[]string
	TermsAgreedAt *time.Time
	DeactivatedAt *time.Time
	RevokedAt     *time.Time
}

// ExternalKey is a key for external account binding (RFC 8555 section 7.3.4).
type ExternalKey struct {
	ID        string // the kid that the client sends
	Sealed    []byte // the MAC key, sealed by the Service's Sealer; never stored in clear
	Label     string // for whom, in the operator's words
	Reusable  bool   // binds any number of accounts; otherwise exactly one
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time
	UsedAt    time.Time // the last binding
	Uses      int
}

// UsableAt says whether the key may bind one more account.
func (k *ExternalKey) UsableAt(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt)) && (k.Reusable || k.Uses == 0)
}
