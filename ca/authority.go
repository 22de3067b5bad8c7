package ca

import "time"

// Request is the wish for one certificate.
type Request struct {
	By        Actor
	Order     string // ACME order, empty for Chancery's own certificate
	Account   string
	Profile   string // empty: the default
	Names     []Identifier
	CSR       *CSR
	NotBefore time.Time // zero: now
	NotAfter  time.Time // zero: the profile's validity
	Now       time.Time
}

// CSR is a certification request that was parsed and whose own signature was
// verified. Only ParseCSR makes one.
type CSR struct {
	raw   []byte
	spki  []byte // DER
	names []Identifier
}
