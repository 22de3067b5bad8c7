package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"chancery/ca"
	"chancery/crl"
)

const dueShards = `SELECT issuer, shard, counter, covered, lease_until, refresh_at FROM crl_shards`

// shardRow is a row of crl_shards.
type shardRow struct {
	Issuer     string `db:"issuer"`
	Shard      int    `db:"shard"`
	Counter    int64  `db:"counter"`
	Covered    *int64 `db:"covered"`
	LeaseUntil stamp  `db:"lease_until"`
	RefreshAt  stamp  `db:"refresh_at"`
}

func (r *shardRow) due(now time.Time) bool {
	if r.LeaseUntil.time().After(now) {
		return false
	}
	return r.Covered == nil || r.Counter > *r.Covered || !now.Before(r.RefreshAt.time())
}

// Due implements crl.Store. The table has a short row for each shard, so that
// reading all of it is one statement, whatever is asked.
func (db *DB) Due(ctx context.Context, now time.Time, shards []crl.Shard) ([]crl.Shard, error) {
	var rows []shardRow
	if err := db.read(ctx, func(s *session) error { return s.list(&rows, dueShards) }); err != nil {
		return nil, err
	}
	resting := make(map[crl.Shard]bool, len(rows))
	for i := range rows {
		if !rows[i].due(now) {
			resting[crl.Shard{Issuer: rows[i].Issuer, Number: rows[i].Shard}] = true
		}
	}
	var due []crl.Shard
	for _, s := range shards {
		if !resting[s] {
			due = append(due, s)
		}
	}
	return due, nil
}

const (
	ensureShard = `
INSERT INTO crl_shards (issuer, shard, counter, covered, number, lease_until, refresh_at)
VALUES (?, ?, 0, NULL, 0, NULL, NULL)
ON CONFLICT (issuer, shard) DO NOTHING`

	claimShard = `
UPDATE crl_shards SET lease_until = ?, number = CASE WHEN number + 1 > ? THEN number + 1 ELSE ? END
WHERE issuer = ? AND shard = ? AND (lease_until IS NULL OR lease_until <= ?)`

	claimed = `SELECT number, counter FROM crl_shards WHERE issuer = ? AND shard = ?`
)

// Begin implements crl.Store.
func (db *DB) Begin(ctx context.Context, now time.Time, s crl.Shard, lease time.Time) (crl.Claim, error) {
	claim := crl.Claim{Shard: s}
	err := db.change(ctx, happened(ca.System("crl"), now, "crl.begin", ""), func(t *tx) error {
		t.silent = true // by contract: nothing that an operator audits
		if _, err := t.exec(ensureShard, s.Issuer, s.Number); err != nil {
			return err
		}
		err := t.one(claimShard, stamp(lease), now.UnixMilli(), now.UnixMilli(), s.Issuer, s.Number, stamp(now))
		if errors.Is(err, errNoRow) {
			return ca.ErrConflict
		}
		if err != nil {
			return err
		}
		var row struct {
			Number  int64 `db:"number"`
			Counter int64 `db:"counter"`
		}
		if err := t.get(&row, claimed, s.Issuer, s.Number); err != nil {
			return err
		}
		claim.Number, claim.Mark = row.Number, row.Counter
		return nil
	})
	if err != nil {
		return crl.Claim{}, err
	}
	return claim, nil
}

const listRevoked = `
SELECT serial, at, reason, not_after FROM revocations
WHERE issuer = ? AND shard = ? AND not_after >= ? ORDER BY serial`

// revokedRow is what a CRL needs of a row of revocations.
type revokedRow struct {
	Serial   rowID `db:"serial"`
	At       stamp `db:"at"`
	Reason   int   `db:"reason"`
	NotAfter stamp `db:"not_after"`
}

func (r *revokedRow) revoked() ca.Revoked {
	return ca.Revoked{Serial: ca.Serial(r.Serial), At: r.At.time(), Reason: ca.Reason(r.Reason), NotAfter: r.NotAfter.time()}
}

// endCheck is after how many rows a long read looks whether its caller still
// wants it.
const endCheck = 1024

// Revoked implements crl.Store: one statement, so one snapshot, in constant
// memory (but for a database in memory, where the consumer would otherwise
// have the only connection).
func (db *DB) Revoked(ctx context.Context, s crl.Shard, since time.Time) iter.Seq2[ca.Revoked, error] {
	if since.IsZero() { // a zero stamp is NULL, and nothing is later than that
		since = crl.Beginning
	}
	return func(yield func(ca.Revoked, error) bool) {
		if !db.engine.streams() {
			db.yieldCopied(ctx, s, since, yield)
			return
		}
		stopped := false
		err := db.read(ctx, func(q *session) (err error) {
			stopped, err = q.yieldRevoked(ctx, s, since, yield)
			return err
		})
		if err != nil && !stopped {
			yield(ca.Revoked{}, err)
		}
	}
}

func (s *session) yieldRevoked(ctx context.Context, shard crl.Shard, since time.Time, yield func(ca.Revoked, error) bool) (stopped bool, err error) {
	rows, err := s.q.QueryxContext(ctx, s.dialect.rebind(listRevoked), shard.Issuer, shard.Number, stamp(since))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for n := 0; rows.Next(); n++ {
		if n%endCheck == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		var r revokedRow
		if err := rows.Scan(&r.Serial, &r.At, &r.Reason, &r.NotAfter); err != nil {
			return false, err
		}
		if !yield(r.revoked(), nil) {
			return true, nil
		}
	}
	return false, rows.Err()
}

func (db *DB) yieldCopied(ctx context.Context, s crl.Shard, since time.Time, yield func(ca.Revoked, error) bool) {
	var rows []revokedRow
	err := db.read(ctx, func(q *session) error { return q.list(&rows, listRevoked, s.Issuer, s.Number, stamp(since)) })
	if err != nil {
		yield(ca.Revoked{}, err)
		return
	}
	for i := range rows {
		if !yield(rows[i].revoked(), nil) {
			return
		}
	}
}

const (
	putList = `
INSERT INTO crl_lists (issuer, shard, number, mark, this_update, next_update, refresh_at, entries, der)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (issuer, shard) DO UPDATE SET number = excluded.number, mark = excluded.mark,
this_update = excluded.this_update, next_update = excluded.next_update, refresh_at = excluded.refresh_at,
entries = excluded.entries, der = excluded.der
WHERE crl_lists.number < excluded.number`

	// The claim ends only if it is this one's: an older claim whose lease ran
	// out must not end the newer one that replaced it.
	coverShard = `
UPDATE crl_shards SET covered = ?, refresh_at = ?, lease_until = CASE WHEN number <= ? THEN NULL ELSE lease_until END
WHERE issuer = ? AND shard = ?`
)

// Put implements crl.Store. A shard that was never begun is ca.ErrNotFound.
func (db *DB) Put(ctx context.Context, by ca.Actor, now time.Time, l *crl.List) error {
	e := happened(by, now, actionCRLPublish, fmt.Sprintf("%s/%d", l.Shard.Issuer, l.Shard.Number))
	e.detail = map[string]any{"number": l.Number, "entries": l.Entries}
	return db.change(ctx, e, func(t *tx) error {
		err := t.one(coverShard, l.Mark, stamp(l.RefreshAt), l.Number, l.Shard.Issuer, l.Shard.Number)
		if errors.Is(err, errNoRow) {
			return ca.ErrNotFound
		}
		if err != nil {
			return err
		}
		err = t.one(putList, l.Shard.Issuer, l.Shard.Number, l.Number, l.Mark, stamp(l.ThisUpdate), stamp(l.NextUpdate),
			stamp(l.RefreshAt), l.Entries, l.DER)
		if errors.Is(err, errNoRow) {
			return ca.ErrConflict // which also undoes what was done to the shard
		}
		return err
	})
}

const latestList = `
SELECT number, mark, this_update, next_update, refresh_at, entries, der FROM crl_lists
WHERE issuer = ? AND shard = ? AND number > ?`

// Latest implements crl.Store.
func (db *DB) Latest(ctx context.Context, s crl.Shard, than int64) (*crl.List, error) {
	var row struct {
		Number     int64  `db:"number"`
		Mark       int64  `db:"mark"`
		ThisUpdate stamp  `db:"this_update"`
		NextUpdate stamp  `db:"next_update"`
		RefreshAt  stamp  `db:"refresh_at"`
		Entries    int    `db:"entries"`
		DER        []byte `db:"der"`
	}
	err := db.read(ctx, func(q *session) error { return q.get(&row, latestList, s.Issuer, s.Number, than) })
	if err != nil {
		return nil, err
	}
	return &crl.List{
		Shard: s, Number: row.Number, Mark: row.Mark, ThisUpdate: row.ThisUpdate.time(), NextUpdate: row.NextUpdate.time(),
		RefreshAt: row.RefreshAt.time(), Entries: row.Entries, DER: row.DER,
	}, nil
}
