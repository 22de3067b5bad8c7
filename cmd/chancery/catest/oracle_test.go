package catest

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// TestOracleFinds: an oracle that can't find anything wrong says nothing. Each
// case spoils the store of a running CA behind its back.
func TestOracleFinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, spoil, want string
	}{
		{"nothing", ``, ""},
		{"a lost audit event", `DELETE FROM audit_events WHERE action = 'certificate.issue'`, "no audit event certificate.issue"},
		{"an event without an actor", `UPDATE audit_events SET actor_kind = '' WHERE action = 'order.create'`, "has no actor"},
		{"other names in the order", `UPDATE orders SET identifiers = '["dns:other.example"]'`, "other.example"},
		{"an order that lost its certificate", `UPDATE orders SET certificate = NULL`, "certificate"},
		{"a lost revocation", `DELETE FROM revocations`, "revoked"},
		{"another certificate under a serial", `UPDATE certificates SET der = (SELECT der FROM certificates WHERE order_id IS NULL) WHERE order_id IS NOT NULL`, "its DER has serial"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ca := Start(t)
			u := ca.Client(HTTP)
			u.Revoke(u.Obtain("oracle.example"), 4)
			if c.spoil != "" {
				spoil(t, ca, c.spoil)
			}
			err := ca.check()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("the oracle found, though nothing is wrong: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the oracle found %v, want %q", err, c.want)
			}
		})
	}
}

func spoil(t *testing.T, c *CA, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(c.Dir, "chancery.db")+"?_busy_timeout=10000")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	result, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%s changed %d rows, %v", statement, n, err)
	}
}
