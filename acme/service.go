package acme

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"time"

	"chancery/acme/limit"
	"chancery/acme/strict"
	"chancery/ca"
)

// Service is the engine of RFC 8555. Store, Validator, Issuer and Sealer are
// needed; the zero value of every other field means its default.
type Service struct {
	Store     Store
	Validator Validator
	Issuer    Issuer
	Sealer    Sealer
	Settings  Settings
	Hooks     Hooks
	Log       *slog.Logger     // nil: slog.Default
	Now       func() time.Time // nil: time.Now

	// AccountURL makes the URL of an account; CAA records (RFC 8657) and
	// evidence name it.
	AccountURL func(id string) string

	// Limits are the rate limits; nil: nothing is limited and nobody paused.
	Limits *limit.Rules

	work  work
	crowd crowd
}

// ExternalAccountPolicy says whether new accounts need an external account
// binding (RFC 8555 section 7.3.4).
type ExternalAccountPolicy string

// The policies for external account binding.
const (
	BindingOff      ExternalAccountPolicy = "off" // a binding that is sent is ignored
	BindingOptional ExternalAccountPolicy = "optional"
	BindingRequired ExternalAccountPolicy = "required"
)

// Settings are the numbers and rules of the engine.
type Settings struct {
	Terms            string // URL of the terms of service; not empty: new accounts must agree
	ExternalAccount  ExternalAccountPolicy
	MaxIdentifiers   int           // names in one order, default 100
	OrderLife        time.Duration // from newOrder to finalize, default 7 days
	AuthorizationTTL time.Duration // how long a validated authorization may be reused, default 10 days
	Wait             time.Duration // how long a request waits for work it started, default 1 s
	ValidationTime   time.Duration // bound of one validation, default 10 s
	TakeOverEvery    time.Duration // how often to look for work that a dead replica left, default 2 s

	Perspectives ca.PerspectivePolicy // from how many a reused validation must have been seen; zero: this CA alone
}

// Bounds of the engine (invariant 8).
const (
	defaultMaxIdentifiers   = 100
	defaultOrderLife        = 7 * 24 * time.Hour
	defaultAuthorizationTTL = 10 * 24 * time.Hour // SAFETY R9
	defaultWait             = time.Second
	defaultValidationTime   = 10 * time.Second
	defaultTakeOverEvery    = 2 * time.Second
	leaseMargin             = 10 * time.Second // a lease outlives the work's own deadline by this much
	signTime                = 10 * time.Second // bound of one issuance after CAA records were looked up
	caaAtOnce               = 16               // names of one order whose CAA records are looked up side by side
	takeOverBatch           = 100
	maxContacts             = 10
	maxContactLength        = 254 + len("mailto:") // RFC 5321 section 4.5.3.1.3, less the brackets
)

// Hooks are told what happened, for metrics. Nil ones are not called.
type Hooks struct {
	Validated func(t ChallengeType, outcome string, took time.Duration) // outcome: "valid" or an error type
	Issued    func(profile, outcome string, took time.Duration)         // outcome: "issued" or an error type
	Revoked   func(c *ca.Certificate, reason ca.Reason)                 // after the revocation is durable
	CAA       func(mode ca.CAAMode, outcome string)                     // one look at a name's CAA records; outcome: "allowed" or an error type
}

// Caller is the account behind a request whose signature was verified.
type Caller struct {
	Account *Account
	Addr    string // client's IP address
}

func (c Caller) actor() ca.Actor {
	return ca.Actor{Kind: ca.ActorAccount, ID: c.Account.ID, Addr: c.Addr}
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// now is the one instant of an operation. Milliseconds are what stores keep.
func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC().Truncate(time.Millisecond) //nolint:forbidigo // the field's default
	}
	return s.Now().UTC().Truncate(time.Millisecond)
}

func (s *Service) log() *slog.Logger {
	if s.Log == nil {
		return slog.Default()
	}
	return s.Log
}

// newID makes a UUIDv7 (RFC 9562 section 5.7) in base64url: 48 bits of time,
// so that indexes grow at their end, and 74 random bits. Who may see an
// object is decided by its owner, not by the secrecy of its ID.
func newID(now time.Time) string {
	var u [16]byte
	_, _ = rand.Read(u[6:]) // never fails: crypto/rand aborts the process instead
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli())) //nolint:gosec // positive until the year 292 million
	copy(u[:6], ms[2:])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return base64.RawURLEncoding.EncodeToString(u[:])
}

// ValidID says whether s has the form of an ID, so that nothing else ever
// reaches a query.
func ValidID(s string) bool {
	if len(s) != 22 {
		return false
	}
	_, err := strict.Base64URL(s)
	return err == nil
}

// internal keeps what went wrong inside for the log and says only so much to
// the client (invariant 9).
func (s *Service) internal(ctx context.Context, doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Problem{Kind: ServerInternal, Status: 503, RetryAfter: 5, Detail: "The request was cut short while " + doing + "; try again."}
	}
	s.log().ErrorContext(ctx, "internal error", "doing", doing, "error", err)
	return &Problem{Kind: ServerInternal, RetryAfter: 5, Detail: "Chancery could not finish " + doing + "; nothing was changed. Try again, and tell its operator if it happens again."}
}

// notFound is the one answer for what is missing and for what belongs to
// somebody else, so that IDs can't be probed (RFC 8555 section 10.5).
func notFound(what string) *Problem {
	return &Problem{Kind: Malformed, Status: 404, Detail: "There is no such " + what + " in this account."}
}
