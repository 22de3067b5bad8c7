package ca

import (
	"context"
	"errors"
)

// Errors of a Ledger. They are compared with errors.Is.
var (
	ErrNotFound       = errors.New("not found")
	ErrAlreadyRevoked = errors.New("already revoked")
	ErrConflict       = errors.New("somebody else was first") // a compare-and-swap found another state
	ErrBlockedKey     = errors.New("the key is blocked")
)

// Ledger is what the signing core needs of a store. Each method is one
// transaction with its audit event inside, and is durable when it returns nil.
type Ledger interface {
	// Reserve records the intent to sign: serial, names, validity, the
	// evidence for the names and the linted TBS, with DER nil. If the order
	// (c.Order, unless empty) has an intent or a certificate already, nothing
	// is written and that one is returned, so that one order never gets two
	// serials. A serial that is taken is ErrConflict.
	Reserve(ctx context.Context, by Actor, c *Certificate) (*Certificate, error)

	// PutCertificate stores the DER that was signed over a reserved TBS, drops
	// the TBS, and makes the order valid, in one transaction. Putting the same
	// serial a second time is ErrConflict: the first stays.
	PutCertificate(ctx context.Context, by Actor, c *Certificate) error

	// Certificate finds a reserved or issued certificate, with its revocation
	// if there is one. ErrNotFound if the serial was never reserved.
	Certificate(ctx context.Context, serial Serial) (*Certificate, error)

	// Revoke marks a certificate revoked and its CRL due. ErrNotFound,
	// ErrAlreadyRevoked. A revocation for keyCompromise of a certificate that
	// is already revoked for another reason replaces that reason and keeps the
	// first date (I50); any other second revocation is ErrAlreadyRevoked.
	Revoke(ctx context.Context, r Revocation) error
}
