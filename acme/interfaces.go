package acme

import (
	"context"
	"crypto"
	"time"

	"chancery/acme/limit"
	"chancery/ca"
)

// A Store keeps accounts, orders and authorizations. One method is one
// transaction, with its audit event inside, durable when it returns nil; the
// ones named Begin are compare-and-swaps with exactly one winner. `now` and
// `by` come first because each change has one instant and one actor; stores
// never ask the clock. Errors are ca.ErrNotFound and ca.ErrConflict, compared
// with errors.Is, or what the method names.
type Store interface {
	AccountStore
	ExternalKeyStore
	OrderStore
	AuthorizationStore
	WorkStore
	LimitStore
	KeyStore
	ca.Ledger
}

// AccountStore keeps accounts.
type AccountStore interface {
	// CreateAccount stores a new account. If it has an ExternalKeyID, that key
	// is used up in the same transaction: *not* usable at `now` (unknown,
	// revoked, expired, or used and not reusable) is ErrExternalKeyUsed. A
	// key that another account has is a *KeyInUse.
	CreateAccount(ctx context.Context, by ca.Actor, now time.Time, a *Account, spend ...limit.Spend) error
	Account(ctx context.Context, id string) (*Account, error)
	// AccountByKey finds the account that has the key with this SHA-256 of its SPKI.
	AccountByKey(ctx context.Context, spki [32]byte) (*Account, error)
	// UpdateAccount changes what is not nil and returns the account as it is
	// then. ca.ErrConflict when it is no longer valid.
	UpdateAccount(ctx context.Context, by ca.Actor, now time.Time, id string, u AccountUpdate) (*Account, error)
	// ChangeKey puts the key `to` in the place of the key with SPKI hash
	// `from`. ca.ErrConflict when the account's key is not (any more) `from`
	// or it is not valid, *KeyInUse when another account has `to`.
	ChangeKey(ctx context.Context, by ca.Actor, now time.Time, id string, from [32]byte, to Key) error
}

// ExternalKeyStore keeps the keys of external account bindings.
type ExternalKeyStore interface {
	CreateExternalKey(ctx context.Context, by ca.Actor, now time.Time, k *ExternalKey) error
	ExternalKey(ctx context.Context, id string) (*ExternalKey, error)
	ExternalKeys(ctx context.Context) ([]*ExternalKey, error) // newest first, at most 10,000
	RevokeExternalKey(ctx context.Context, by ca.Actor, now time.Time, id string) error
}

// OrderStore keeps orders.
type OrderStore interface {
	// CreateOrder stores the order and those of its Authorizations that are
	// new (CreatedAt equals the order's `now` and the store has none of that
	// ID): `fresh` names them. If the order replaces a certificate for which
	// another order that is not invalid at `now` already stands as the
	// replacement, nothing is stored and the error is ErrAlreadyReplaced.
	CreateOrder(ctx context.Context, by ca.Actor, now time.Time, o *Order, fresh []*Authorization, spend ...limit.Spend) error
	// Order finds an order with its authorizations, in the sequence of its identifiers.
	Order(ctx context.Context, id string) (*Order, error)
	// OrderIDs lists the account's orders that are not invalid for having
	// expired at `now`, oldest first, from the one behind `after` (empty: from
	// the first), at most limit.
	OrderIDs(ctx context.Context, account, after string, now time.Time, limit int) ([]string, error)
	// BeginFinalize claims the order for issuance until lease: exactly one
	// caller wins, the others get ca.ErrConflict. It re-checks, inside the
	// transaction, that the order has not expired and that its authorizations
	// are all valid at `now`.
	BeginFinalize(ctx context.Context, by ca.Actor, now time.Time, id string, csr []byte, lease time.Time) error
	// FailOrder ends an order that was begun and has no certificate.
	// ca.ErrConflict otherwise.
	FailOrder(ctx context.Context, by ca.Actor, now time.Time, id string, p *Problem) error
}

// AuthorizationStore keeps authorizations.
type AuthorizationStore interface {
	CreateAuthorization(ctx context.Context, by ca.Actor, now time.Time, a *Authorization, spend ...limit.Spend) error
	Authorization(ctx context.Context, id string) (*Authorization, error)
	// ValidAuthorizations finds, of this account, the authorizations that are
	// valid at `until` (so at least until then) for any of the names, and of
	// several for one name the one that lasts longest. A wildcard name finds
	// only authorizations made for the wildcard.
	ValidAuthorizations(ctx context.Context, account string, names []ca.Identifier, until time.Time) ([]*Authorization, error)
	// BeginValidation claims a pending, not yet attempted authorization for
	// the attempt of one challenge, until lease. ca.ErrConflict otherwise.
	BeginValidation(ctx context.Context, by ca.Actor, now time.Time, id string, t ChallengeType, lease time.Time) error
	// CompleteValidation stores the one verdict of the attempt: v.Problem nil
	// makes the authorization valid until v.ExpiresAt. ca.ErrConflict if
	// there is a verdict already, or it was deactivated meanwhile.
	CompleteValidation(ctx context.Context, by ca.Actor, now time.Time, id string, v Verdict) error
	// DeactivateAuthorization ends a pending or valid one; ca.ErrConflict otherwise.
	DeactivateAuthorization(ctx context.Context, by ca.Actor, now time.Time, id string) error
	// Authorized says whether the account holds, at `now`, valid
	// authorizations for all the names (RFC 8555 section 7.6).
	Authorized(ctx context.Context, account string, names []ca.Identifier, now time.Time) (bool, error)
}

// WorkStore hands out work whose lease ran out because its replica died. Each
// call renews the lease of what it returns to `lease`, so that two replicas
// never get the same.
type WorkStore interface {
	TakeOverValidations(ctx context.Context, now, lease time.Time, limit int) ([]*Authorization, error)
	TakeOverOrders(ctx context.Context, now, lease time.Time, limit int) ([]*Order, error)
}

// Verdict is the outcome of one attempt at a challenge.
type Verdict struct {
	Problem   *Problem // nil: control was proven
	Evidence  []byte   // JSON of an Evidence
	ExpiresAt time.Time
	Tally     *Tally // for the limits; nil: nothing is counted
}

// Validator proves control of a name over the network.
type Validator interface {
	// Validate always returns the evidence of what it looked up, from where,
	// and what came back; the problem is nil only when control was proven and,
	// if the attempt asks for that, CAA records allow the name. It ends when
	// ctx does.
	Validate(ctx context.Context, a Attempt) (*Evidence, *Problem)
	// CheckCAA looks anew whether CAA records let this CA certify a name. It
	// always returns the evidence. The problem is nil only when they do: CAA
	// when they forbid it, DNS when nobody knows. It ends when ctx does.
	CheckCAA(ctx context.Context, q CAAQuestion) (*ca.CAAEvidence, *Problem)
}

// CAAQuestion is a name that is about to be certified (RFC 8659, RFC 8657).
type CAAQuestion struct {
	Name       ca.Identifier // as ordered, with "*." in front of a wildcard
	Method     ChallengeType // by which it was proven
	AccountURL string        // of the account that ordered it
	Require    []string      // ca.CAAPolicy.Require
}

// Attempt is one challenge to be validated.
type Attempt struct {
	Type             ChallengeType
	Identifier       ca.Identifier // base name, see Wildcard
	Wildcard         bool
	Token            string
	KeyAuthorization string // RFC 8555 section 8.1
	AccountURL       string

	// CAA is what CAA records mean here; ca.CAAOff, or empty: they are not
	// looked up. They are looked up again before signing unless the evidence
	// of now is still fresh then.
	CAA ca.CAAMode
}

// Evidence is what a validation saw, kept for each authorization (invariant 5).
type Evidence struct {
	Method     ChallengeType `json:"method"`
	Identifier string        `json:"identifier"`
	Started    time.Time     `json:"started"`
	Millis     int64         `json:"millis"`
	Steps      []Step        `json:"steps"` // bounded: the validator stops at its own limits first

	CAA *ca.CAAEvidence `json:"caa,omitempty"` // nil: was not looked up

	Attempt      string              `json:"attempt,omitempty"`      // random; all Perspectives answered this one
	Perspectives []PerspectiveResult `json:"perspectives,omitempty"` // the primary first; empty: there was this CA alone
}

// PerspectiveResult is what one network perspective made of an attempt. What
// the primary saw stands in the Evidence itself. Strings are bounded and escaped.
type PerspectiveResult struct {
	ca.Perspective
	Millis int64           `json:"millis"`
	Steps  []Step          `json:"steps,omitempty"`
	CAA    *ca.CAAEvidence `json:"caa,omitempty"`
}

// Step is one thing that a validation did. Strings are bounded and escaped.
type Step struct {
	Do   string `json:"do"`             // "dns", "connect", "http", "tls", "policy" or "verdict"
	What string `json:"what"`           // "A a.example", "GET http://a.example/.well-known/...", "acme-tls/1 a.example"
	From string `json:"from,omitempty"` // resolver or address asked, with port
	Got  string `json:"got"`            // what came back, in words
}

// Issuer is the signing core as the engine sees it; *ca.Authority is one.
type Issuer interface {
	// Permit says whether a profile (empty: the default) would certify these
	// names for this validity, and returns the profile's name. *ca.Refusal.
	Permit(profile string, names []ca.Identifier, notBefore, notAfter, now time.Time) (string, error)
	// CAAPolicy is what a profile asks of CAA records; empty: what is to be
	// done before the profile is known.
	CAAPolicy(profile string) (ca.CAAPolicy, error)
	// Check does what Permit does, and checks the CSR against profile and
	// names. Nothing is stored. *ca.Refusal.
	Check(r *ca.Request) error
	// CheckAccountKey says whether a key may be an account's: neither weak nor
	// known to be compromised. *ca.Refusal, or an internal error.
	CheckAccountKey(ctx context.Context, key crypto.PublicKey) error
	// Issue signs what r.Evidence allows. It is idempotent by r.Order: after a crash it returns the
	// certificate that the order has, or ends what was begun. *ca.Refusal is
	// final; any other error may pass and the call may be made again.
	Issue(ctx context.Context, r *ca.Request) (*ca.Certificate, error)
	// Revoke makes a revocation durable. A reason that may not be asked for is
	// a *ca.Refusal (RFC 8555 section 7.6); ca.ErrNotFound, ca.ErrAlreadyRevoked.
	Revoke(ctx context.Context, r ca.Revocation) error
	// Chains are the certificate's chains in PEM, the default first, then the
	// alternates (RFC 8555 section 7.4.2).
	Chains(c *ca.Certificate) ([][]byte, error)
	// Own finds the certificate in the ledger whose DER this is, byte for
	// byte. ca.ErrNotFound when it is none of ours.
	Own(ctx context.Context, der []byte) (*ca.Certificate, error)
	// ARI certID (RFC 9773 section 4.1) to certificate. ca.ErrNotFound when
	// it names another issuer or no certificate; *ca.Refusal when malformed.
	ByCertID(ctx context.Context, certID string) (*ca.Certificate, error)
}

// Sealer keeps small secrets encrypted at rest. Open fails on anything that
// Seal with the same context did not make.
type Sealer interface {
	Seal(secret []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}
