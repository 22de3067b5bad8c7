package admin

import (
	"context"

	"chancery/acme"
	"chancery/ca"
)

// A Store is what the operator's door reads. It changes nothing: what an
// operator changes goes through the Engine, with its rules.
// Every method reads one consistent state, never waits for a writer, and
// takes its instant from the caller. Errors are ca.ErrNotFound, compared with
// errors.Is, or internal ones.
//
// Four of the methods are those of ca.Ledger, acme.AccountStore,
// acme.OrderStore and acme.KeyStore under the same names.
type Store interface {
	CertificateReader
	AccountReader
	OrderReader
	KeyReader

	// Events lists audit events. An empty answer is no error.
	Events(ctx context.Context, s ca.EventSearch) ([]ca.Event, error)
	// Backlog counts work without an outcome. It is called for each scrape of
	// /metrics, so it must be answered from (partial) indexes.
	Backlog(ctx context.Context) (acme.Backlog, error)
}

// CertificateReader finds certificates.
type CertificateReader interface {
	// Certificates lists certificates whole (names, revocation, DER).
	// ExpiringBefore, Name and Account must be answered from indexes: a store
	// holds ten million certificates. An empty answer is no error.
	Certificates(ctx context.Context, s ca.CertificateSearch) ([]*ca.Certificate, error)
	// Certificate finds one, also one that was only reserved.
	Certificate(ctx context.Context, serial ca.Serial) (*ca.Certificate, error)
}

// AccountReader finds accounts.
type AccountReader interface {
	Accounts(ctx context.Context, s acme.AccountSearch) ([]*acme.Account, error)
	Account(ctx context.Context, id string) (*acme.Account, error)
}

// KeyReader finds blocked keys.
type KeyReader interface {
	BlockedKeys(ctx context.Context, s ca.BlockedKeySearch) ([]*ca.BlockedKey, error)
	BlockedKey(ctx context.Context, spki [32]byte) (*ca.BlockedKey, error)
}

// OrderReader finds orders.
type OrderReader interface {
	// Orders lists orders whole, with their authorizations.
	Orders(ctx context.Context, s acme.OrderSearch) ([]*acme.Order, error)
	Order(ctx context.Context, id string) (*acme.Order, error)
}
