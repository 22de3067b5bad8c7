package storage

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// Replicas that start together take turns at migrating: one looks every second
// whether it is its turn, for five minutes.
const (
	migrationTry   = 1 // seconds
	migrationTries = 300
)

// provider runs the migrations of one dialect. goose keeps what was done in
// the table goose_db_version.
func provider(db *sql.DB, d *dialect) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+d.name)
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if d.numbered {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(migrationTry, migrationTries))
		if err != nil {
			return nil, err
		}
		return goose.NewProvider(goose.DialectPostgres, db, files, append(options, goose.WithSessionLocker(locker))...)
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files, options...)
}

// up does the migrations that are missing.
func up(ctx context.Context, db *sql.DB, d *dialect) error {
	p, err := provider(db, d)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// schemaVersion is the last migration of a database, 0 for an empty one.
const schemaVersion = `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`

// refuseNewer refuses a database that a later release has migrated: what this
// one would write into it could be wrong in ways that nobody notices.
func refuseNewer(ctx context.Context, db *sqlx.DB, d *dialect) error {
	var tables int
	if err := db.GetContext(ctx, &tables, d.hasVersion); err != nil {
		return err
	}
	if tables == 0 {
		return nil
	}
	var found, known int64
	if err := db.GetContext(ctx, &found, schemaVersion); err != nil {
		return err
	}
	p, err := provider(db.DB, d)
	if err != nil {
		return err
	}
	for _, s := range p.ListSources() {
		known = max(known, s.Version)
	}
	if found > known {
		return fmt.Errorf("its schema has version %d, and this program knows up to version %d: run the release that migrated it, or a later one", found, known)
	}
	return nil
}

// template is a database in memory with all migrations done, to be copied:
// that takes a fraction of a millisecond, the migrations several.
var template struct {
	sync.Mutex
	conn *sqlite3.SQLiteConn
}

// copySchema gives the one connection of an empty database in memory all tables.
func copySchema(ctx context.Context, db *sqlx.DB) error {
	conn, err := db.Connx(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	template.Lock()
	defer template.Unlock()
	if template.conn == nil {
		if template.conn, err = makeTemplate(ctx); err != nil {
			return err
		}
	}
	return conn.Raw(func(c any) error { return copyDatabase(c, template.conn) })
}

// makeTemplate migrates a database and copies it into a connection that has no
// pool, and so no goroutine, around it.
func makeTemplate(ctx context.Context) (*sqlite3.SQLiteConn, error) {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := up(ctx, db, sqliteDialect()); err != nil {
		return nil, err
	}
	made, err := (&sqlite3.SQLiteDriver{}).Open(":memory:")
	if err != nil {
		return nil, err
	}
	from, err := db.Conn(ctx)
	if err == nil {
		err = errors.Join(from.Raw(func(c any) error { return copyDatabase(made, c) }), from.Close())
	}
	to, ok := made.(*sqlite3.SQLiteConn)
	if err != nil || !ok {
		return nil, errors.Join(err, made.Close())
	}
	return to, nil
}

// copyDatabase copies between two connections of the SQLite driver.
func copyDatabase(dest, source any) error {
	to, isTo := dest.(*sqlite3.SQLiteConn)
	from, isFrom := source.(*sqlite3.SQLiteConn)
	if !isTo || !isFrom {
		return fmt.Errorf("the driver's connections are %T and %T", dest, source)
	}
	b, err := to.Backup("main", from, "main")
	if err != nil {
		return err
	}
	done, err := b.Step(-1)
	if err == nil && !done {
		err = errors.New("the copy is not complete")
	}
	return errors.Join(err, b.Finish())
}

// migrate implements engine. The writer's pool has one connection, so changes
// wait until the migrations are done.
func (e *sqliteEngine) migrate(ctx context.Context) error { return up(ctx, e.write.DB, e.dialect) }
