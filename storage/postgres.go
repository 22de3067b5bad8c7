package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
)

// Settings of a PostgreSQL database.
const (
	// Connections of one process. Each is a process of the server, whose limit
	// is 100 by default and shared by all replicas.
	maxPostgresConnections = 24
	// How often a transaction that lost against another one is run again, and
	// how long the pause before grows.
	maxRepeats = 8
	firstPause = 2 * time.Millisecond
	// How long making a connection may take, with its repetitions, and the
	// pause between two of them.
	connectTime  = 10 * time.Second
	connectPause = 50 * time.Millisecond
	// The oldest server that is supported, as server_version_num has it.
	minPostgresVersion = 150_000
)

// postgresEngine is a PostgreSQL database, shared by any number of processes.
type postgresEngine struct {
	dialect    *dialect
	db         *sqlx.DB
	collisions atomic.Uint32
}

func openPostgres(ctx context.Context, dsn string) (*DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("storage: the postgres dsn is not usable: %w", err) // pgx leaves the password out
	}
	// The simple protocol puts values into the statement's text, and has let
	// them out of their quotes (SAFETY I80: CVE-2024-27304, CVE-2026-41889).
	if config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol {
		return nil, errors.New("storage: the postgres dsn asks for the simple protocol; leave default_query_exec_mode out")
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "chancery"
	}
	// The changes are written for this level: what they rely on they lock.
	config.RuntimeParams["default_transaction_isolation"] = "read committed"
	e := &postgresEngine{dialect: postgresDialect(), db: sqlx.NewDb(sql.OpenDB(connector{stdlib.GetConnector(*config)}), "pgx")}
	e.db.SetMaxOpenConns(maxPostgresConnections)
	e.db.SetMaxIdleConns(maxPostgresConnections)
	if err := e.check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("storage: opening %s on %s: %w", config.Database, config.Host, err), e.db.Close())
	}
	return &DB{dialect: e.dialect, engine: e}, nil
}

// connector makes connections for the pool. Not for the caller that happened to
// need one: if that goes away, the connection still is made, because one that
// is given up half-way costs the server as much, and the next caller again.
type connector struct{ driver.Connector }

// Connect implements driver.Connector. A server that is just too busy, or
// starting, is asked again.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := bounded(ctx, connectTime)
	defer cancel()
	for {
		conn, err := c.Connector.Connect(ctx)
		if err == nil || !busyServer(err) {
			return conn, err
		}
		select {
		case <-time.After(connectPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// busyServer says that the server has no room for another connection just now
// (a full line at its socket is EAGAIN on Linux), or is starting.
func busyServer(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == stateTooMany || e.Code == stateStarting
	}
	return errors.Is(err, syscall.EAGAIN)
}

// check asserts what the changes rely on.
func (e *postgresEngine) check(ctx context.Context) error {
	var found struct {
		Version   int    `db:"version"`
		Isolation string `db:"isolation"`
		Durable   string `db:"durable"`
		Encoding  string `db:"encoding"`
	}
	err := e.db.GetContext(ctx, &found, `
SELECT current_setting('server_version_num')::int AS version, current_setting('transaction_isolation') AS isolation,
current_setting('synchronous_commit') AS durable, current_setting('server_encoding') AS encoding`)
	switch {
	case err != nil:
		return err
	case found.Version < minPostgresVersion:
		return fmt.Errorf("the server has version %d, at least %d is needed", found.Version, minPostgresVersion)
	case found.Isolation != "read committed":
		return fmt.Errorf("the isolation level is %q, not \"read committed\"", found.Isolation)
	case found.Durable == "off":
		return errors.New("synchronous_commit is off: what clients were told could be lost; set it on")
	case found.Encoding != "UTF8":
		return fmt.Errorf("the database has the encoding %s, not UTF8", found.Encoding)
	}
	return refuseNewer(ctx, e.db, e.dialect)
}

// change implements engine. A caller that goes away while a connection is
// waited for takes its change with it; once it runs, its outcome is what counts.
func (e *postgresEngine) change(ctx context.Context, ev event, do func(*tx) error) error {
	for repeats := 0; ; repeats++ {
		err := e.once(ctx, ev, do)
		if err == nil || repeats == maxRepeats || !e.dialect.passing(err) {
			return err
		}
		// Those who collided come back one behind the other.
		turn := time.Duration(e.collisions.Add(1) % 8)
		pause := time.NewTimer(firstPause<<min(repeats, 4) + turn*firstPause/4)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

func (e *postgresEngine) once(ctx context.Context, ev event, do func(*tx) error) (err error) {
	conn, err := e.db.Connx(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := bounded(ctx, changeTime)
	defer cancel()
	inner, err := conn.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	t := &tx{session: session{ctx: ctx, q: inner, dialect: e.dialect}}
	if err := t.run(ev, do); err != nil {
		return errors.Join(err, inner.Rollback())
	}
	return inner.Commit()
}

// read implements engine.
func (e *postgresEngine) read(ctx context.Context, snapshot bool, do func(*session) error) error {
	conn, err := e.db.Connx(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := bounded(ctx, readTime)
	defer cancel()
	if !snapshot {
		return do(&session{ctx: ctx, q: conn, dialect: e.dialect})
	}
	inner, err := conn.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	if err := do(&session{ctx: ctx, q: inner, dialect: e.dialect}); err != nil {
		return errors.Join(err, inner.Rollback())
	}
	return inner.Commit()
}

// streams implements engine.
func (e *postgresEngine) streams() bool { return true }

// migrate implements engine.
func (e *postgresEngine) migrate(ctx context.Context) error { return up(ctx, e.db.DB, e.dialect) }

// close implements engine.
func (e *postgresEngine) close() error { return e.db.Close() }
