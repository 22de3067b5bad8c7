package ca

import "time"

// Certificate is a certificate as the store keeps it: its DER, and the facts
// by which it is looked up. Times are UTC, whole seconds.
type Certificate struct {
	Serial     Serial
	Issuer     string // Issuer.ID
	Profile    string
	Order      string // ACME order, empty for Chancery's own
	Account    string // ACME account, empty for Chancery's own
	Names      []Identifier
	SPKI       [32]byte // SHA-256 of the SubjectPublicKeyInfo's DER
	NotBefore  time.Time
	NotAfter   time.Time // inclusive: RFC 5280 section 4.1.2.5
	Shard      int       // which CRL of the issuer lists it once revoked
	ReservedAt time.Time // when its serial and intent were stored
	TBS        []byte    // what was linted; nil once DER is there
	DER        []byte    // nil until signed

	Revocation *Revoked // nil unless revoked

	Evidence []NameEvidence // on the way to Ledger.Reserve only, which keeps it
}

// Revoked is one line of a CRL.
type Revoked struct {
	Serial   Serial
	At       time.Time
	Reason   Reason
	NotAfter time.Time // of the certificate; the entry may leave the CRL after one full CRL past it
}

// Reason is a CRLReason (RFC 5280 section 5.3.1).
type Reason int

// The reasons of RFC 5280 section 5.3.1. 7 is not used there.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	RemoveFromCRL        Reason = 8
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

// Revocation is the wish to revoke one certificate.
type Revocation struct {
	By     Actor
	Serial Serial
	Reason Reason
	At     time.Time
}
