package storage

import (
	"context"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// takers is the actor of a take-over: no client asked for it.
var takers = ca.System("take-over")

const (
	abandonedValidations = `SELECT id FROM authorizations WHERE lease_until IS NOT NULL AND lease_until <= ? ORDER BY lease_until LIMIT ?`
	renewValidation      = `UPDATE authorizations SET lease_until = ? WHERE id = ?`
	abandonedOrders      = `SELECT id FROM orders WHERE lease_until IS NOT NULL AND lease_until <= ? ORDER BY lease_until LIMIT ?`
	renewOrder           = `UPDATE orders SET lease_until = ? WHERE id = ?`
)

// TakeOverValidations implements acme.WorkStore.
func (db *DB) TakeOverValidations(ctx context.Context, now, lease time.Time, limit int) ([]*acme.Authorization, error) {
	var taken []*acme.Authorization
	err := db.takeOver(ctx, takeOver{
		now: now, lease: lease, limit: limit, find: abandonedValidations, renew: renewValidation, action: actionAuthorizationTake,
		reset: func() { taken = nil },
		load: func(t *tx, key rowID) error {
			a, err := t.authorization(authorizationByID, key)
			taken = append(taken, a)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// TakeOverOrders implements acme.WorkStore.
func (db *DB) TakeOverOrders(ctx context.Context, now, lease time.Time, limit int) ([]*acme.Order, error) {
	var taken []*acme.Order
	err := db.takeOver(ctx, takeOver{
		now: now, lease: lease, limit: limit, find: abandonedOrders, renew: renewOrder, action: actionOrderTakeOver,
		reset: func() { taken = nil },
		load: func(t *tx, key rowID) error {
			o, err := t.order(orderByID, key)
			taken = append(taken, o)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

// takeOver is one look for abandoned work of one kind.
type takeOver struct {
	now, lease  time.Time
	limit       int
	find, renew string
	action      string
	reset       func()
	load        func(t *tx, key rowID) error
}

// takeOver renews the leases that ran out, each with its event. Mostly there
// are none, which a read finds out without troubling the writer.
func (db *DB) takeOver(ctx context.Context, w takeOver) error {
	var keys []rowID
	err := db.read(ctx, func(s *session) error { return s.list(&keys, w.find, stamp(w.now), max(w.limit, 0)) })
	if err != nil || len(keys) == 0 {
		return err
	}
	return db.change(ctx, happened(takers, w.now, w.action, ""), func(t *tx) error {
		w.reset()
		t.silent = true // each object gets its own event
		var keys []rowID
		if err := t.list(&keys, w.find+t.dialect.skipLocked, stamp(w.now), max(w.limit, 0)); err != nil {
			return err
		}
		for _, key := range keys {
			if err := t.one(w.renew, stamp(w.lease), key); err != nil {
				return err
			}
			if err := w.load(t, key); err != nil {
				return err
			}
			if err := t.record(happened(takers, w.now, w.action, key.text())); err != nil {
				return err
			}
		}
		return nil
	})
}

// Work without an outcome is what has a lease: it is found in partial indexes.
const backlog = `
SELECT validations, orders, CASE WHEN tried IS NULL OR began < tried THEN began ELSE tried END AS oldest FROM
(SELECT COUNT(*) AS validations, MIN(attempted_at) AS tried FROM authorizations WHERE lease_until IS NOT NULL) v,
(SELECT COUNT(*) AS orders, MIN(began_at) AS began FROM orders WHERE lease_until IS NOT NULL) o`

// Backlog implements admin.Store.
func (db *DB) Backlog(ctx context.Context) (acme.Backlog, error) {
	var row struct {
		Validations int64 `db:"validations"`
		Orders      int64 `db:"orders"`
		Oldest      stamp `db:"oldest"`
	}
	if err := db.read(ctx, func(s *session) error { return s.get(&row, backlog) }); err != nil {
		return acme.Backlog{}, err
	}
	return acme.Backlog{Validations: row.Validations, Orders: row.Orders, Oldest: row.Oldest.time()}, nil
}
