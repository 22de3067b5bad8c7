package storage

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// BenchmarkIssuance is what one issuance asks of the store, with the reads of
// the protocol between: order, authorization, verdict, finalize, reserve, put.
// One iteration is six changes.
func BenchmarkIssuance(b *testing.B) {
	for _, e := range engines[1:] {
		for _, callers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", e.name, callers), func(b *testing.B) {
				db := e.open(b)
				account := newAccount(b, db)
				var next atomic.Int64
				cpu := processTime(b)
				b.ResetTimer()
				var all sync.WaitGroup
				for range callers {
					all.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							if err := cycle(db, account.ID, n); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.StopTimer()
				b.ReportMetric(6*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "issuances/s")
				b.ReportMetric(float64((processTime(b)-cpu).Microseconds())/float64(b.N), "cpu-us/issuance") // of this process: steady on a busy machine
			})
		}
	}
}

// processTime is the processor time that this process has used.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func cycle(db *DB, account string, n int64) error {
	ctx := context.Background()
	now := time.Now().UTC().Truncate(time.Millisecond)
	host, err := ca.ParseIdentifier("dns", fmt.Sprintf("host-%d.bench.example", n))
	if err != nil {
		return err
	}
	a := newAuthorization(account, host, now)
	o := &acme.Order{
		ID: newID(now), Account: account, Profile: "server", Identifiers: []ca.Identifier{host},
		Authorizations: []*acme.Authorization{a}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
	if _, err := db.ValidAuthorizations(ctx, account, o.Identifiers, now); err != nil {
		return err
	}
	if err := db.CreateOrder(ctx, operator, now, o, o.Authorizations); err != nil {
		return err
	}
	if err := db.BeginValidation(ctx, operator, now, a.ID, acme.HTTP01, now.Add(time.Minute)); err != nil {
		return err
	}
	if err := db.CompleteValidation(ctx, operator, now, a.ID, acme.Verdict{Evidence: make([]byte, 700), ExpiresAt: now.Add(24 * time.Hour)}); err != nil {
		return err
	}
	if _, err := db.Order(ctx, o.ID); err != nil {
		return err
	}
	if err := db.BeginFinalize(ctx, operator, now, o.ID, make([]byte, 250), now.Add(time.Minute)); err != nil {
		return err
	}
	c, err := db.Reserve(ctx, operator, benchCertificate(o, now))
	if err != nil {
		return err
	}
	c.DER = make([]byte, 700)
	if err := db.PutCertificate(ctx, operator, c); err != nil {
		return err
	}
	_, err = db.Order(ctx, o.ID)
	return err
}

func benchCertificate(o *acme.Order, now time.Time) *ca.Certificate {
	return &ca.Certificate{
		Serial: benchSerial(o.ID, now), Issuer: "00112233aabbccdd", Profile: "server", Order: o.ID, Account: o.Account, Names: o.Identifiers,
		SPKI: sha256.Sum256([]byte(o.ID)), NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour), ReservedAt: now, TBS: make([]byte, 600),
	}
}

func benchSerial(order string, now time.Time) ca.Serial {
	var s ca.Serial
	sum := sha256.Sum256([]byte(order))
	ms := now.UnixMilli()
	for i := range 6 {
		s[i] = byte(ms >> (40 - 8*i))
	}
	copy(s[6:], sum[:])
	return s
}

// TestBytesOfACertificate holds the size of what is kept for long: a
// certificate with its indexes and names, without order, evidence and audit.
func TestBytesOfACertificate(t *testing.T) {
	db := openTestFile(t)
	path := db.engine.(*sqliteEngine).path
	account := newAccount(t, db)
	const n = 2000
	for _, err := range race(8, func(i int) error {
		for k := range n / 8 {
			if err := cycle(db, account.ID, int64(i*n+k)); err != nil {
				return err
			}
		}
		return nil
	}) {
		must(t, err)
	}
	size := func(statements ...string) int64 {
		for _, s := range append(statements, `PRAGMA wal_checkpoint(TRUNCATE)`) {
			_, err := db.engine.(*sqliteEngine).write.ExecContext(t.Context(), s)
			must(t, err)
		}
		info, err := os.Stat(path)
		must(t, err)
		return info.Size()
	}
	whole := size() // as it grew, with pages half full
	must(t, db.change(t.Context(), happened(operator, noon, "test.prune", ""), func(tx *tx) error {
		for _, table := range []string{"evidence", "authorizations", "orders", "audit_events"} {
			if _, err := tx.exec("DELETE FROM " + table); err != nil {
				return err
			}
		}
		return nil
	}))
	kept := size(`VACUUM`)
	t.Logf("%d bytes for an issuance, %d for its certificate", whole/n, kept/n)
	if kept/n > 1350 || whole/n > 5000 {
		t.Errorf("%d bytes for an issuance, %d for its certificate: more than the bounds of 5000 and 1350", whole/n, kept/n)
	}
}
