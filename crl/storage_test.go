package crl_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"chancery/ca"
	"chancery/crl"
	"chancery/crl/crltest"
	"chancery/storage"
)

func openStorage(t *testing.T, dsn string) *storage.DB {
	t.Helper()
	db, err := storage.Open(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return db
}

// The store that Chancery has keeps the contract.
func TestStorage(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		crltest.Run(t, func(t *testing.T) crltest.Store { return openStorage(t, "sqlite::memory:") })
	})
	t.Run("file", func(t *testing.T) {
		crltest.Run(t, func(t *testing.T) crltest.Store {
			return openStorage(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
		})
	})
}

// In real time, on the real store: a revocation shows within seconds, also after a restart.
func TestPublishFromStorage(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	issuer := crl.SomeWorld(t, "ec256").Issuer
	id := crl.Shard{Issuer: issuer.ID()}
	var serials []ca.Serial
	var number int64
	for range 2 {
		db := openStorage(t, dsn)
		b := &bench{issuer: issuer, logs: new(logs)}
		b.Publisher = publisher(t, crl.Config{Store: db, Certificates: db, Issuers: []*ca.Issuer{issuer}})
		b.sync(t)
		if n := b.list(t).Number.Int64(); n < number || len(b.list(t).RevokedCertificateEntries) != len(serials) {
			t.Errorf("after a start: list %d with %d entries; before: %d", n, len(b.list(t).RevokedCertificateEntries), number)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		for range 3 {
			now := time.Now()
			serial := crltest.Issue(t, db, id, now, now.AddDate(0, 3, 0))
			crltest.Revoke(t, db, serial, ca.Superseded, now)
			serials = append(serials, serial)
			b.Kick()
		}
		for began := time.Now(); len(b.list(t).RevokedCertificateEntries) != len(serials); time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("%d entries after %v, want %d", len(b.list(t).RevokedCertificateEntries), time.Since(began), len(serials))
			}
		}
		for _, serial := range serials {
			if entry(b.list(t), serial) == nil {
				t.Errorf("%s is not on the list", serial)
			}
		}
		number = b.list(t).Number.Int64()
		cancel()
		<-done
	}
}
