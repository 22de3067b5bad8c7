package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func TestOpenRefuses(t *testing.T) {
	for _, dsn := range []string{"", "chancery.db", "sqlite:", "mysql://x:secret@y/z", "sqlite:" + t.TempDir(), "sqlite:/no/such/dir/x.db", "postgres://u:secret@127.0.0.1:1/x"} {
		db, err := Open(t.Context(), dsn)
		if err == nil {
			t.Errorf("Open(%q) works", dsn)
			_ = db.Close()
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) tells the password: %v", dsn, err)
		}
	}
}

func TestDatabaseFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?#%41.db")
	db := opened(t, "sqlite:"+path)
	newAccount(t, db)
	for _, end := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + end)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", path+end, info.Mode())
		}
	}
}

func TestSettingsOfEveryConnection(t *testing.T) {
	db := openTestFile(t)
	e := db.engine.(*sqliteEngine)
	ask := func(q queryer, pragma string) string {
		var value string
		must(t, q.GetContext(t.Context(), &value, "PRAGMA "+pragma))
		return value
	}
	reader := got[queryer](t)(e.readers.Connx(t.Context()))
	writer := got[queryer](t)(e.write.Connx(t.Context()))
	for _, c := range []struct {
		on             queryer
		pragma, wanted string
	}{
		{writer, "journal_mode", "wal"},
		{writer, "synchronous", "2"}, // FULL
		{writer, "foreign_keys", "1"},
		{writer, "busy_timeout", fmt.Sprint(busyMillis)},
		{writer, "journal_size_limit", fmt.Sprint(walLimit)},
		{reader, "query_only", "1"},
		{reader, "journal_mode", "wal"},
		{reader, "busy_timeout", fmt.Sprint(busyMillis)},
	} {
		if value := ask(c.on, c.pragma); value != c.wanted {
			t.Errorf("%s is %s, not %s", c.pragma, value, c.wanted)
		}
	}
	for _, q := range []queryer{reader, writer} {
		must(t, q.(interface{ Close() error }).Close())
	}
}

func TestMemoryDatabasesAreApart(t *testing.T) {
	one, two := openTestMemory(t), openTestMemory(t)
	a := newAccount(t, one)
	if _, err := two.Account(t.Context(), a.ID); !errors.Is(err, ca.ErrNotFound) {
		t.Errorf("in the other database: %v", err)
	}
}

func TestMigrateFromNothingAndAgain(t *testing.T) {
	for name, dsn := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "new.db") },
		"postgres": func() string { return newDatabase(t, "template0") },
	} {
		t.Run(name, func(t *testing.T) {
			dsn := dsn()
			db, err := Open(t.Context(), dsn)
			must(t, err)
			if _, err := db.Account(t.Context(), newID(noon)); err == nil || errors.Is(err, ca.ErrNotFound) {
				t.Errorf("without tables: %v", err)
			}
			for range 2 {
				must(t, db.Migrate(t.Context()))
			}
			must(t, db.Ping(t.Context()))
			account := newAccount(t, db)
			must(t, db.Close())

			again := opened(t, dsn)
			if _, err := again.Account(t.Context(), account.ID); err != nil {
				t.Errorf("after reopening and migrating: %v", err)
			}
			must(t, again.change(t.Context(), happened(operator, noon, "test", ""), func(tx *tx) error {
				return tx.one(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, `+map[string]string{"sqlite": "1", "postgres": "true"}[name]+`)`, 9999)
			}))
			if _, err := Open(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "9999") {
				t.Errorf("a newer schema: %v", err)
			}
		})
	}
}

func TestReplicasMigrateTogether(t *testing.T) {
	dsn := newDatabase(t, "template0")
	for _, err := range race(4, func(int) error {
		db, err := Open(context.Background(), dsn)
		if err != nil {
			return err
		}
		return errors.Join(db.Migrate(context.Background()), db.Close())
	}) {
		must(t, err)
	}
}

func TestPostgresRefusesUnsafeSettings(t *testing.T) {
	dsn := newDatabase(t, "template0")
	if _, err := Open(t.Context(), dsn+"&synchronous_commit=off"); err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Errorf("commits that don't wait: %v", err)
	}
}

func TestSchemasAgree(t *testing.T) {
	columns := func(db *DB, query string) (list []string) {
		must(t, db.read(t.Context(), func(s *session) error { return s.list(&list, query) }))
		return list
	}
	sqlite := columns(openTestMemory(t), `
SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c
WHERE t.type = 'table' AND t.name NOT LIKE 'goose%' AND t.name NOT LIKE 'sqlite%' ORDER BY 1`)
	postgres := columns(openTestPostgres(t), `
SELECT table_name || '.' || column_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%' ORDER BY 1`)
	if len(sqlite) < 50 || strings.Join(sqlite, " ") != strings.Join(postgres, " ") {
		t.Errorf("the columns differ:\n%q\n%q", sqlite, postgres)
	}
}

func TestCheckFindsFaults(t *testing.T) {
	for _, c := range []struct{ says, fault string }{
		{"every name's index", `DELETE FROM certificate_names`},
		{"names of nothing", `UPDATE certificate_names SET serial = ` + "X'01020304050607080102030405060708'"},
		{"evidence for nothing", `INSERT INTO certificate_evidence (serial, body) VALUES (X'01020304050607080102030405060708', X'5B5D')`},
		{"other names", `UPDATE certificates SET names = '["dns:evil.example"]'`},
		{"an order that forgot its certificate", `UPDATE orders SET certificate = NULL`},
		{"an order with a certificate of nobody", `UPDATE orders SET certificate = X'01020304050607080102030405060708'`},
		{"a certificate that lost its signature", `UPDATE certificates SET der = NULL, tbs = X'00'`},
		{"a revocation in another shard", `UPDATE revocations SET shard = 7`},
		{"a revocation of nothing", `UPDATE revocations SET serial = X'01020304050607080102030405060708'`},
		{"a list that is never due", `DELETE FROM crl_shards`},
		{"no audit", `DELETE FROM audit_events`},
		{"an audit without the revocation", `DELETE FROM audit_events WHERE action = 'certificate.revoke'`},
		{"an audit without the issuance", `DELETE FROM audit_events WHERE action = 'certificate.issue'`},
		{"an audit without the verdict", `DELETE FROM audit_events WHERE action = 'authorization.validate'`},
		{"an audit without an actor", `UPDATE audit_events SET actor_kind = ''`},
		{"an authorization for another name", `UPDATE authorizations SET identifier = 'dns:evil.example'`},
		{"an issued order without validation", `UPDATE authorizations SET validated_at = NULL`},
		{"a broken identifier", `UPDATE authorizations SET identifier = 'dns:UPPER.example'`},
		{"a lease on work that is done", `UPDATE orders SET lease_until = 1`},
		{"a key that can't be read", `UPDATE accounts SET jwk = '{}'`},
		{"a key with more uses than accounts", `UPDATE external_keys SET uses = 2`},
		{"an authorization of nobody", `PRAGMA foreign_keys = OFF; DELETE FROM accounts`},
	} {
		t.Run(c.says, func(t *testing.T) {
			db := openTestMemory(t)
			newExternalKey(t, db, false)
			cert := issued(t, db, newAccount(t, db).ID, name(t, "a.example"))
			must(t, db.Revoke(t.Context(), ca.Revocation{By: operator, Serial: cert.Serial, Reason: ca.Superseded, At: noon}))
			if findings := got[[]string](t)(db.Check(t.Context())); len(findings) != 0 {
				t.Fatalf("before the fault: %q", findings)
			}
			must(t, db.read(t.Context(), func(s *session) error { // in memory, readers may write
				_, err := s.exec(c.fault)
				return err
			}))
			if findings := got[[]string](t)(db.Check(t.Context())); len(findings) == 0 {
				t.Error("the fault was not found")
			}
		})
	}
}

func TestCheckEndsWithItsCaller(t *testing.T) {
	db := openTestFile(t)
	newAccount(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

// TestCancelledReadsNeverSeeForeignRows is I79: a read that is given up at any
// moment must not leave its row to the next one.
func TestCancelledReadsNeverSeeForeignRows(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			db := e.open(t)
			var accounts [8]*acme.Account
			for i := range accounts {
				accounts[i] = newAccount(t, db)
			}
			for _, err := range race(8, func(i int) error {
				for n := range 300 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%40)*5*time.Microsecond)
					a, err := db.Account(ctx, accounts[i].ID)
					cancel()
					if err != nil && !errors.Is(err, context.DeadlineExceeded) {
						return err
					}
					if err == nil && (a.ID != accounts[i].ID || a.Key.SPKI() != accounts[i].Key.SPKI()) {
						return fmt.Errorf("asked for %s, got %s", accounts[i].ID, a.ID)
					}
				}
				return nil
			}) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// FuzzID: IDs come from URLs.
func FuzzID(f *testing.F) {
	for _, s := range []string{"", "AaIDIKIAAAAAApOSWhRXQQ", "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB", "AaIDIKIAAAAAApOSWhRXQQ==", "AaIDIKIAAAAA\npOSWhRXQQ", "\x00", strings.Repeat("A", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := parseID("order", s)
		if err == nil && x.text() != s {
			t.Errorf("%q is another name of %q", s, x.text())
		}
		if err != nil && !errors.Is(err, ca.ErrNotFound) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// FuzzColumns: what stands in a database that somebody else wrote must be an
// error, never a panic, and what can be read is written the same.
func FuzzColumns(f *testing.F) {
	for _, s := range []string{`["dns:a.example"]`, `["dns:*.a.example","ip:2001:db8::1"]`, `[]`, `null`, `["dns:A.example"]`, `{"type":"urn:ietf:params:acme:error:caa"}`, `["mailto:a@b"]`, "http-01 dns-01", strings.Repeat("\x01", 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var n nameList
		if n.Scan(s) == nil {
			written, err := n.Value()
			must(t, err)
			var again nameList
			if err := again.Scan(written); err != nil || fmt.Sprint(again) != fmt.Sprint(n) {
				t.Errorf("%q was read as %v, then as %v: %v", s, n, again, err)
			}
		}
		for _, c := range []interface{ Scan(any) error }{new(problemDoc), new(contactList), new(typeList), new(idList), new(rowID), new(digest), new(optional), new(stamp)} {
			for _, src := range []any{s, []byte(s), int64(len(s)), nil, 1.5} {
				_ = c.Scan(src) // must not panic
			}
		}
	})
}
