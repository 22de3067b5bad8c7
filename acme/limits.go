package acme

import (
	"context"
	"time"

	"chancery/acme/limit"
	"chancery/ca"
)

// LimitStore keeps the buckets of rate limits, and which names fail over and
// over. Tokens are taken by the changes they guard, in the same transaction:
// see the `spend` of other methods. There a bucket without a token is a
// *limit.Exceeded, nothing is changed, and no token of the others is taken.
type LimitStore interface {
	// Standing finds the TATs of those of the buckets that have one, and the
	// runs of failures of this account for those of the names that have one.
	Standing(ctx context.Context, account string, buckets []limit.Key, names []ca.Identifier) (*Standing, error)
	// Failing lists the account's runs of failures, the paused ones first,
	// then the latest, at most a thousand.
	Failing(ctx context.Context, account string) ([]Failing, error)
	// ChargeFailure counts a failed validation of the authorization `id`, as
	// CompleteValidation does, where there is no verdict to be stored with it.
	ChargeFailure(ctx context.Context, by ca.Actor, now time.Time, id string, t *Tally) error
	// Unpause ends the run of failures for each of the names, and fills up the
	// bucket beside it. ca.ErrNotFound, and nothing is changed, when there is
	// no run for one of them.
	Unpause(ctx context.Context, by ca.Actor, now time.Time, account string, names map[ca.Identifier]limit.Key) error
	// PruneLimits removes buckets that are full at `now`, and runs of failures
	// that nobody has added to for long: what is missing reads the same.
	PruneLimits(ctx context.Context, now time.Time) error
}

// Standing is how some limits stand.
type Standing struct {
	TATs    map[limit.Key]time.Time // of buckets that are not known to be full
	Failing map[ca.Identifier]Failing
}

// Failing is a name for which the validations of an account fail one after
// the other.
type Failing struct {
	Name     ca.Identifier // with "*." in front of a wildcard
	Run      int           // failures since the last valid one
	Since    time.Time     // of the first of them
	Last     time.Time
	PausedAt time.Time // zero while it is not paused
}

// Tally is what a verdict means for the limits: a failure takes a token of
// each of the buckets that has one and lengthens the run of its name, which
// may pause it; a valid one ends the run.
type Tally struct {
	Account string
	Name    ca.Identifier // with "*." in front of a wildcard
	Spends  []limit.Spend
	Pause   limit.Pause
}
