package validate

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"chancery/acme"
	"chancery/ca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is a real DNS server on loopback, over UDP and TCP, that plays a
// recursive resolver for the records it holds.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR
	asked   []string // "udp A a.example"
	// serve, unless nil, may answer first; false leaves it to the records.
	serve func(w dns.ResponseWriter, q *dns.Msg, network string) bool
}

// startZone serves zone-file lines such as "a.example. A 127.0.0.1".
func startZone(t *testing.T, lines ...string) *zone {
	t.Helper()
	z := &zone{records: make(map[string][]dns.RR)}
	z.add(t, lines...)
	udp, tcp := listenBoth(t)
	z.addr = udp.LocalAddr().String()
	for network, s := range map[string]*dns.Server{"udp": {PacketConn: udp}, "tcp": {Listener: tcp}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { z.answer(w, q, network) })
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
	return z
}

func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		udp.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (z *zone) add(t *testing.T, lines ...string) {
	t.Helper()
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		name := strings.ToLower(rr.Header().Name)
		z.records[name] = append(z.records[name], rr)
	}
}

func (z *zone) answer(w dns.ResponseWriter, q *dns.Msg, network string) {
	z.mu.Lock()
	z.asked = append(z.asked, network+" "+question(canonical(q.Question[0].Name), q.Question[0].Qtype))
	serve := z.serve
	z.mu.Unlock()
	if serve != nil && serve(w, q, network) {
		return
	}
	_ = w.WriteMsg(z.reply(q))
}

// reply is the answer from the records, CNAMEs chased.
func (z *zone) reply(q *dns.Msg) *dns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	name := strings.ToLower(q.Question[0].Name)
	for range 30 {
		here, ok := z.records[name]
		if !ok {
			m.Rcode = dns.RcodeNameError
			break
		}
		next := ""
		for _, rr := range here {
			if cname, ok := rr.(*dns.CNAME); ok {
				m.Answer, next = append(m.Answer, rr), strings.ToLower(cname.Target)
			} else if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(m.Answer) == 0 || m.Answer[len(m.Answer)-1].Header().Rrtype == dns.TypeCNAME {
		m.Ns = append(m.Ns, soa("."))
	}
	return m
}

func soa(owner string) dns.RR {
	return &dns.SOA{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: "ns.", Mbox: "root.", Minttl: 60}
}

// play sets serve while the server runs.
func (z *zone) play(serve func(w dns.ResponseWriter, q *dns.Msg, network string) bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.serve = serve
}

func (z *zone) questions() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	out := slices.Clone(z.asked)
	slices.Sort(out)
	return out
}

// silent is a resolver that takes questions and never answers.
func silent(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

const (
	testToken   = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
	testKeyAuth = testToken + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
)

func dnsName(t testing.TB, name string) ca.Identifier {
	t.Helper()
	id, err := ca.ParseIdentifier("dns", name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func ipName(t testing.TB, addr string) ca.Identifier {
	t.Helper()
	id, err := ca.ParseIdentifier("ip", addr)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func attemptAt(typ acme.ChallengeType, id ca.Identifier) acme.Attempt {
	return acme.Attempt{Type: typ, Identifier: id, Token: testToken, KeyAuthorization: testKeyAuth}
}

// validator is one that asks the zone; its time is short, for tests of peers
// that don't answer.
func validator(t testing.TB, c Config) *Validator {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// expect is the outcome that a row of a table wants.
type expect struct {
	kind acme.Kind
	ok   bool
	says string // in the detail
}

func proven() expect { return expect{ok: true} }

func refused(kind acme.Kind, says string) expect { return expect{kind: kind, says: says} }

// check runs the attempt and holds outcome and evidence against what is
// wanted of every validation.
func (e expect) check(t *testing.T, v *Validator, a acme.Attempt) *acme.Evidence {
	t.Helper()
	started := time.Now()
	evidence, problem := v.Validate(t.Context(), a)
	if took := time.Since(started); took > v.timeout+time.Second {
		t.Errorf("took %s, longer than %s", took, v.timeout)
	}
	checkEvidence(t, evidence, problem)
	switch {
	case e.ok && problem != nil:
		t.Fatalf("refused: %v", problem)
	case e.ok:
	case problem == nil:
		t.Fatalf("proven, want %s\n%s", e.kind, steps(evidence))
	case problem.Kind != e.kind:
		t.Fatalf("got %v, want kind %s", problem, e.kind)
	case !strings.Contains(problem.Detail, e.says):
		t.Fatalf("got %v, want it to say %q", problem, e.says)
	}
	return evidence
}

// checkEvidence holds the bounds of evidence and details.
func checkEvidence(t *testing.T, evidence *acme.Evidence, problem *acme.Problem) {
	t.Helper()
	if evidence == nil || len(evidence.Steps) == 0 || len(evidence.Steps) > maxSteps {
		t.Fatalf("evidence %v: want 1 to %d steps", evidence, maxSteps)
	}
	for _, s := range evidence.Steps {
		for _, w := range []string{s.Do, s.What, s.From, s.Got} {
			if len(w) > maxWords || !printable(w) {
				t.Errorf("step holds %q: too long or not printable", w)
			}
		}
	}
	last := evidence.Steps[len(evidence.Steps)-1]
	if last.Do != "verdict" || (last.Got == "control proven") != (problem == nil) {
		t.Errorf("last step is %+v, want the verdict", last)
	}
	if problem == nil {
		return
	}
	if len(problem.Detail) > 4<<10 || !printable(problem.Detail) {
		t.Errorf("detail of %d bytes: %q", len(problem.Detail), problem.Detail)
	}
	for _, word := range []string{"*net.", "OpError", "goroutine", "x509.", "nil", "EOF", "syscall"} {
		if strings.Contains(problem.Detail, word) {
			t.Errorf("detail shows internals: %s", problem.Detail)
		}
	}
}

func steps(e *acme.Evidence) string {
	var b strings.Builder
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "%s | %s | %s | %s\n", s.Do, s.What, s.From, s.Got)
	}
	return b.String()
}

// failAAAA answers AAAA with SERVFAIL and leaves the rest to the records.
func failAAAA(w dns.ResponseWriter, q *dns.Msg, _ string) bool {
	if q.Question[0].Qtype != dns.TypeAAAA {
		return false
	}
	m := new(dns.Msg)
	m.SetRcode(q, dns.RcodeServerFailure)
	_ = w.WriteMsg(m)
	return true
}

// rebind answers A with 127.0.0.2 the first time, and then with 127.0.0.9.
func rebind(w dns.ResponseWriter, q *dns.Msg, n *atomic.Int32) bool {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Ns = append(m.Ns, soa("."))
	if q.Question[0].Qtype == dns.TypeA {
		addr := "127.0.0.2"
		if n.Add(1) > 1 {
			addr = "127.0.0.9"
		}
		rr, _ := dns.NewRR(q.Question[0].Name + " 0 A " + addr)
		m.Answer = append(m.Answer, rr)
	}
	_ = w.WriteMsg(m)
	return true
}
