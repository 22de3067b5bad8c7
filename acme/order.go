package acme

import (
	"time"

	"chancery/ca"
)

// Order is a request for one certificate (RFC 8555 section 7.1.3).
type Order struct {
	ID          string
	Account     string
	Profile     string
	Identifiers []ca.Identifier
	NotBefore   time.Time // as asked for, zero when not
	NotAfter    time.Time // as asked for, zero when not
	Replaces    string    // ARI certID (RFC 9773 section 5), empty when none
	CreatedAt   time.Time
	ExpiresAt   time.Time

	// Authorizations, one for each identifier, in the same sequence. A store
	// loads them whole with the order.
	Authorizations []*Authorization

	BeganAt     time.Time // finalize was accepted
	LeaseUntil  time.Time // until when the replica that accepted it has the work to itself
	CSR         []byte    // DER, from BeganAt on
	Certificate ca.Serial // zero until issued
	Error       *Problem  // why it will never be issued
}

// Issued says whether the order has its certificate.
func (o *Order) Issued() bool { return o.Certificate != ca.Serial{} }

// StatusAt derives the status from the facts (RFC 8555 section 7.1.6).
func (o *Order) StatusAt(now time.Time) Status {
	switch {
	case o.Error != nil:
		return StatusInvalid
	case o.Issued():
		return StatusValid
	case !o.BeganAt.IsZero():
		return StatusProcessing
	case !now.Before(o.ExpiresAt):
		return StatusInvalid
	}
	ready := true
	for _, a := range o.Authorizations {
		switch a.StatusAt(now) {
		case StatusValid:
		case StatusPending:
			ready = false
		default:
			return StatusInvalid
		}
	}
	if ready {
		return StatusReady
	}
	return StatusPending
}
