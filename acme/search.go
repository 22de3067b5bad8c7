package acme

import "time"

// AccountSearch says which accounts to list. Zero fields don't narrow. The
// answer is newest first (by CreatedAt, then ID). See ca.CertificateSearch
// for why this stands here.
type AccountSearch struct {
	Status        Status // StatusValid, StatusDeactivated or StatusRevoked, as Account.Status says
	ExternalKeyID string
	After         string // ID of the last of the page before; one that doesn't exist is ca.ErrNotFound
	Limit         int    // at most this many; 1 to ca.MaxSearch
}

// OrderSearch says which orders to list. Zero fields don't narrow. The
// answer is newest first (by CreatedAt, then ID), orders as OrderStore.Order
// returns them.
type OrderSearch struct {
	Account string
	After   string // ID of the last of the page before; one that doesn't exist is ca.ErrNotFound
	Limit   int    // at most this many; 1 to ca.MaxSearch
}

// Backlog counts the work that was accepted and has no outcome yet.
type Backlog struct {
	Validations int64     // attempts without a verdict
	Orders      int64     // finalized, with neither certificate nor error
	Oldest      time.Time // when the oldest of them was accepted; zero when there is none
}
