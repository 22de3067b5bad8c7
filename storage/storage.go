package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"chancery/acme"
	"chancery/crl"
	"chancery/ocsp"
)

// Bounds of a single operation.
const (
	// One read: the largest is a page of a thousand certificates.
	readTime = 30 * time.Second
	// One change on PostgreSQL, with its repetitions. SQLite has its own: the
	// busy timeout, and the disk.
	changeTime = 30 * time.Second
)

// DB is an open database.
type DB struct {
	dialect *dialect
	engine  engine
	close   sync.Once
	closed  error
}

// engine is what the two databases do in different ways.
type engine interface {
	// change runs do in a transaction and records the event in it.
	change(ctx context.Context, e event, do func(*tx) error) error
	// read lends a connection; as one consistent state if snapshot is set.
	read(ctx context.Context, snapshot bool, do func(*session) error) error
	// streams says whether a read may last as long as its consumer likes.
	streams() bool
	migrate(ctx context.Context) error
	close() error
}

// Open opens the database that dsn names: "sqlite:PATH" (made if it is not
// there, mode 0600), "sqlite::memory:" or ":memory:" (empty, of its own, gone
// when it is closed), or a "postgres://" URL. A database whose schema is newer
// than this program knows is refused. Only a database in memory has its tables
// already; call Migrate for the others.
func Open(ctx context.Context, dsn string) (*DB, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch {
	case dsn == ":memory:" || dsn == "sqlite::memory:":
		return openMemory(ctx)
	case scheme == "sqlite" && rest != "":
		return openFile(ctx, rest)
	case scheme == "postgres" || scheme == "postgresql":
		return openPostgres(ctx, dsn)
	}
	// The dsn may hold a password: only its scheme is repeated.
	return nil, fmt.Errorf("storage: a dsn that begins with %.20q is not supported; write sqlite:PATH, sqlite::memory: or postgres://USER@HOST/DATABASE", scheme)
}

// Migrate brings the schema up to date, each step in a transaction of its own.
// It may run in several processes at once, and again.
func (db *DB) Migrate(ctx context.Context) error {
	if err := db.engine.migrate(ctx); err != nil {
		return fmt.Errorf("storage: migrating: %w", err)
	}
	return nil
}

// Close waits for the changes that were accepted, and closes all connections.
func (db *DB) Close() error {
	db.close.Do(func() { db.closed = db.engine.close() })
	return db.closed
}

// Ping says whether the database answers a read and lets a change begin.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.read(ctx, func(s *session) error {
		var one int
		return s.get(&one, `SELECT 1`)
	}); err != nil {
		return fmt.Errorf("storage: reading: %w", err)
	}
	err := db.engine.change(ctx, event{action: "ping"}, func(*tx) error { return errNothing })
	if !errors.Is(err, errNothing) {
		return fmt.Errorf("storage: beginning a change: %w", err)
	}
	return nil
}

// errNothing ends a change that has nothing to keep.
var errNothing = errors.New("nothing to keep")

// change is the one way to change anything: do runs in a transaction, and the
// audit event is written by the same transaction. When it returns nil, both
// are durable. do may run more than once.
func (db *DB) change(ctx context.Context, e event, do func(*tx) error) error {
	return db.engine.change(ctx, e, do)
}

// read runs a single statement, or several that need not agree.
func (db *DB) read(ctx context.Context, do func(*session) error) error {
	return db.engine.read(ctx, false, do)
}

// snapshot runs several statements that see one state.
func (db *DB) snapshot(ctx context.Context, do func(*session) error) error {
	return db.engine.read(ctx, true, do)
}

// bounded is a context for statements: cut off from the caller's end (see
// session), but not without an end.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// closeAll closes several pools and joins what they say.
func closeAll(pools ...*sqlx.DB) error {
	var all error
	for _, p := range pools {
		if p != nil {
			all = errors.Join(all, p.Close())
		}
	}
	return all
}

// What the engines above ask for.
var (
	_ acme.Store = (*DB)(nil)
	_ crl.Store  = (*DB)(nil)
	_ ocsp.Store = (*DB)(nil)
)
