package storage

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"chancery/acme"
	"chancery/acme/limit"
	"chancery/ca"
)

// instant is an instant in a column: Unix nanoseconds.
type instant time.Time

// Value implements driver.Valuer.
func (i instant) Value() (driver.Value, error) { return time.Time(i).UnixNano(), nil }

// Scan implements sql.Scanner.
func (i *instant) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("an instant is stored as %T, not as an integer", src)
	}
	*i = instant(time.Unix(0, n).UTC())
	return nil
}

// Two statements rather than an upsert: the decision is limit.Rate.Take's. On
// PostgreSQL the row is locked between them; of several changes that each see
// no row, the INSERT lets one pass, and the others are run again and see it.
const (
	readBucket   = `SELECT tat FROM buckets WHERE key = ?`
	insertBucket = `INSERT INTO buckets (key, tat) VALUES (?, ?)`
	updateBucket = `UPDATE buckets SET tat = ? WHERE key = ?`
)

// spend takes a token of each bucket, or is a *limit.Exceeded, which ends the
// change and with it whatever was taken.
func (t *tx) spend(now time.Time, spends []limit.Spend) error {
	return t.buckets(spends, func(s limit.Spend, tat time.Time) (time.Time, error) { return s.Take(tat, now) })
}

// charge takes a token of each bucket that has one.
func (t *tx) charge(now time.Time, spends []limit.Spend) error {
	return t.buckets(spends, func(s limit.Spend, tat time.Time) (time.Time, error) { return s.Rate.Charge(tat, now), nil })
}

// buckets changes buckets, always in the same sequence, so that two changes
// never wait for each other.
func (t *tx) buckets(spends []limit.Spend, next func(limit.Spend, time.Time) (time.Time, error)) error {
	if len(spends) > 1 {
		spends = slices.SortedFunc(slices.Values(spends), func(a, b limit.Spend) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	}
	for _, s := range spends {
		var found instant
		write := func(tat time.Time) error { return t.one(updateBucket, instant(tat), rowID(s.Key)) }
		err := t.get(&found, readBucket+t.dialect.forUpdate, rowID(s.Key))
		if errors.Is(err, ca.ErrNotFound) {
			found, err = instant{}, nil
			write = func(tat time.Time) error { return t.one(insertBucket, rowID(s.Key), instant(tat)) }
		}
		if err != nil {
			return err
		}
		tat, err := next(s, time.Time(found))
		if err != nil {
			return err
		}
		if err := write(tat); err != nil {
			return err
		}
	}
	return nil
}

const failingColumns = `name, run, since, last, paused_at`

// failingRow is a row of failing.
type failingRow struct {
	Name     string `db:"name"`
	Run      int    `db:"run"`
	Since    stamp  `db:"since"`
	Last     stamp  `db:"last"`
	PausedAt stamp  `db:"paused_at"`
}

func (r *failingRow) failing() (acme.Failing, error) {
	name, err := parseName(r.Name)
	if err != nil {
		return acme.Failing{}, fmt.Errorf("storage: a name that fails: %w", err)
	}
	return acme.Failing{Name: name, Run: r.Run, Since: r.Since.time(), Last: r.Last.time(), PausedAt: r.PausedAt.time()}, nil
}

const (
	addFailure = `
INSERT INTO failing (account, name, run, since, last, paused_at) VALUES (?, ?, 1, ?, ?, NULL)
ON CONFLICT (account, name) DO UPDATE SET run = failing.run + 1, last = excluded.last
RETURNING ` + failingColumns

	pauseName  = `UPDATE failing SET paused_at = ? WHERE account = ? AND name = ? AND paused_at IS NULL`
	endFailing = `DELETE FROM failing WHERE account = ? AND name = ?`
)

// tally counts a verdict. A valid one ends the run of its name; a failure
// takes its tokens, lengthens the run, and pauses the account for the name
// when the rule says so, with an audit event of its own.
func (t *tx) tally(now time.Time, failed bool, tally *acme.Tally) error {
	if tally == nil {
		return nil
	}
	account, err := parseID("account", tally.Account)
	if err != nil {
		return err
	}
	name := tally.Name.String()
	if !failed {
		_, err := t.exec(endFailing, account, name)
		return err
	}
	if err := t.charge(now, tally.Spends); err != nil {
		return err
	}
	var run failingRow
	if err := t.get(&run, addFailure, account, name, stamp(now), stamp(now)); err != nil {
		return err
	}
	if !run.PausedAt.time().IsZero() || !tally.Pause.Due(run.Run, run.Since.time(), now) {
		return nil
	}
	if err := t.one(pauseName, stamp(now), account, name); err != nil {
		return err
	}
	e := happened(ca.System("limits"), now, actionAccountPause, tally.Account)
	e.detail = map[string]any{"name": name, "failures": run.Run}
	return t.record(e)
}

// ChargeFailure implements acme.LimitStore.
func (db *DB) ChargeFailure(ctx context.Context, by ca.Actor, now time.Time, id string, tally *acme.Tally) error {
	return db.change(ctx, happened(by, now, actionAuthorizationCount, id), func(t *tx) error { return t.tally(now, true, tally) })
}

// bucketRow is a row of buckets.
type bucketRow struct {
	Key rowID   `db:"key"`
	TAT instant `db:"tat"`
}

// Standing implements acme.LimitStore.
func (db *DB) Standing(ctx context.Context, account string, keys []limit.Key, names []ca.Identifier) (*acme.Standing, error) {
	owner, err := parseOptionalID("account", account)
	if err != nil {
		return nil, err
	}
	found := &acme.Standing{TATs: map[limit.Key]time.Time{}, Failing: map[ca.Identifier]acme.Failing{}}
	err = db.read(ctx, func(s *session) error {
		for part := range slices.Chunk(keys, maxAtOnce) {
			var rows []bucketRow
			if err := s.list(&rows, `SELECT key, tat FROM buckets WHERE key IN (`+marks(width(part))+`)`, padded(part, func(k limit.Key) any { return rowID(k) })...); err != nil {
				return err
			}
			for _, r := range rows {
				found.TATs[limit.Key(r.Key)] = time.Time(r.TAT)
			}
		}
		for part := range slices.Chunk(names, maxAtOnce) {
			var rows []failingRow
			args := append([]any{owner}, padded(part, func(n ca.Identifier) any { return n.String() })...)
			if err := s.list(&rows, `SELECT `+failingColumns+` FROM failing WHERE account = ? AND name IN (`+marks(width(part))+`)`, args...); err != nil {
				return err
			}
			for i := range rows {
				f, err := rows[i].failing()
				if err != nil {
					return err
				}
				found.Failing[f.Name] = f
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// width is the number of placeholders for a list: a power of two, so that
// there are few texts of statements.
func width[T any](part []T) int {
	w := 1
	for w < len(part) {
		w *= 2
	}
	return w
}

// padded are the arguments for width placeholders; the last one is repeated.
func padded[T any](part []T, arg func(T) any) []any {
	args := make([]any, width(part))
	for i := range args {
		args[i] = arg(part[min(i, len(part)-1)])
	}
	return args
}

const listFailing = `
SELECT ` + failingColumns + ` FROM failing WHERE account = ?
ORDER BY CASE WHEN paused_at IS NULL THEN 1 ELSE 0 END, last DESC, name LIMIT ?`

// Failing implements acme.LimitStore.
func (db *DB) Failing(ctx context.Context, account string) ([]acme.Failing, error) {
	owner, err := parseID("account", account)
	if err != nil {
		return nil, err
	}
	var rows []failingRow
	if err := db.read(ctx, func(s *session) error { return s.list(&rows, listFailing, owner, ca.MaxSearch) }); err != nil {
		return nil, err
	}
	list := make([]acme.Failing, len(rows))
	for i := range rows {
		if list[i], err = rows[i].failing(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

const dropBucket = `DELETE FROM buckets WHERE key = ?`

// Unpause implements acme.LimitStore.
func (db *DB) Unpause(ctx context.Context, by ca.Actor, now time.Time, account string, names map[ca.Identifier]limit.Key) error {
	owner, err := parseID("account", account)
	if err != nil {
		return err
	}
	list := make([]string, 0, len(names))
	for n := range names {
		list = append(list, n.String())
	}
	slices.Sort(list)
	keys := make([]limit.Key, 0, len(names))
	for _, key := range names {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b limit.Key) int { return bytes.Compare(a[:], b[:]) })
	e := happened(by, now, actionAccountUnpause, account)
	e.detail = map[string]any{"names": list}
	return db.change(ctx, e, func(t *tx) error {
		for _, key := range keys { // buckets first, in their sequence, as everywhere
			if _, err := t.exec(dropBucket, rowID(key)); err != nil {
				return err
			}
		}
		for _, n := range list {
			err := t.one(endFailing, owner, n)
			if errors.Is(err, errNoRow) {
				return fmt.Errorf("a run of failures of %.300q: %w", n, ca.ErrNotFound)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Bounds of pruning.
const (
	// How long a run of failures is remembered that nobody adds to. certbot
	// tries twice a day.
	forgetFailing = 30 * 24 * time.Hour
	// And a pause: whoever did not come back in a year will not be harmed by
	// another hundred attempts.
	forgetPause = 366 * 24 * time.Hour
	// How many buckets one change looks at.
	prunePage = 1000
	// By how much the clocks of replicas may differ: a bucket that is full here
	// should be full everywhere.
	clockMargin = time.Minute
)

const (
	pruneFailing = `DELETE FROM failing WHERE last < ? AND (paused_at IS NULL OR paused_at < ?)`
	pageBuckets  = `SELECT key, tat FROM buckets WHERE key > ? ORDER BY key LIMIT ?`
	pruneBuckets = `DELETE FROM buckets WHERE key >= ? AND key <= ? AND tat <= ?`
)

// PruneLimits implements acme.LimitStore. It looks for full buckets by reads,
// which trouble no writer, page by page: an index by TAT would have to be
// written with each event. There is no audit event: nothing that a bucket
// says is lost with it.
func (db *DB) PruneLimits(ctx context.Context, now time.Time) error {
	full := instant(now.Add(-clockMargin))
	silent := func(do func(*tx) error) error {
		return db.change(ctx, happened(ca.System("limits"), now, "limits.prune", ""), func(t *tx) error {
			t.silent = true
			return do(t)
		})
	}
	for after := []byte{}; ; {
		var page []bucketRow
		if err := db.read(ctx, func(s *session) error { return s.list(&page, pageBuckets, after, prunePage) }); err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		first, last := page[0].Key, page[len(page)-1].Key
		if slices.ContainsFunc(page, func(r bucketRow) bool { return !time.Time(r.TAT).After(time.Time(full)) }) {
			err := silent(func(t *tx) error {
				_, err := t.exec(pruneBuckets, first, last, full)
				return err
			})
			if err != nil {
				return err
			}
		}
		after = last[:]
		if len(page) < prunePage {
			break
		}
	}
	return silent(func(t *tx) error {
		_, err := t.exec(pruneFailing, stamp(now.Add(-forgetFailing)), stamp(now.Add(-forgetPause)))
		return err
	})
}
