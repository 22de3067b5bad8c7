package validate

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// TestRowA9: of forty validations that all lead to one address, no more than
// four are connected there at once, and all get their turn.
func TestRowA9(t *testing.T) {
	var open, most, seen atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				seen.Add(1)
				n := open.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(10 * time.Millisecond)
				// Counted down before the answer: the client may be gone once it has it.
				open.Add(-1)
				_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			})
		}
	})
	v, err := New(Config{HTTPPort: l.Addr().(*net.TCPAddr).Port, PerTarget: 4})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.ParseIdentifier("ip", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	token := strings.Repeat("x", 43)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			_, p := v.Validate(t.Context(), acme.Attempt{Type: acme.HTTP01, Identifier: id, Token: token, KeyAuthorization: token + ".y"})
			if p == nil || !strings.Contains(p.Detail, "404") {
				t.Errorf("got %v", p)
			}
		})
	}
	wg.Wait()
	if most.Load() > 4 {
		t.Errorf("%d connections were open at once, want at most 4", most.Load())
	}
	if seen.Load() != 40 {
		t.Errorf("%d validations got a connection, want 40", seen.Load())
	}
	if len(v.targetTurns.at) != 0 {
		t.Errorf("%d addresses are remembered that nobody connects to", len(v.targetTurns.at))
	}
	l.Close()
	served.Wait()
}

// TestCrowdedTarget: who does not come to its turn has not failed.
func TestCrowdedTarget(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v, err := New(Config{HTTPPort: l.Addr().(*net.TCPAddr).Port, PerTarget: 1, Timeout: 400 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.ParseIdentifier("ip", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	token := strings.Repeat("x", 43)
	kinds := make([]acme.Kind, 2)
	var wg sync.WaitGroup
	for i := range kinds {
		wg.Go(func() {
			e, p := v.Validate(t.Context(), acme.Attempt{Type: acme.HTTP01, Identifier: id, Token: token, KeyAuthorization: token + ".y"})
			if p == nil {
				t.Error("it was proven")
				return
			}
			kinds[i] = p.Kind
			if p.Kind == acme.ServerInternal && (!strings.Contains(p.Detail, "did not come to its turn") || len(e.Steps) == 0) {
				t.Errorf("%v, %+v", p, e)
			}
		})
	}
	wg.Wait()
	if kinds[0] == kinds[1] || kinds[0] != acme.ServerInternal && kinds[1] != acme.ServerInternal {
		t.Errorf("got %v, want one that hung and one that was not tried", kinds)
	}
}

// TestTurnstiles: other addresses are not held up, waiting ends with the
// context, and a place that was given back twice is there once.
func TestTurnstiles(t *testing.T) {
	s := &turnstiles{most: 1}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	leave, err := s.enter(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.enter(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := s.enter(ctx, a); !errors.Is(err, errCrowded) {
		t.Errorf("got %v", err)
	}
	leave()
	leave()
	again, err := s.enter(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if len(s.at) != 0 {
		t.Errorf("%d are left", len(s.at))
	}
	free := &turnstiles{}
	for range 100 {
		if _, err := free.enter(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
}
