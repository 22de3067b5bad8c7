package acme

import (
	"crypto/sha256"
	"encoding/base64"
	"time"

	"chancery/ca"
)

// ChallengeType is an entry of the ACME Validation Methods registry
// (RFC 8555 section 9.7.8).
type ChallengeType string

// The challenge types that are served.
const (
	HTTP01    ChallengeType = "http-01"     // RFC 8555 section 8.3
	DNS01     ChallengeType = "dns-01"      // RFC 8555 section 8.4
	TLSALPN01 ChallengeType = "tls-alpn-01" // RFC 8737
)

// Authorization is an account's (possible) right to be issued one identifier
// (RFC 8555 section 7.1.4). Its challenges are no objects of their own: at
// most one is ever attempted, and what became of that one stands here.
type Authorization struct {
	ID         string
	Account    string
	Identifier ca.Identifier // without "*." in front, see Wildcard
	Wildcard   bool          // made for the wildcard name "*."+Identifier
	Types      []ChallengeType
	Seed       [32]byte // random; tokens are derived from it
	CreatedAt  time.Time
	ExpiresAt  time.Time // while pending: of the offer; once valid: of the right

	Attempt     ChallengeType // the challenge that the client answered, empty before
	AttemptedAt time.Time     // when
	LeaseUntil  time.Time     // until when the replica that took the answer has the work to itself
	ValidatedAt time.Time
	Error       *Problem // why the attempt failed
	Evidence    []byte   // JSON of an Evidence, once there was a verdict (invariant 5)

	DeactivatedAt time.Time
}

// StatusAt derives the status from the facts (RFC 8555 section 7.1.6).
func (a *Authorization) StatusAt(now time.Time) Status {
	switch {
	case !a.DeactivatedAt.IsZero():
		return StatusDeactivated
	case a.Error != nil:
		return StatusInvalid
	case !now.Before(a.ExpiresAt):
		if a.ValidatedAt.IsZero() {
			return StatusInvalid // a pending authorization that ran out (section 7.1.6, figure)
		}
		return StatusExpired
	case !a.ValidatedAt.IsZero():
		return StatusValid
	}
	return StatusPending
}

// ChallengeStatus is the status of one of its challenges.
func (a *Authorization) ChallengeStatus(t ChallengeType) Status {
	switch {
	case a.Attempt != t:
		return StatusPending
	case a.Error != nil:
		return StatusInvalid
	case !a.ValidatedAt.IsZero():
		return StatusValid
	}
	return StatusProcessing
}

// Token is the token of the challenge of type t: 256 bits, base64url, another
// one for each type (RFC 8555 section 8, at least 128 bits of entropy).
func (a *Authorization) Token(t ChallengeType) string {
	h := sha256.New()
	h.Write(a.Seed[:])
	h.Write([]byte(t))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
