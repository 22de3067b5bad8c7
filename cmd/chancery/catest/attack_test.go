package catest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/cmd/chancery/catest"
)

// siege is how much of each attack there is.
type siege struct {
	connections int           // that say next to nothing
	bodies      int           // oversized and deep
	nonces      int           // asked for
	hanging     int           // validations of a host that never answers
	lasts       time.Duration // of the slow connections
}

var (
	shortSiege = siege{connections: 500, bodies: 1000, nonces: 5000, hanging: 40, lasts: 3 * time.Second}
	longSiege  = siege{connections: 3000, bodies: 20000, nonces: 200000, hanging: 200, lasts: 20 * time.Second}
)

// Bounds of what an attack may leave behind, in the attacked process.
const (
	mayGrow       = 64 << 20 // octets of resident memory, at its peak
	perConnection = 64 << 10 // and these for each connection: TLS, buffers, two stacks
	raceFactor    = 6        // the race detector shadows all of it
	mayStay       = 40       // file descriptors and goroutines: idle connections, pools
	calmDown      = 90 * time.Second
)

// TestAttack lays siege to a CA of its own process, one attack behind the
// other, while an honest client works on. Memory stays bounded, descriptors
// and goroutines come back, the honest client is served; its times are only
// printed. ATTACK=long (make attack) makes it the long one.
func TestAttack(t *testing.T) {
	t.Parallel()
	size := shortSiege
	if os.Getenv("ATTACK") == "long" {
		size = longSiege
	}
	internet := catest.NewInternet(t)
	web := newSite(t, internet)
	c := catest.StartProcess(t, catest.On(internet), catest.Set(fmt.Sprintf("validation.http_port=%d", web.port), "validation.timeout=3s", "log.level=warn"))
	h := &hostile{t: t, c: c, site: web, base: strings.TrimSuffix(c.DirectoryURL, "/acme/directory"), rows: map[int]int{}}
	h.account = h.register()
	h.readyOrder(h.account, "honest.example")
	pid := processOf(t, c.Dir)
	h.honest(t.Context(), 50, &tally{}) // so that pools are warm
	fds, goroutines, rss := descriptors(t, pid), h.goroutines(), resident(t, pid)
	quiet := &tally{}
	h.honest(t.Context(), 200, quiet)
	t.Logf("quiet: %s; %d MiB, %d descriptors, %d goroutines", quiet, rss>>20, fds, goroutines)
	for _, attack := range []struct {
		name string
		run  func(siege)
	}{
		{"slow connections", h.slowLoris}, {"oversized and deep bodies", h.bigBodies}, {"a flood for nonces", h.nonceFlood}, {"hanging validations", h.hangingValidations},
	} {
		ctx, stop := context.WithCancel(t.Context())
		served := &tally{}
		var honest sync.WaitGroup
		honest.Go(func() { h.honest(ctx, math.MaxInt, served) })
		began := time.Now()
		attack.run(size)
		took := time.Since(began)
		stop()
		honest.Wait()
		t.Logf("%s for %v: honest %s; %d MiB", attack.name, took.Round(time.Millisecond), served, resident(t, pid)>>20)
		if served.failed.Load() > 0 || len(served.times) == 0 {
			t.Errorf("%s: %d honest requests were served, %d failed", attack.name, len(served.times), served.failed.Load())
		}
	}
	most := int64(mayGrow + size.connections*perConnection)
	if raceDetector {
		most *= raceFactor
	}
	if peak := highWater(t, pid); peak > rss+most {
		t.Errorf("%d MiB resident at the peak, %d before", peak>>20, rss>>20)
	}
	for deadline := time.Now().Add(calmDown); ; time.Sleep(200 * time.Millisecond) {
		f, g := descriptors(t, pid), h.goroutines()
		if f <= fds+mayStay && g <= goroutines+mayStay {
			t.Logf("after: %d MiB (peak %d), %d descriptors, %d goroutines", resident(t, pid)>>20, highWater(t, pid)>>20, f, g)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors and %d goroutines stay, %d and %d before", f, g, fds, goroutines)
		}
	}
	h.wantAlive()
	c.Check()
}

// tally is what an honest client saw.
type tally struct {
	mu     sync.Mutex
	times  []time.Duration
	failed atomic.Int64
}

func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	if len(y.times) == 0 {
		return "nothing"
	}
	slices.Sort(y.times)
	at := func(share float64) time.Duration {
		return y.times[int(share*float64(len(y.times)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("n %d, p50 %v, p99 %v, most %v", len(y.times), at(0.5), at(0.99), at(1))
}

// honest orders, over and over, what a good client does most.
func (h *hostile) honest(ctx context.Context, times int, y *tally) {
	for range times {
		if ctx.Err() != nil {
			return
		}
		body := h.text(request{by: h.account, url: "/acme/new-order", payload: dnsOrder("honest.example")})
		began := time.Now()
		a := h.postBody(h.base+"/acme/new-order", body, nil)
		took := time.Since(began)
		y.mu.Lock()
		y.times = append(y.times, took)
		y.mu.Unlock()
		if a.status != http.StatusCreated {
			y.failed.Add(1)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stranger dials from an address of its own, of many.
func stranger(i int, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/50), byte(1+i%50))}, Timeout: 5 * time.Second}
	return d.Dial("tcp", to)
}

// slowLoris holds connections open: some never begin TLS, some send a header
// letter by letter, some a body, some never read.
func (h *hostile) slowLoris(size siege) {
	var held sync.WaitGroup
	slots := make(chan struct{}, 64) // handshakes at a time: the attack's own CPU is not the question
	end := time.Now().Add(size.lasts)
	for i := range size.connections {
		held.Go(func() {
			slots <- struct{}{}
			conn, err := stranger(i, address(h.base))
			if err == nil && i%4 != 0 {
				c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				_ = conn.SetDeadline(end)
				_ = c.Handshake() // cut off is as good
				conn = c
			}
			<-slots
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			text := []string{"", "GET /acme/directory HTTP/1.1\r\nX-A: ", "POST /acme/new-order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jose+json\r\nContent-Length: 60000\r\n\r\n", strings.Repeat("GET /acme/directory HTTP/1.1\r\nHost: localhost\r\n\r\n", 50)}[i%4]
			_ = conn.SetDeadline(end.Add(time.Second))
			_, _ = io.WriteString(conn, text)
			for time.Now().Before(end) {
				if _, err := conn.Write([]byte("x")); err != nil && i%4 != 0 {
					return
				}
				time.Sleep(time.Second)
			}
		})
	}
	held.Wait()
}

// flood makes n requests, eight at a time, from addresses of their own.
func flood(n int, each func(client *http.Client, i int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for w := range 8 {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(_ context.Context, _, to string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(to)
				if err != nil {
					return nil, err
				}
				return stranger(1000+w, net.JoinHostPort("127.0.0.1", port))
			},
		}
		client := &http.Client{Transport: transport, Timeout: settleTime}
		workers.Go(func() {
			defer transport.CloseIdleConnections()
			for {
				i := int(next.Add(1))
				if i > n {
					return
				}
				each(client, i)
			}
		})
	}
	workers.Wait()
}

func (h *hostile) bigBodies(size siege) {
	bodies := []string{strings.Repeat("[", 64<<10), strings.Repeat(`{"a":`, 10<<10), strings.Repeat("x", 1<<20), `{"protected":"` + strings.Repeat("A", 60<<10) + `"}`, `[` + strings.Repeat("0,", 30<<10) + `0]`}
	flood(size.bodies, func(client *http.Client, i int) {
		resp, err := client.Post(h.base+"/acme/new-order", "application/jose+json", strings.NewReader(bodies[i%len(bodies)]))
		if err != nil {
			return // cut off while it sent
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 400 && resp.StatusCode != 413 {
			h.t.Errorf("a hostile body is answered with %d", resp.StatusCode)
		}
	})
}

func (h *hostile) nonceFlood(size siege) {
	flood(size.nonces, func(client *http.Client, _ int) {
		if resp, err := client.Head(h.base + "/acme/new-nonce"); err == nil {
			_ = resp.Body.Close()
		}
	})
}

// hangingValidations: hosts that take the connection and never answer.
func (h *hostile) hangingValidations(size siege) {
	attacker := &hostile{t: h.t, c: h.c, base: h.base, site: h.site, rows: map[int]int{}}
	attacker.account = attacker.register()
	var all sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range size.hanging {
		host := fmt.Sprintf("pit%d.example", i)
		h.site.on(host, func(conn net.Conn, _ string) { _, _ = io.Copy(io.Discard, conn) })
		o := attacker.order(attacker.account, host)
		z := attacker.post(request{by: attacker.account, url: o.list("authorizations")[0]})
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			attacker.post(request{by: attacker.account, url: z.challenge("http-01").URL, payload: "{}"})
		})
	}
	all.Wait()
}

// processOf finds the process that serves the directory.
func processOf(t *testing.T, dir string) int {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "serve\x00--dir\x00"+dir+"\x00") {
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("no process serves " + dir)
	return 0
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func resident(t *testing.T, pid int) int64 { t.Helper(); return memory(t, pid, "VmRSS") }

func highWater(t *testing.T, pid int) int64 { t.Helper(); return memory(t, pid, "VmHWM") }

func memory(t *testing.T, pid int, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in %s", field, text)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

var goroutineLine = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

// goroutines of the attacked process, by its own metrics.
func (h *hostile) goroutines() int {
	h.t.Helper()
	m := goroutineLine.FindSubmatch(h.plain("GET", h.c.AdminURL+"/metrics", nil).body)
	if m == nil {
		h.t.Fatal("no go_goroutines in the metrics")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}
