package validate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func TestNew(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if v.httpPort != 80 || v.tlsPort != 443 || v.timeout != 10*time.Second || cap(v.slots) != 100 || v.userAgent == "" {
		t.Errorf("defaults: %+v", v)
	}
	_, err = New(Config{
		Resolvers: []string{"a b", "10.0.0.1"}, HTTPPort: 65536, TLSPort: -1, Timeout: time.Hour, MaxConcurrent: -1,
		UserAgent: "x\r\nHost: y", DeniedNetworks: []netip.Prefix{{}},
	})
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"resolver \"a b\"", "http port 65536", "tls port -1", "timeout 1h", "max concurrent -1", `user agent "x\r\n`, "network"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

// TestMethods is the table method x identifier (SAFETY I4, I10, R3, R5).
func TestMethods(t *testing.T) {
	v := validator(t, Config{Resolvers: []string{closed(t)}, Timeout: 500 * time.Millisecond})
	name, addr := dnsName(t, "a.example"), ipName(t, "192.0.2.1")
	for _, row := range []struct {
		typ      acme.ChallengeType
		id       ca.Identifier
		wildcard bool
		want     acme.Kind // DNS, Connection: it was tried
	}{
		{acme.HTTP01, name, false, acme.DNS},
		{acme.HTTP01, name, true, acme.RejectedIdentifier},
		{acme.HTTP01, addr, false, acme.Connection},
		{acme.DNS01, name, false, acme.DNS},
		{acme.DNS01, name, true, acme.DNS},
		{acme.DNS01, addr, false, acme.RejectedIdentifier},
		{acme.TLSALPN01, name, false, acme.DNS},
		{acme.TLSALPN01, name, true, acme.RejectedIdentifier},
		{acme.TLSALPN01, addr, false, acme.Connection},
		{"tls-sni-01", name, false, acme.Malformed},
		{"tls-sni-02", name, false, acme.Malformed},
		{"", name, false, acme.Malformed},
		{"HTTP-01", name, false, acme.Malformed},
	} {
		a := attemptAt(row.typ, row.id)
		a.Wildcard = row.wildcard
		refused(row.want, "").check(t, v, a)
	}
	for _, token := range []string{"", "short", "../../../../../../../../etc/passwd", testToken + "/", testToken + "\n", strings.Repeat("a", 129), "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ PCt92wr-oA"} {
		a := attemptAt(acme.HTTP01, name)
		a.Token, a.KeyAuthorization = token, token+".x"
		refused(acme.ServerInternal, "could not be carried out").check(t, v, a)
	}
	a := attemptAt(acme.HTTP01, name)
	a.KeyAuthorization = "other.x"
	refused(acme.ServerInternal, "could not be carried out").check(t, v, a)
}

func TestNoAddress(t *testing.T) {
	z := startZone(t, "a.example. TXT x")
	v := validator(t, Config{Resolvers: []string{z.addr}})
	for _, typ := range []acme.ChallengeType{acme.HTTP01, acme.TLSALPN01} {
		refused(acme.DNS, "has neither").check(t, v, attemptAt(typ, dnsName(t, "a.example")))
		refused(acme.DNS, "NXDOMAIN").check(t, v, attemptAt(typ, dnsName(t, "b.example")))
	}
	z.play(failAAAA)
	refused(acme.DNS, "said SERVFAIL").check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
}

// TestRefusedConnection: the detail tells each address and what it did.
func TestRefusedConnection(t *testing.T) {
	z := startZone(t, "a.example. A 127.0.0.4", "a.example. AAAA ::1")
	_, port, _ := net.SplitHostPort(closed(t))
	n := 0
	for _, c := range port {
		n = n*10 + int(c-'0')
	}
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: n, TLSPort: n})
	says := "[::1]:" + port + " refused the connection; 127.0.0.4:" + port + " refused the connection; open the port"
	refused(acme.Connection, says).check(t, v, attemptAt(acme.HTTP01, dnsName(t, "a.example")))
	refused(acme.Connection, says).check(t, v, attemptAt(acme.TLSALPN01, dnsName(t, "a.example")))
}

// TestSlots: never more than MaxConcurrent at a time, who waits goes when
// its context does, and who leaves makes room.
func TestSlots(t *testing.T) {
	var now, most atomic.Int32
	release := make(chan struct{})
	port := serveRaw(t, "127.0.0.2:0", func(c net.Conn) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		_, _ = http.ReadRequest(bufio.NewReader(c))
		<-release
		now.Add(-1)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+testKeyAuth)
	})
	v := validator(t, Config{HTTPPort: port, MaxConcurrent: 2})
	a := attemptAt(acme.HTTP01, ipName(t, "127.0.0.2"))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, p := v.Validate(t.Context(), a); p != nil {
				t.Error(p)
			}
		})
	}
	for most.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	evidence, p := v.Validate(ctx, a)
	checkEvidence(t, evidence, p)
	if p == nil || p.Kind != acme.ServerInternal || !strings.Contains(p.Detail, "too many validations") {
		t.Errorf("got %v", p)
	}
	close(release)
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d at a time, want 2", most.Load())
	}
}

// TestInterrupted: a shutdown is not the name's fault, and is prompt.
func TestInterrupted(t *testing.T) {
	port := serveRaw(t, "127.0.0.2:0", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	v := validator(t, Config{HTTPPort: port, TLSPort: port, Resolvers: []string{silent(t)}})
	for _, a := range []acme.Attempt{
		attemptAt(acme.HTTP01, ipName(t, "127.0.0.2")), attemptAt(acme.TLSALPN01, ipName(t, "127.0.0.2")),
		attemptAt(acme.DNS01, dnsName(t, "a.example")), attemptAt(acme.HTTP01, dnsName(t, "a.example")),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		started := time.Now()
		_, p := v.Validate(ctx, a)
		if p == nil || p.Kind != acme.ServerInternal || !strings.Contains(p.Detail, "interrupted") {
			t.Errorf("%s: got %v", a.Type, p)
		}
		if took := time.Since(started); took > 2*time.Second {
			t.Errorf("%s: took %s", a.Type, took)
		}
	}
}

// TestPanic: a fault of ours fails the one validation, is logged here and not
// shown there.
func TestPanic(t *testing.T) {
	var logged bytes.Buffer
	v := validator(t, Config{Allow: func(netip.Addr) error { panic("secret of ours") }, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	evidence, p := v.Validate(t.Context(), attemptAt(acme.HTTP01, ipName(t, "127.0.0.2")))
	checkEvidence(t, evidence, p)
	if p == nil || p.Kind != acme.ServerInternal || strings.Contains(p.Detail, "secret") {
		t.Errorf("got %v", p)
	}
	if !strings.Contains(logged.String(), "secret of ours") {
		t.Error("not logged")
	}
	if len(v.slots) != 0 {
		t.Error("the slot was not given back")
	}
}

func TestExcerpt(t *testing.T) {
	for in, want := range map[string]string{
		"":                    `""`,
		"plain":               `"plain"`,
		"a\x1b[31m\"\n\u202e": `"a\x1b[31m\"\n\u202e"`,
	} {
		if got := excerpt(in); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, in := range []string{strings.Repeat("x", 198), strings.Repeat("x", 199), strings.Repeat("\x00", 1000), strings.Repeat("\u202e", 1000), strings.Repeat("\U0010ffff", 1000)} {
		got := excerpt(in)
		if len(got) > maxExcerpt || len(got) < maxExcerpt-20 || !printable(got) {
			t.Errorf("%d bytes: %s", len(got), got)
		}
	}
	if got := words(strings.Repeat("\u202e", 1000)); len(got) > maxWords || !printable(got) {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// TestTraceIsBounded: the verdict always fits, and says what did not.
func TestTraceIsBounded(t *testing.T) {
	tr := newTrace(attemptAt(acme.HTTP01, dnsName(t, "a.example")), time.Now())
	for range 1000 {
		tr.step("dns", strings.Repeat("w", 10_000), "f", strings.Repeat("\x00", 10_000))
	}
	e := tr.end(1500*time.Millisecond, acme.Problemf(acme.DNS, "no"))
	checkEvidence(t, e, &acme.Problem{})
	last := e.Steps[len(e.Steps)-1].Got
	if len(e.Steps) != maxSteps || last != "(937 steps left out) dns: no" || e.Millis != 1500 {
		t.Errorf("%d steps, %d ms, the last: %s", len(e.Steps), e.Millis, last)
	}
	b, err := json.Marshal(e)
	if err != nil || len(b) > maxSteps*(4*maxWords+100) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestExplainShowsNoInternals(t *testing.T) {
	for _, err := range []error{errors.New("dial tcp 10.0.0.1:4711->192.0.2.7:80: secret"), &net.DNSError{Err: "x"}, io.ErrClosedPipe} {
		if got := explain(err); got != "could not be talked to" {
			t.Errorf("%v: %s", err, got)
		}
	}
}
