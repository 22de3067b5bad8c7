package storage

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// noon is the instant at which all tests happen.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var operator = ca.Actor{Kind: ca.ActorOperator, ID: "tester", Addr: "192.0.2.7"}

// engines opens an empty database of each kind.
var engines = []struct {
	name string
	open func(t testing.TB) *DB
}{
	{"memory", openTestMemory},
	{"sqlite", openTestFile},
	{"postgres", openTestPostgres},
}

// eachEngine runs a test on an empty database of each kind. Whatever the test
// did, the store must be consistent at its end.
func eachEngine(t *testing.T, test func(t *testing.T, db *DB)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			db := e.open(t)
			test(t, db)
			if findings, err := db.Check(t.Context()); err != nil || len(findings) > 0 {
				t.Errorf("the store is not consistent: %q, %v", findings, err)
			}
		})
	}
}

func openTestMemory(t testing.TB) *DB {
	t.Helper()
	return opened(t, ":memory:")
}

func openTestFile(t testing.TB) *DB {
	t.Helper()
	return opened(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
}

func opened(t testing.TB, dsn string) *DB {
	t.Helper()
	db, err := Open(context.Background(), dsn)
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

var idCounter atomic.Uint32

// newID makes a UUIDv7 as package acme does, later ones greater.
func newID(now time.Time) string {
	var x [16]byte
	binary.BigEndian.PutUint64(x[:], uint64(now.UnixMilli())<<16)
	binary.BigEndian.PutUint32(x[6:], idCounter.Add(1))
	_, _ = rand.Read(x[10:])
	return base64.RawURLEncoding.EncodeToString(x[:])
}

func newKey(t testing.TB) acme.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	jwk, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])})
	if err != nil {
		t.Fatal(err)
	}
	key, err := acme.RestoreKey(string(jwk))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func name(t testing.TB, value string) ca.Identifier {
	t.Helper()
	id, err := ca.ParseIdentifier("dns", value)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got is must for calls that return a value.
func got[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func newAccount(t testing.TB, db *DB) *acme.Account {
	t.Helper()
	a := &acme.Account{ID: newID(noon), Key: newKey(t), Contact: []string{"mailto:a@example.org"}, TermsAgreedAt: noon, CreatedAt: noon}
	must(t, db.CreateAccount(t.Context(), operator, noon, a))
	return a
}

func newAuthorization(account string, n ca.Identifier, now time.Time) *acme.Authorization {
	a := &acme.Authorization{
		ID: newID(now), Account: account, Identifier: n.Base(), Wildcard: n.IsWildcard(),
		Types: []acme.ChallengeType{acme.HTTP01, acme.DNS01}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
	if n.IsWildcard() {
		a.Types = []acme.ChallengeType{acme.DNS01}
	}
	_, _ = rand.Read(a.Seed[:])
	return a
}

// newOrder stores an order with fresh authorizations.
func newOrder(t testing.TB, db *DB, account string, names ...ca.Identifier) *acme.Order {
	t.Helper()
	o := &acme.Order{
		ID: newID(noon), Account: account, Profile: "server", Identifiers: names,
		CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
	}
	for _, n := range names {
		o.Authorizations = append(o.Authorizations, newAuthorization(account, n, noon))
	}
	must(t, db.CreateOrder(t.Context(), operator, noon, o, o.Authorizations))
	return o
}

func validate(t testing.TB, db *DB, a *acme.Authorization) {
	t.Helper()
	must(t, db.BeginValidation(t.Context(), operator, noon, a.ID, a.Types[0], noon.Add(time.Minute)))
	must(t, db.CompleteValidation(t.Context(), operator, noon, a.ID, acme.Verdict{Evidence: []byte(`{"method":"http-01"}`), ExpiresAt: noon.Add(24 * time.Hour)}))
}

// readyOrder stores an order whose authorizations are all valid.
func readyOrder(t testing.TB, db *DB, account string, names ...ca.Identifier) *acme.Order {
	t.Helper()
	o := newOrder(t, db, account, names...)
	for _, a := range o.Authorizations {
		validate(t, db, a)
	}
	return o
}

// begunOrder stores an order that was finalized.
func begunOrder(t testing.TB, db *DB, account string, names ...ca.Identifier) *acme.Order {
	t.Helper()
	o := readyOrder(t, db, account, names...)
	must(t, db.BeginFinalize(t.Context(), operator, noon, o.ID, []byte("a CSR"), noon.Add(time.Minute)))
	return o
}

func newSerial(t testing.TB) ca.Serial {
	t.Helper()
	s, err := ca.NewSerial(noon, rand.Reader)
	must(t, err)
	return s
}

func reservation4(t testing.TB, o *acme.Order) *ca.Certificate {
	t.Helper()
	return &ca.Certificate{
		Serial: newSerial(t), Issuer: "00112233aabbccdd", Profile: "server", Order: o.ID, Account: o.Account, Names: o.Identifiers,
		SPKI: sha256.Sum256([]byte(o.ID)), NotBefore: noon, NotAfter: noon.Add(90*24*time.Hour - time.Second),
		ReservedAt: noon, TBS: []byte("to be signed for " + o.ID),
	}
}

// issued stores an order with its certificate.
func issued(t testing.TB, db *DB, account string, names ...ca.Identifier) *ca.Certificate {
	t.Helper()
	c := got[*ca.Certificate](t)(db.Reserve(t.Context(), operator, reservation4(t, begunOrder(t, db, account, names...))))
	c.DER, c.TBS = []byte("signed: "+string(c.TBS)), nil
	must(t, db.PutCertificate(t.Context(), operator, c))
	return c
}

// race runs f in many goroutines at once and returns their errors.
func race(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			errs[i] = f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return errs
}

func kinds(errs []error) string {
	count := map[string]int{}
	for _, err := range errs {
		count[fmt.Sprint(err)]++
	}
	return fmt.Sprint(count)
}
