package crl

import (
	"context"
	"iter"
	"time"

	"chancery/ca"
)

// Shard names one revocation list: an issuer has one or more of them, and a
// certificate's shard is fixed when it is issued (ca.Certificate.Shard).
type Shard struct {
	Issuer string // Issuer.ID
	Number int    // 0 for an issuer with one list
}

// Store is what publishing needs of a database. A replica that dies anywhere
// between two of the calls leaves nothing behind but a claim that runs out
// and a number that is never used.
//
// Behind the methods stands one row for each shard, which need not exist
// before the first revocation or the first Begin:
//
//	counter     grows by one in the transaction of each ca.Ledger.Revoke
//	covered     the counter that the stored list covers; none before the first Put
//	number      the last number that Begin handed out
//	lease       until when a claim lasts
//	the list    number, thisUpdate, nextUpdate, refreshAt, entries, DER
//
// "now" and leases are the caller's: a store never asks the clock.
type Store interface {
	// Due says which of these shards need a new list at now: those that never
	// had one, those with counter > covered, and those with now >= refreshAt.
	// Claimed shards (lease after now) are left out. It is asked several times
	// a second, so it must be cheap.
	Due(ctx context.Context, now time.Time, shards []Shard) ([]Shard, error)

	// Begin claims a shard until lease and hands out its next number, which is
	// durable before Begin returns and never handed out again, even if the
	// list is never published: the greater of last number + 1 and now in Unix
	// milliseconds (so that numbers also grow over a restored backup). Claim.Mark
	// is the counter at that moment. ca.ErrConflict if another claim lasts
	// beyond now. It is no change of state that an operator audits: no event.
	Begin(ctx context.Context, now time.Time, s Shard, lease time.Time) (Claim, error)

	// Revoked yields, from one snapshot that is no older than the call, each
	// revoked certificate of the shard with NotAfter >= since: each serial once,
	// in ascending order; the zero time means all. An error is yielded last,
	// and then the list is incomplete. Stopping early is allowed.
	Revoked(ctx context.Context, s Shard, since time.Time) iter.Seq2[ca.Revoked, error]

	// Put publishes a list and ends its claim, in one transaction with its
	// audit event ("crl.publish"). covered becomes l.Mark. ca.ErrConflict,
	// and nothing changed, if the stored list has the same number or a higher one.
	Put(ctx context.Context, by ca.Actor, now time.Time, l *List) error

	// Latest finds the published list if its number is above `than`, without
	// reading the DER of one that is not. ca.ErrNotFound if there is none.
	Latest(ctx context.Context, s Shard, than int64) (*List, error)
}

// Beginning is before the expiry of any certificate that is made here.
var Beginning = time.Unix(0, 0).UTC()

// Certificates finds certificates by serial number (ca.Ledger has it). The
// check before publishing asks it about entries that left a list, so that the
// answer does not come from the query that made the list.
type Certificates interface {
	Certificate(ctx context.Context, serial ca.Serial) (*ca.Certificate, error)
}

// Claim is the right to make the next list of a shard.
type Claim struct {
	Shard  Shard
	Number int64 // CRL number (RFC 5280 section 5.2.3), positive
	Mark   int64 // how many revocations of the shard the list covers at least
}

// List is a published revocation list. Times are UTC, whole seconds.
type List struct {
	Shard      Shard
	Number     int64
	Mark       int64
	ThisUpdate time.Time
	NextUpdate time.Time
	RefreshAt  time.Time // when the next one is due even without a revocation
	Entries    int
	DER        []byte
}
