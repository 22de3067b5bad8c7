package storage

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"chancery/ca"
)

func TestCertificateEvidence(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *DB) {
		account := newAccount(t, db)
		o := begunOrder(t, db, account.ID, name(t, "a.example"))
		c := reservation4(t, o)
		c.Evidence = []ca.NameEvidence{{
			Name: name(t, "a.example"), Authorization: o.Authorizations[0].ID, Method: "dns-01", ValidatedAt: noon,
			CAA: &ca.CAAEvidence{At: noon.Add(time.Second), Allowed: true, Found: "example", Asked: []string{`CAA example @192.0.2.1:53: 0 issue "ca.example"`}, Require: []string{"a=b"}},
		}}
		got[*ca.Certificate](t)(db.Reserve(t.Context(), operator, c))
		if kept := got[[]ca.NameEvidence](t)(db.CertificateEvidence(t.Context(), c.Serial)); !reflect.DeepEqual(kept, c.Evidence) {
			t.Errorf("kept %+v", kept)
		}
		// Whoever takes an order over finds what stood there first.
		again := reservation4(t, o)
		again.Evidence = nil
		got[*ca.Certificate](t)(db.Reserve(t.Context(), operator, again))
		for _, serial := range []ca.Serial{{}, again.Serial} {
			if _, err := db.CertificateEvidence(t.Context(), serial); !errors.Is(err, ca.ErrNotFound) {
				t.Errorf("evidence of serial %s: %v", serial, err)
			}
		}
	})
}
