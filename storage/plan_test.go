package storage

import (
	"regexp"
	"strings"
	"testing"

	"chancery/ca"
)

// TestStatementsUseIndexes asks SQLite how it would run what must be fast in a
// store of ten million certificates.
func TestStatementsUseIndexes(t *testing.T) {
	db := openTestMemory(t)
	search := func(s ca.CertificateSearch) string {
		s.At, s.Limit = noon, 10
		query, _, err := certificateQuery(db.dialect, s)
		must(t, err)
		return query
	}
	whole := regexp.MustCompile(`^SCAN (\w+)( USING (COVERING )?INDEX (\w+))?$`)
	for _, c := range []struct{ says, query, uses string }{
		{"certificates, newest first", search(ca.CertificateSearch{}), ""},
		{"certificates of a name", search(ca.CertificateSearch{Name: name(t, "a.example")}), "SEARCH n USING PRIMARY KEY"},
		{"valid certificates of a name", search(ca.CertificateSearch{Name: name(t, "a.example"), Status: ca.CertificateValid}), "SEARCH n USING PRIMARY KEY"},
		{"certificates of an account", search(ca.CertificateSearch{Account: newID(noon)}), "certificates_account"},
		{"valid certificates of an account", search(ca.CertificateSearch{Account: newID(noon), Status: ca.CertificateValid}), "certificates_account"},
		{"expiring certificates", search(ca.CertificateSearch{Status: ca.CertificateValid, ExpiringBefore: noon}), "certificates_not_after"},
		{"certificates expiring before an instant", search(ca.CertificateSearch{ExpiringBefore: noon}), "certificates_not_after"},
		{"certificate", certificateBySerial, "serial=?"},
		{"certificate of an order", certificateByOrder, "certificates_order"},
		{"valid authorizations", validAuthorization, "authorizations_valid"},
		{"authorized", isAuthorized, "authorizations_valid"},
		{"abandoned validations", abandonedValidations, "authorizations_leases"},
		{"abandoned orders", abandonedOrders, "orders_leases"},
		{"backlog", backlog, "orders_leases"},
		{"orders of an account", listOrderIDs, "orders_account"},
		{"replacements", newestReplacements, "orders_replaces"},
		{"revoked", listRevoked, "PRIMARY KEY"},
		{"account of a key", accountHolder, "spki=?"},
		{"bucket", readBucket, "key=?"},
		{"page of buckets", pageBuckets, "key>?"},
		{"failures of an account", listFailing, "account=?"},
		{"blocked key", blockedKeyBySPKI, "spki=?"},
		{"live certificates of a key", toRevokeOfKey, "certificates_spki"},
		{"live certificates with blocked keys", toRevoke, "certificates_spki"},
		{"certified key", keyCertified, "certificates_spki"},
		{"events of an object", `SELECT ` + eventColumns + ` FROM audit_events WHERE object = ? ORDER BY seq DESC LIMIT ?`, "audit_events_object"},
	} {
		t.Run(c.says, func(t *testing.T) {
			args := make([]any, strings.Count(c.query, "?"))
			var plan []string
			must(t, db.read(t.Context(), func(s *session) error {
				rows, err := s.q.QueryxContext(s.ctx, "EXPLAIN QUERY PLAN "+c.query, args...)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
					row, err := rows.SliceScan()
					if err != nil {
						return err
					}
					plan = append(plan, row[3].(string))
				}
				return rows.Err()
			}))
			text := strings.Join(plan, "; ")
			if !strings.Contains(text, c.uses) {
				t.Errorf("%s is not used: %s", c.uses, text)
			}
			for _, step := range plan {
				if m := whole.FindStringSubmatch(step); m != nil && m[4] == "" && m[1] != "v" && m[1] != "o" {
					t.Errorf("reads a whole table: %s", text)
				}
			}
		})
	}
}
