package storage

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
)

// Settings of a SQLite database.
const (
	// How long a connection waits for a lock that another process holds (a
	// backup, the command line beside the server). Within this process nobody
	// waits: there is one writer, and in WAL mode readers block nobody.
	busyMillis = 10_000
	// Compiled statements that each connection keeps. There are about a
	// hundred, and compiling one costs more than running it.
	keptStatements = 256
	// Page caches, in KiB (negative: that is what the pragma wants).
	writerCache = -65_536
	readerCache = -8_192
	// The write-ahead log is cut back to this after a checkpoint, so that one
	// long read does not leave it large for ever.
	walLimit = 64 << 20
	// Readers: each is a file handle and a page cache. More than a few for
	// each processor only wait for each other.
	minReaders = 4
)

// sqliteEngine is a SQLite database: one writer and a few readers, or, in
// memory, one connection that takes turns.
type sqliteEngine struct {
	dialect *dialect
	path    string   // empty: in memory
	write   *sqlx.DB // a pool of one connection; in memory the same as readers
	readers *sqlx.DB
	writer  *writer
}

// pragmas is a DSN for mattn/go-sqlite3. synchronous=FULL: a commit that was
// answered survives the power failing.
func pragmas(path, more string) string {
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	return fmt.Sprintf("file:%s?_busy_timeout=%d&_foreign_keys=on&_stmt_cache_size=%d&_txlock=immediate&%s",
		escaped, busyMillis, keptStatements, more)
}

func openFile(ctx context.Context, path string) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	// SQLite would make the file readable for all; its log files get the mode of this one.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("storage: opening the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("storage: opening the database: %w", err)
	}
	e := &sqliteEngine{dialect: sqliteDialect(), path: path}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("storage: opening %s: %w", path, err), closeAll(e.write, e.readers))
	}
	e.writer = startWriter(e.dialect, e.writeConn, e.writeDone)
	return &DB{dialect: e.dialect, engine: e}, nil
}

func (e *sqliteEngine) open(ctx context.Context) (err error) {
	e.write, err = sqlx.Open("sqlite3", pragmas(e.path, fmt.Sprintf("_journal_mode=WAL&_synchronous=FULL&_cache_size=%d", writerCache)))
	if err != nil {
		return err
	}
	e.write.SetMaxOpenConns(1)
	if _, err := e.write.ExecContext(ctx, fmt.Sprintf("PRAGMA journal_size_limit = %d", walLimit)); err != nil {
		return err
	}
	if err := refuseNewer(ctx, e.write, e.dialect); err != nil {
		return err
	}
	e.readers, err = sqlx.Open("sqlite3", pragmas(e.path, fmt.Sprintf("_query_only=on&_cache_size=%d", readerCache)))
	if err != nil {
		return err
	}
	n := max(minReaders, 2*runtime.GOMAXPROCS(0))
	e.readers.SetMaxOpenConns(n)
	e.readers.SetMaxIdleConns(n)
	return nil
}

// openMemory makes an empty database with all tables. One connection does
// everything, in turns: SQLite's shared caches would answer readers with
// "table is locked" while the writer works.
func openMemory(ctx context.Context) (*DB, error) {
	e := &sqliteEngine{dialect: sqliteDialect()}
	var err error
	if e.readers, err = sqlx.Open("sqlite3", pragmas(":memory:", "_synchronous=OFF")); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	e.write = e.readers
	e.readers.SetMaxOpenConns(1)
	if err := copySchema(ctx, e.readers); err != nil {
		return nil, errors.Join(fmt.Errorf("storage: opening a database in memory: %w", err), e.readers.Close())
	}
	e.writer = startWriter(e.dialect, e.writeConn, e.writeDone)
	return &DB{dialect: e.dialect, engine: e}, nil
}

// change implements engine.
func (e *sqliteEngine) change(ctx context.Context, ev event, do func(*tx) error) error {
	return e.writer.change(ctx, ev, do)
}

// writeConn gives the writer its connection: the pool has only that one.
func (e *sqliteEngine) writeConn() (*sqlx.Conn, error) { return e.write.Connx(context.Background()) }

// writeDone takes it back; a broken one is replaced by the next writeConn.
func (e *sqliteEngine) writeDone(c *sqlx.Conn, broken bool) {
	if broken {
		_ = c.Raw(func(any) error { return driver.ErrBadConn }) // which is what closes it
	}
	_ = c.Close() // gives it back to the pool; all that can fail is that it is closed already
}

// read implements engine.
func (e *sqliteEngine) read(ctx context.Context, snapshot bool, do func(*session) error) (err error) {
	conn, err := e.readers.Connx(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Background, not bounded(ctx): an end would cost a goroutine for each
	// statement, and a statement of ours is bounded by what it may return.
	s := &session{ctx: context.Background(), q: conn, dialect: e.dialect}
	if !snapshot || e.path == "" { // in memory, having the connection is a snapshot
		return do(s)
	}
	if _, err := s.exec("BEGIN DEFERRED"); err != nil {
		return err
	}
	defer func() {
		// Nothing was written, so there is nothing to commit.
		if _, end := s.exec("ROLLBACK"); end != nil {
			err = errors.Join(err, end)
		}
	}()
	return do(s)
}

// streams implements engine: in memory, a long read would stop everything else.
func (e *sqliteEngine) streams() bool { return e.path != "" }

// close implements engine. SQLite copies its log into the database when the
// last connection goes.
func (e *sqliteEngine) close() error {
	e.writer.close()
	if e.path == "" {
		return e.readers.Close()
	}
	return closeAll(e.readers, e.write)
}

// isBusy says that another process has the lock that was waited for.
func isBusy(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}
