package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"chancery/acme"
	"chancery/acme/limit"
	"chancery/ca"
)

const orderColumns = `id, account, profile, identifiers, authorizations, not_before, not_after, replaces,
created_at, expires_at, began_at, lease_until, csr, certificate, error`

// orderRow is a row of orders.
type orderRow struct {
	ID             rowID      `db:"id"`
	Account        rowID      `db:"account"`
	Profile        string     `db:"profile"`
	Identifiers    nameList   `db:"identifiers"`
	Authorizations idList     `db:"authorizations"`
	NotBefore      stamp      `db:"not_before"`
	NotAfter       stamp      `db:"not_after"`
	Replaces       optional   `db:"replaces"`
	CreatedAt      stamp      `db:"created_at"`
	ExpiresAt      stamp      `db:"expires_at"`
	BeganAt        stamp      `db:"began_at"`
	LeaseUntil     stamp      `db:"lease_until"`
	CSR            []byte     `db:"csr"`
	Certificate    rowID      `db:"certificate"`
	Error          problemDoc `db:"error"`
}

func (r *orderRow) order() *acme.Order {
	return &acme.Order{
		ID: r.ID.text(), Account: r.Account.text(), Profile: r.Profile, Identifiers: r.Identifiers,
		NotBefore: r.NotBefore.time(), NotAfter: r.NotAfter.time(), Replaces: string(r.Replaces),
		CreatedAt: r.CreatedAt.time(), ExpiresAt: r.ExpiresAt.time(), BeganAt: r.BeganAt.time(),
		LeaseUntil: r.LeaseUntil.time(), CSR: r.CSR, Certificate: ca.Serial(r.Certificate), Error: r.Error.Problem,
	}
}

const insertOrder = `
INSERT INTO orders (id, account, profile, identifiers, authorizations, not_before, not_after, replaces,
created_at, expires_at, began_at, lease_until, csr, certificate, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL, NULL)`

// CreateOrder implements acme.OrderStore.
func (db *DB) CreateOrder(ctx context.Context, by ca.Actor, now time.Time, o *acme.Order, fresh []*acme.Authorization, spend ...limit.Spend) error {
	key, err := parseID("order", o.ID)
	if err != nil {
		return err
	}
	account, err := parseID("account", o.Account)
	if err != nil {
		return err
	}
	authorizations := make(idList, len(o.Authorizations))
	for i, a := range o.Authorizations {
		if authorizations[i], err = parseID("authorization", a.ID); err != nil {
			return err
		}
	}
	if len(authorizations) != len(o.Identifiers) {
		return fmt.Errorf("storage: order %s has %d identifiers and %d authorizations", o.ID, len(o.Identifiers), len(authorizations))
	}
	e := happened(by, now, actionOrderCreate, o.ID)
	e.detail = map[string]any{"names": len(o.Identifiers), "fresh": len(fresh)}
	return db.change(ctx, e, func(t *tx) error {
		if err := t.mayReplace(o.Replaces, now); err != nil {
			return err
		}
		if err := t.spend(now, spend); err != nil {
			return err
		}
		for _, a := range fresh {
			if err := t.insertAuthorization(a); err != nil {
				return err
			}
		}
		if err := t.owns(account, authorizations); err != nil {
			return err
		}
		return t.one(insertOrder, key, account, o.Profile, nameList(o.Identifiers), authorizations,
			stamp(o.NotBefore), stamp(o.NotAfter), optional(o.Replaces), stamp(o.CreatedAt), stamp(o.ExpiresAt))
	})
}

// newestReplacements: an order that replaces a certificate is created only
// while all earlier ones are invalid, and stay so. So the newest decides; a few
// more are looked at because the clocks of replicas may differ a little.
const newestReplacements = `SELECT ` + orderColumns + ` FROM orders WHERE replaces = ? ORDER BY id DESC LIMIT 8`

// mayReplace is acme.ErrAlreadyReplaced if an order that is not invalid stands
// as the replacement of the certificate (RFC 9773 section 5).
func (t *tx) mayReplace(certID string, now time.Time) error {
	if certID == "" {
		return nil
	}
	if t.dialect.lockText != "" { // two orders that don't see each other yet
		if _, err := t.exec(t.dialect.lockText, certID); err != nil {
			return err
		}
	}
	var rows []orderRow
	if err := t.list(&rows, newestReplacements, certID); err != nil {
		return err
	}
	for i := range rows {
		o, err := t.withAuthorizations(&rows[i])
		if err != nil {
			return err
		}
		if o.StatusAt(now) != acme.StatusInvalid {
			return acme.ErrAlreadyReplaced
		}
	}
	return nil
}

// owns checks that all the authorizations are there and belong to the account.
func (t *tx) owns(account rowID, authorizations idList) error {
	rows, err := t.authorizations(authorizations)
	if err != nil {
		return err
	}
	for _, a := range rows {
		if a.Account != account {
			return fmt.Errorf("storage: authorization %s belongs to another account than its order", a.ID.text())
		}
	}
	return nil
}

// authorizations finds authorizations by their IDs, in their sequence.
func (s *session) authorizations(ids idList) ([]*authorizationRow, error) {
	found := make(map[rowID]*authorizationRow, len(ids))
	for rest := ids; len(rest) > 0; {
		part := rest[:min(len(rest), maxAtOnce)]
		rest = rest[len(part):]
		// Padded to a power of two with the last one, so that there are few texts.
		width := 1
		for width < len(part) {
			width *= 2
		}
		args := make([]any, width)
		for i := range args {
			args[i] = part[min(i, len(part)-1)]
		}
		var rows []authorizationRow
		if err := s.list(&rows, `SELECT `+authorizationColumns+fromAuthorizations+` WHERE a.id IN (`+marks(width)+`)`, args...); err != nil {
			return nil, err
		}
		for i := range rows {
			found[rows[i].ID] = &rows[i]
		}
	}
	list := make([]*authorizationRow, len(ids))
	for i, key := range ids {
		if list[i] = found[key]; list[i] == nil {
			return nil, fmt.Errorf("storage: authorization %s of an order: %w", key.text(), ca.ErrNotFound)
		}
	}
	return list, nil
}

// maxAtOnce is how many rows one statement looks up by ID: an order's names in one.
const maxAtOnce = 128

// withAuthorizations makes the order of a row whole.
func (s *session) withAuthorizations(row *orderRow) (*acme.Order, error) {
	o := row.order()
	rows, err := s.authorizations(row.Authorizations)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		a, err := r.authorization()
		if err != nil {
			return nil, err
		}
		o.Authorizations = append(o.Authorizations, a)
	}
	return o, nil
}

const (
	orderByID   = `SELECT ` + orderColumns + ` FROM orders WHERE id = ?`
	orderExists = `SELECT 1 FROM orders WHERE id = ?`
)

// Order implements acme.OrderStore.
func (db *DB) Order(ctx context.Context, id string) (*acme.Order, error) {
	key, err := parseID("order", id)
	if err != nil {
		return nil, err
	}
	var o *acme.Order
	err = db.snapshot(ctx, func(s *session) error {
		o, err = s.order(orderByID, key)
		return err
	})
	return o, err
}

func (s *session) order(query string, key rowID) (*acme.Order, error) {
	var row orderRow
	if err := s.get(&row, query, key); err != nil {
		return nil, err
	}
	if row.ID != key {
		return nil, errForeignRow("order")
	}
	return s.withAuthorizations(&row)
}

// An order of which none of the facts that outlast its time is known is invalid
// from expires_at on (acme.Order.StatusAt).
const listOrderIDs = `
SELECT id FROM orders
WHERE account = ? AND id > ? AND (began_at IS NOT NULL OR certificate IS NOT NULL OR error IS NOT NULL OR expires_at > ?)
ORDER BY id LIMIT ?`

// OrderIDs implements acme.OrderStore. IDs begin with the time of their making.
func (db *DB) OrderIDs(ctx context.Context, account, after string, now time.Time, limit int) ([]string, error) {
	owner, err := parseID("account", account)
	if err != nil {
		return nil, err
	}
	cursor := []byte{} // before every ID
	if after != "" {
		key, err := parseID("order", after)
		if err != nil {
			return nil, err
		}
		cursor = key[:]
	}
	var found []rowID
	err = db.read(ctx, func(s *session) error { return s.list(&found, listOrderIDs, owner, cursor, stamp(now), max(limit, 0)) })
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(found))
	for i, key := range found {
		ids[i] = key.text()
	}
	return ids, nil
}

const beginFinalize = `UPDATE orders SET began_at = ?, csr = ?, lease_until = ? WHERE id = ? AND began_at IS NULL`

// BeginFinalize implements acme.OrderStore. Only an order that is ready can
// begin, by the same rule that clients see.
func (db *DB) BeginFinalize(ctx context.Context, by ca.Actor, now time.Time, id string, csr []byte, lease time.Time) error {
	key, err := parseID("order", id)
	if err != nil {
		return err
	}
	return db.change(ctx, happened(by, now, actionOrderFinalize, id), func(t *tx) error {
		var row orderRow
		if err := t.get(&row, orderByID+t.dialect.forUpdate, key); err != nil {
			return err
		}
		if err := t.lockAuthorizations(row.Authorizations); err != nil {
			return err
		}
		o, err := t.withAuthorizations(&row)
		if err != nil {
			return err
		}
		if o.StatusAt(now) != acme.StatusReady {
			return ca.ErrConflict
		}
		return t.one(beginFinalize, stamp(now), csr, stamp(lease), key)
	})
}

// lockAuthorizations keeps authorizations from being deactivated until the
// change is done, where that is needed. The IDs are locked in ascending
// order, so that two orders with the same names don't wait for each other.
func (t *tx) lockAuthorizations(ids idList) error {
	if t.dialect.forShare == "" || len(ids) == 0 {
		return nil
	}
	args := make([]any, len(ids))
	for i, key := range ids {
		args[i] = key
	}
	var locked []rowID
	return t.list(&locked, `SELECT id FROM authorizations WHERE id IN (`+marks(len(ids))+`) ORDER BY id`+t.dialect.forShare, args...)
}

const failOrder = `
UPDATE orders SET error = ?, lease_until = NULL
WHERE id = ? AND began_at IS NOT NULL AND certificate IS NULL AND error IS NULL`

// FailOrder implements acme.OrderStore.
func (db *DB) FailOrder(ctx context.Context, by ca.Actor, now time.Time, id string, p *acme.Problem) error {
	key, err := parseID("order", id)
	if err != nil {
		return err
	}
	if p == nil {
		return errors.New("storage: an order fails for a reason: the problem is nil")
	}
	e := happened(by, now, actionOrderFail, id)
	e.detail = map[string]any{"type": p.Kind.String()}
	return db.change(ctx, e, func(t *tx) error {
		return t.conflict(t.one(failOrder, problemDoc{p}, key), orderExists, key)
	})
}

// Orders implements admin.Store.
func (db *DB) Orders(ctx context.Context, s acme.OrderSearch) ([]*acme.Order, error) {
	var w where
	if s.Account != "" {
		account, err := parseID("account", s.Account)
		if errors.Is(err, ca.ErrNotFound) {
			return nil, nil
		}
		w.and("account = ?", account)
	}
	var orders []*acme.Order
	err := db.snapshot(ctx, func(q *session) error {
		if err := q.after(&w, "order", s.After, orderExists); err != nil {
			return err
		}
		var rows []orderRow
		query := `SELECT ` + orderColumns + ` FROM orders` + w.sql() + ` ORDER BY id DESC LIMIT ?`
		if err := q.list(&rows, query, append(w.args, pageSize(s.Limit))...); err != nil {
			return err
		}
		for i := range rows {
			o, err := q.withAuthorizations(&rows[i])
			if err != nil {
				return err
			}
			orders = append(orders, o)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return orders, nil
}
