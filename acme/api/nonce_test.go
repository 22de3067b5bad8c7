package api

import (
	"context"
	"encoding/base64"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newNonces(t testing.TB) *SealedNonces {
	t.Helper()
	n, err := NewSealedNonces()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func use(t testing.TB, n Nonces, nonce string, now time.Time) bool {
	t.Helper()
	ok, err := n.Use(context.Background(), nonce, now)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestNonceOnce(t *testing.T) {
	n, now := newNonces(t), time.Now()
	first, second := n.New(now), n.New(now)
	if len(first) != 22 || first == second {
		t.Fatalf("nonces %q and %q", first, second)
	}
	for i, want := range []bool{true, false, false} {
		if got := use(t, n, first, now); got != want {
			t.Errorf("use %d of the first is %v", i+1, got)
		}
	}
	if !use(t, n, second, now) {
		t.Error("the second is refused")
	}
}

// SAFETY 65: invented, expired, of another process.
func TestNonceRefused(t *testing.T) {
	n, now := newNonces(t), time.Now()
	good := n.New(now)
	flipped, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	flipped[3] ^= 1
	for name, nonce := range map[string]string{
		"empty": "", "short": good[:21], "long": good + "A", "padded": good + "==", "invented": "AAAAAAAAAAAAAAAAAAAAAA",
		"one bit": base64.RawURLEncoding.EncodeToString(flipped), "of another": newNonces(t).New(now), "newline": good + "\n",
	} {
		if use(t, n, nonce, now) {
			t.Errorf("%s is taken", name)
		}
	}
	if !use(t, n, good, now) {
		t.Error("the good one is refused afterwards")
	}
}

func TestNonceLife(t *testing.T) {
	n, now := newNonces(t), time.Now()
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {nonceLife - time.Second, true}, {nonceLife + time.Second, false}, {-time.Minute, true}, {-nonceLife - time.Second, false}} {
		if got := use(t, n, n.New(now), now.Add(c.after)); got != c.want {
			t.Errorf("after %v: %v", c.after, got)
		}
	}
}

// SAFETY 67: the same request sent 1,000 times in parallel.
func TestNonceParallel(t *testing.T) {
	n, now := newNonces(t), time.Now()
	for range 20 {
		nonce := n.New(now)
		var taken atomic.Int32
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() {
				if ok, err := n.Use(context.Background(), nonce, now); ok && err == nil {
					taken.Add(1)
				}
			})
		}
		group.Wait()
		if taken.Load() != 1 {
			t.Fatalf("%d uses were taken", taken.Load())
		}
	}
}

func TestNonceMemoryIsFlat(t *testing.T) {
	n, now := newNonces(t), time.Now()
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	for range 1_000_000 {
		_ = n.New(now)
	}
	for range 100_000 {
		if !use(t, n, n.New(now), now) {
			t.Fatal("a fresh nonce is refused")
		}
	}
	if after := live(); after > before+64<<10 {
		t.Errorf("heap grew from %d to %d octets", before, after)
	}
	runtime.KeepAlive(n)
}

// The window against a plain model: a set of used counters and the highest.
func TestNonceWindow(t *testing.T) {
	n := newNonces(t)
	used := make(map[uint64]bool)
	var top uint64 = nonceWindow - 1 // the highest counter that the window has reached
	random := rand.New(rand.NewPCG(1, 2))
	at := uint64(0)
	for range 300_000 {
		switch random.IntN(1000) {
		case 0: // a jump beyond the whole window
			at += nonceWindow + uint64(random.Uint32())
		case 1, 2: // a jump inside it
			at += uint64(random.IntN(nonceWindow))
		default:
			at += uint64(random.IntN(130))
		}
		counter := at - min(at, uint64(random.IntN(200)))
		if random.IntN(50) == 0 {
			counter = at - min(at, uint64(random.IntN(2*nonceWindow)))
		}
		want := counter > top || top-counter < nonceWindow && !used[counter]
		if got := n.mark(counter); got != want {
			t.Fatalf("counter %d with the top at %d: %v, want %v", counter, top, got, want)
		}
		used[counter] = true
		top = max(top, counter)
	}
}

func TestNonceWindowEdges(t *testing.T) {
	n := newNonces(t)
	for i, c := range []struct {
		counter uint64
		want    bool
	}{
		{0, true},
		{0, false},
		{nonceWindow - 1, true},
		{0, false},
		{nonceWindow, true}, // 0 slides out; its bit is now this one's
		{0, false},
		{nonceWindow, false},
		{1, true},
		{2*nonceWindow + 5, true},
		{nonceWindow + 5, false},
		{nonceWindow + 6, true},
		{nonceWindow + 6, false},
		{1 << 62, true},
		{1<<62 - 1, true},
		{2*nonceWindow + 6, false},
	} {
		if got := n.mark(c.counter); got != c.want {
			t.Errorf("step %d, counter %d: %v", i, c.counter, got)
		}
	}
}

func FuzzNonce(f *testing.F) {
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAAAAAAAA")
	n := newNonces(f)
	now := time.Now()
	for range 100 {
		n.New(now)
	}
	f.Fuzz(func(t *testing.T, nonce string) {
		if use(t, n, nonce, now) {
			t.Fatalf("%q is taken", nonce) // 2^-83
		}
	})
}

func BenchmarkNonce(b *testing.B) {
	n, now := newNonces(b), time.Now()
	for b.Loop() {
		if !use(b, n, n.New(now), now) {
			b.Fatal("refused")
		}
	}
}
