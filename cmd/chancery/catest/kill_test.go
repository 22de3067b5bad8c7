package catest_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"chancery/ca"
	"chancery/cmd/chancery/catest"
	"chancery/storage"
)

// told is what clients were told: certificates that were downloaded, and
// revocations that were answered with 200.
type told struct {
	mu      sync.Mutex
	issued  []*x509.Certificate
	revoked map[string]bool // by serial number
}

// TestKillLosesNothing kills the process at random moments under load, as
// often as the bounds below say, and then holds the store against what the
// clients were told (invariants 1 to 4).
func TestKillLosesNothing(t *testing.T) {
	const (
		workers = 6
		kills   = 8
		atMost  = 1200 * time.Millisecond // between two kills
	)
	c := catest.StartProcess(t, catest.Set("validation.timeout=1s")) // short leases
	heard := &told{revoked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for w := range workers {
		client := c.Client(catest.HTTP)
		load.Go(func() { heard.load(ctx, client, w) })
	}
	load.Go(func() { watchNumbers(ctx, t, c, heard) })
	for range kills {
		time.Sleep(rand.N(atMost))
		c.Kill()
		began := time.Now()
		c.Restart()
		t.Logf("ready %v after the kill", time.Since(began).Round(time.Millisecond))
	}
	time.Sleep(atMost)
	stop()
	began := time.Now()
	load.Wait()
	t.Logf("load ended after %v", time.Since(began))

	db, err := storage.Open(t.Context(), "sqlite:"+c.Dir+"/chancery.db")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	began = time.Now()
	waitForEnds(t, db)
	t.Logf("ends after %v", time.Since(began))
	heard.compare(t, db)
	c.Check()
	t.Logf("%d kills; told of %d certificates and %d revocations", kills, len(heard.issued), len(heard.revoked))
	if len(heard.issued) < kills {
		t.Errorf("only %d certificates were issued under load: the test shows nothing", len(heard.issued))
	}
}

// load obtains certificates and revokes every third of them, whatever happens
// to the server.
func (h *told) load(ctx context.Context, client *catest.Client, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		cert, err := client.TryObtain(fmt.Sprintf("kill-%d-%d.example", worker, n))
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		h.mu.Lock()
		h.issued = append(h.issued, cert.Leaf)
		h.mu.Unlock()
		reason := uint(ca.Superseded)
		if n%3 == 0 && client.Certificate.RevokeWithReason(cert.PEM, &reason) == nil {
			h.mu.Lock()
			h.revoked[cert.Leaf.SerialNumber.String()] = true
			h.mu.Unlock()
		}
	}
}

// first is any certificate, nil before there is one.
func (h *told) first() *x509.Certificate {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.issued) == 0 {
		return nil
	}
	return h.issued[0]
}

// watchNumbers looks at the CRL while the process is killed: its number never
// goes back.
func watchNumbers(ctx context.Context, t *testing.T, c *catest.CA, h *told) {
	var last *x509.RevocationList
	for ctx.Err() == nil {
		time.Sleep(30 * time.Millisecond)
		leaf := h.first()
		if leaf == nil {
			continue
		}
		list, err := c.CRL(leaf)
		if err != nil {
			continue // it is being killed
		}
		if last != nil && list.Number.Cmp(last.Number) < 0 {
			t.Errorf("CRL number went from %d back to %d", last.Number, list.Number)
		}
		last = list
	}
	if last == nil {
		t.Error("no CRL was seen")
	}
}

// waitForEnds waits until what was accepted before a kill was taken over and
// has its outcome.
func waitForEnds(t *testing.T, db *storage.DB) {
	t.Helper()
	const takeOver = 40 * time.Second // leases last 12 s here
	for deadline := time.Now().Add(takeOver); ; time.Sleep(100 * time.Millisecond) {
		left, err := db.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if left.Validations == 0 && left.Orders == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("work without an outcome %s after the last kill: %+v", takeOver, left)
		}
	}
}

func (h *told) compare(t *testing.T, db *storage.DB) {
	t.Helper()
	for _, leaf := range h.issued {
		serial, ok := ca.SerialFromBig(leaf.SerialNumber)
		if !ok {
			t.Fatalf("serial %x has another form", leaf.SerialNumber)
		}
		stored, err := db.Certificate(t.Context(), serial)
		if err != nil {
			t.Errorf("a client has %s, the store does not: %v", serial, err)
			continue
		}
		if !bytes.Equal(stored.DER, leaf.Raw) {
			t.Errorf("a client has another certificate %s than the store", serial)
		}
		if h.revoked[leaf.SerialNumber.String()] && stored.Revocation == nil {
			t.Errorf("the revocation of %s was answered and is lost", serial)
		}
	}
}
