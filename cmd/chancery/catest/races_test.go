package catest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/acme"

	"chancery/cmd/chancery/catest"
)

// TestTwoFinalizesAtOnce: one order, at most one certificate (invariant 3),
// also when many ask for it at once with different keys.
func TestTwoFinalizesAtOnce(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	g := goClient{t: t, c: c, key: ecKey(t, elliptic.P256())}
	const name, racers = "race.example", 8
	g.obtain("http-01", ecKey(t, elliptic.P256()), name) // so that the authorization is there
	ctx := g.context()
	for range 5 {
		order, err := g.client().AuthorizeOrder(ctx, acme.DomainIDs(name))
		if err != nil || order.Status != acme.StatusReady {
			t.Fatalf("order: %+v, %v", order, err)
		}
		ders := make([][]byte, racers)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range racers {
			key := ecKey(t, elliptic.P256())
			wg.Go(func() {
				<-start
				ders[i] = finalize(ctx, g, order, key, name)
			})
		}
		close(start)
		wg.Wait()
		var got [][]byte
		for _, der := range ders {
			if der != nil && !slices.ContainsFunc(got, func(g []byte) bool { return bytes.Equal(g, der) }) {
				got = append(got, der)
			}
		}
		if len(got) != 1 {
			t.Errorf("%d finalizes at once gave %d certificates, want 1", racers, len(got))
		}
	}
	c.Check()
}

// finalize asks for the certificate and returns it, nil when it was refused.
func finalize(ctx context.Context, g goClient, order *acme.Order, key crypto.Signer, name string) []byte {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		g.t.Error(err)
		return nil
	}
	ders, _, err := g.client().CreateOrderCert(ctx, order.FinalizeURL, csr, false)
	if err != nil {
		if !strings.Contains(err.Error(), "orderNotReady") {
			g.t.Errorf("a finalize that lost was told %v, want orderNotReady", err)
		}
		return nil
	}
	return ders[0]
}
