package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"chancery/ca"
)

// queryer is a connection or a transaction: *sqlx.Conn and *sqlx.Tx.
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	SelectContext(ctx context.Context, dest any, query string, args ...any) error
	QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error)
}

// errNoRow says that a statement which should have changed one row changed
// none: its condition did not hold.
var errNoRow = errors.New("no row changed")

// session runs statements for one read or one change. Its context has no
// cancellation beyond the bound of the whole (readTime, changeTime): a query that
// is cut short at a client's wish is a chance for its connection to end up
// with a foreign row (I79), and none takes long.
type session struct {
	ctx     context.Context
	q       queryer
	dialect *dialect
}

// exec runs a statement and says how many rows it changed.
func (s *session) exec(query string, args ...any) (int64, error) {
	res, err := s.q.ExecContext(s.ctx, s.dialect.rebind(query), args...)
	if err != nil {
		return 0, s.dialect.explain(err)
	}
	return res.RowsAffected()
}

// one runs a statement that must change exactly one row; errNoRow if it changed none.
func (s *session) one(query string, args ...any) error {
	n, err := s.exec(query, args...)
	switch {
	case err != nil:
		return err
	case n == 0:
		return errNoRow
	case n > 1:
		return fmt.Errorf("a change of one row changed %d", n)
	}
	return nil
}

// get reads one row into a struct or a column; ca.ErrNotFound if there is none.
func (s *session) get(dest any, query string, args ...any) error {
	err := s.q.GetContext(s.ctx, dest, s.dialect.rebind(query), args...)
	if errors.Is(err, sql.ErrNoRows) {
		return ca.ErrNotFound
	}
	return s.dialect.explain(err)
}

// list reads rows into a slice.
func (s *session) list(dest any, query string, args ...any) error {
	return s.dialect.explain(s.q.SelectContext(s.ctx, dest, s.dialect.rebind(query), args...))
}

// tx is a change under way.
type tx struct {
	session
	silent bool // nothing was changed, so there is nothing to record
	event  event
}

// event is what a change records of itself.
type event struct {
	by     ca.Actor
	at     time.Time
	action string
	object string
	detail map[string]any // small; nil for none
}

// record writes an audit event into the transaction.
func (t *tx) record(e event) error {
	detail := ""
	if len(e.detail) > 0 {
		b, err := json.Marshal(e.detail)
		if err != nil {
			return err
		}
		detail = string(b)
	}
	return t.one(insertEvent, stamp(e.at), string(e.by.Kind), e.by.ID, e.by.Addr, e.action, e.object, detail)
}

// run does the change and records it. It may be called again after an error,
// so a change must not keep what a failed attempt left in its variables.
func (t *tx) run(e event, do func(*tx) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("storage: panic in %s: %v", e.action, v)
		}
	}()
	t.event = e
	if err := do(t); err != nil {
		return err
	}
	if t.silent {
		return nil
	}
	return t.record(t.event)
}

// conflict turns "no row changed" into ca.ErrConflict, or into ca.ErrNotFound
// if the query finds nothing by that ID.
func (t *tx) conflict(err error, exists string, key any) error {
	if !errors.Is(err, errNoRow) {
		return err
	}
	var n int
	if err := t.get(&n, exists, key); err != nil {
		return err
	}
	return ca.ErrConflict
}
