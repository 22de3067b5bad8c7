package ca

import "time"

// This file is the vocabulary in which an operator asks a store what it
// keeps. It stands here, below both, because the store that answers and the
// door that asks are on one floor and never import each other.

// CertificateStatus is what a certificate is at one instant.
type CertificateStatus string

// The statuses of a certificate.
const (
	CertificateReserved CertificateStatus = "reserved" // its serial is recorded, its signature is not (yet)
	CertificateValid    CertificateStatus = "valid"
	CertificateRevoked  CertificateStatus = "revoked" // and stays so after its end
	CertificateExpired  CertificateStatus = "expired" // past its end, never revoked
)

// StatusAt derives the status from the facts. Revoked wins over everything:
// also a serial without a signature can be revoked, because its signature may
// have left the process before it was recorded. The second of NotAfter still
// is valid (RFC 5280 section 4.1.2.5).
func (c *Certificate) StatusAt(now time.Time) CertificateStatus {
	switch {
	case c.Revocation != nil:
		return CertificateRevoked
	case len(c.DER) == 0:
		return CertificateReserved
	case !now.Before(c.NotAfter.Add(time.Second)):
		return CertificateExpired
	}
	return CertificateValid
}

// CertificateSearch says which certificates to list. Zero fields don't
// narrow; the ones that are set must all hold. The answer is newest first, by
// descending serial.
type CertificateSearch struct {
	At             time.Time         // the instant at which Status is meant; always set
	Status         CertificateStatus // empty: all but reserved. What each means: Certificate.StatusAt
	Name           Identifier        // one of its names is this one, wildcards literally
	Account        string
	Issuer         string // Issuer.ID
	Profile        string
	ExpiringBefore time.Time // NotAfter lies before this instant
	After          Serial    // only serials below this one: the last of the page before
	Limit          int       // at most this many; 1 to MaxSearch
}

// Event is one line of the audit trail (invariant 6).
type Event struct {
	Seq    int64 // grows with each event, never reused
	At     time.Time
	By     Actor
	Action string // "order.create", "certificate.revoke", ...
	Object string // ID of what was changed
	Detail string // JSON object with more, empty when there is no more
}

// EventSearch says which audit events to list. Zero fields don't narrow. The
// answer is newest first, by descending Seq.
type EventSearch struct {
	Action string
	Object string
	Actor  string    // Actor.ID
	Since  time.Time // At is this instant or later
	After  int64     // only Seqs below this one: the last of the page before
	Limit  int       // at most this many; 1 to MaxSearch
}

// BlockSource says why a key is blocked.
type BlockSource string

// The sources of blocks.
const (
	BlockedAsCompromised BlockSource = "compromise" // a revocation for keyCompromise was signed by the key itself
	BlockedByOperator    BlockSource = "operator"
)

// BlockedKey is a key that may not be certified, nor be an account's.
type BlockedKey struct {
	SPKI    [32]byte // SHA-256
	At      time.Time
	Source  BlockSource
	Comment string // an operator's words, or the certificate by which it was shown
}

// BlockedKeySearch says which blocked keys to list. The answer is newest first.
type BlockedKeySearch struct {
	After [32]byte // the last of the page before
	Limit int      // at most this many; 1 to MaxSearch
}

// MaxSearch bounds one page of any listing: a page of certificates stays in
// the low megabytes.
const MaxSearch = 1000
