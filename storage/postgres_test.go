package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is the PostgreSQL that all tests of the package share; each test has
// its own database in it.
var server struct {
	once sync.Once
	dir  string
	stop func() error
	err  error
	used atomic.Int64
}

// TestMain ends what newDatabase started.
func TestMain(m *testing.M) {
	code := m.Run()
	if server.stop != nil {
		if err := server.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// openTestPostgres makes an empty database. It fails when there is no server:
// a test that quietly did not run would be worth nothing.
func openTestPostgres(t testing.TB) *DB {
	t.Helper()
	return opened(t, newDatabase(t, "migrated"))
}

// newDatabase copies a database: "template0" is empty, "migrated" has all tables.
func newDatabase(t testing.TB, from string) (dsn string) {
	t.Helper()
	server.once.Do(func() { server.stop, server.err = startPostgres() })
	if server.err != nil {
		t.Fatalf("these tests need PostgreSQL 15 or later (Debian: apt-get install postgresql): %v", server.err)
	}
	database := fmt.Sprintf("test%d", server.used.Add(1))
	must(t, createDatabase(database, from))
	return serverDSN(database)
}

func createDatabase(database, from string) error {
	admin, err := pgx.Connect(context.Background(), serverDSN("postgres"))
	if err != nil {
		return err
	}
	_, err = admin.Exec(context.Background(), "CREATE DATABASE "+database+" TEMPLATE "+from+" ENCODING 'UTF8' STRATEGY file_copy")
	return errors.Join(err, admin.Close(context.Background()))
}

// makeTemplateDatabase migrates once what most tests then copy.
func makeTemplateDatabase() error {
	if err := createDatabase("migrated", "template0"); err != nil {
		return err
	}
	db, err := Open(context.Background(), serverDSN("migrated"))
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(context.Background()), db.Close())
}

func serverDSN(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + server.dir
}

// postgresProgram finds a program of the newest installed server.
func postgresProgram(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil {
		return "", err
	}
	best, version := "", 0
	for _, path := range found {
		v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err == nil && v >= 15 && v > version {
			best, version = path, v
		}
	}
	if best != "" {
		return best, nil
	}
	return exec.LookPath(name)
}

// startPostgres runs a PostgreSQL of the tests' own: in a directory of its
// own, on a socket only, as the user postgres when the tests run as root,
// because the server refuses to be root.
func startPostgres() (stop func() error, err error) {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := postgresProgram("postgres")
	if err != nil {
		return nil, err
	}
	// A short path: the name of a socket may have 107 characters.
	if server.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	as, err := otherUser(server.dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(server.dir, "data")
	var out bytes.Buffer
	init := exec.Command(initdb, "--pgdata="+data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	init.SysProcAttr, init.Dir, init.Stdout, init.Stderr = as, server.dir, &out, &out
	if err := init.Run(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out.String())
	}
	// fsync=off: what is tested here is our side of durability.
	run := exec.Command(postgres, "-D", data, "-k", server.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "max_connections=300")
	run.SysProcAttr, run.Dir, run.Stdout, run.Stderr = as, server.dir, &out, &out
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the death signal follows the thread that started the server
		err := run.Start()
		started <- err
		if err == nil {
			ended <- run.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	stop = func() error {
		err := run.Process.Signal(syscall.SIGINT) // fast shutdown
		return errors.Join(err, <-ended, os.RemoveAll(server.dir))
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := pgx.Connect(context.Background(), serverDSN("postgres"))
		if err == nil {
			return stop, errors.Join(conn.Close(context.Background()), makeTemplateDatabase())
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("the server does not answer: %w: %s", err, out.String()), stop())
		}
	}
}

// otherUser is how to run a program as postgres, if we are root.
func otherUser(dir string) (*syscall.SysProcAttr, error) {
	// Should the tests die, the server goes with them.
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT}
	if os.Getuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(dir, uid, gid)
}
