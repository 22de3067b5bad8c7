package ocsp

import (
	"context"

	"chancery/ca"
)

// Store is what answering needs of a database; each ca.Ledger is one.
type Store interface {
	// Certificate finds a reserved or issued certificate, with its revocation
	// if there is one, as of a moment not before the call. ca.ErrNotFound if
	// the serial was never reserved.
	Certificate(ctx context.Context, serial ca.Serial) (*ca.Certificate, error)
}
