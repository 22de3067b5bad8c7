package storage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"

	"chancery/ca"
)

// dialect is what differs between the databases.
type dialect struct {
	name     string
	numbered bool // placeholders are $1, $2 … instead of ?
	rebound  sync.Map

	// Locks; all empty for SQLite, which has one writer.
	forUpdate  string // behind a SELECT whose row the change relies on and changes
	forShare   string // behind a SELECT whose rows must stay as they are
	skipLocked string // behind a SELECT that takes work which nobody else takes just now
	lockText   string // a statement: whoever has the lock of the same text goes first

	// In front of a column to sort by: find by another index and sort, rather
	// than walk along this column's index. SQLite has no statistics that tell it.
	sortAnyway string

	hasVersion string   // counts the table that goose keeps
	selfChecks []string // statements that list faults as texts; "ok" is none
}

// SQLite needs no row locks: there is one writer.
func sqliteDialect() *dialect {
	return &dialect{
		name:       "sqlite",
		sortAnyway: "+",
		hasVersion: `SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'goose_db_version'`,
		selfChecks: []string{
			`SELECT quick_check FROM pragma_quick_check`,
			`SELECT 'a row of ' || "table" || ' refers to what is not in ' || parent FROM pragma_foreign_key_check`,
		},
	}
}

func postgresDialect() *dialect {
	return &dialect{
		name: "postgres", numbered: true,
		forUpdate: " FOR UPDATE", forShare: " FOR SHARE", skipLocked: " FOR UPDATE SKIP LOCKED",
		lockText:   `SELECT pg_advisory_xact_lock(hashtextextended(?, 0))`,
		hasVersion: `SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass('goose_db_version')`,
	}
}

// rebind writes the placeholders as the database wants them. Our statements
// have no "?" in literals or comments, and there is a bounded number of them.
func (d *dialect) rebind(query string) string {
	if !d.numbered {
		return query
	}
	known, _ := d.rebound.Load(query)
	if bound, ok := known.(string); ok {
		return bound
	}
	var b strings.Builder
	n := 0
	for i := range len(query) {
		if query[i] != '?' {
			b.WriteByte(query[i])
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	d.rebound.Store(query, b.String())
	return b.String()
}

// SQLSTATEs of PostgreSQL (its appendix A).
const (
	stateForeignKey    = "23503"
	stateUnique        = "23505"
	stateSerialization = "40001"
	stateDeadlock      = "40P01"
	stateTooMany       = "53300"
	stateStarting      = "57P03"
)

// errDuplicate says that a row broke a UNIQUE constraint.
var errDuplicate = fmt.Errorf("a row with this key is there already: %w", ca.ErrConflict)

// explain translates what a database says of its constraints.
func (d *dialect) explain(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[sqlite3.Error](err); ok {
		switch e.ExtendedCode {
		case sqlite3.ErrConstraintUnique, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintRowID:
			return fmt.Errorf("%w: %w", errDuplicate, err)
		case sqlite3.ErrConstraintForeignKey:
			return fmt.Errorf("refers to what is not there: %w: %w", ca.ErrNotFound, err)
		}
		return err
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case stateUnique:
			return fmt.Errorf("%w: %w", errDuplicate, err)
		case stateForeignKey:
			return fmt.Errorf("refers to what is not there: %w: %w", ca.ErrNotFound, err)
		}
	}
	return err
}

// passing says that the same transaction may well succeed when it is run
// again: it lost against another one. A duplicate is among these, because the
// check that came before it will now see the other's row.
func (d *dialect) passing(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == stateSerialization || e.Code == stateDeadlock || e.Code == stateUnique
	}
	return false
}

// marks is "?, ?, …": n placeholders.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
