package acme_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/acme"
	"chancery/acme/validate"
	"chancery/ca"
)

// looker is a validator whose challenges the world plays, and whose looks at
// CAA records are real: over sockets, of a real DNS server.
type looker struct {
	*world
	real *validate.Validator
}

// Validate is as if the records had been looked at together with the challenge.
func (l looker) Validate(ctx context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	e, problem := l.world.Validate(ctx, a)
	if a.CAA == ca.CAAEnforce || a.CAA == ca.CAAReport {
		e.CAA = &ca.CAAEvidence{At: l.now(), Allowed: true}
	}
	return e, problem
}

func (l looker) CheckCAA(ctx context.Context, q acme.CAAQuestion) (*ca.CAAEvidence, *acme.Problem) {
	l.looks.Add(1)
	return l.real.CheckCAA(ctx, q)
}

// records is a DNS server with CAA records, by name; a nil record is SERVFAIL.
type records struct {
	mu    sync.Mutex
	caa   map[string]*dns.CAA
	asked map[string]int // questions for CAA, by name
}

func (r *records) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
	r.asked[name]++
	rr, ok := r.caa[name]
	switch {
	case ok && rr == nil:
		m.Rcode = dns.RcodeServerFailure
	case ok:
		c := *rr
		c.Hdr = dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeCAA, Class: dns.ClassINET}
		m.Answer = append(m.Answer, &c)
	}
	_ = w.WriteMsg(m)
}

// set replaces all records and forgets what was asked.
func (r *records) set(caa map[string]*dns.CAA) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caa, r.asked = caa, map[string]int{}
}

func (r *records) questions() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.asked)
}

func issueTo(issuer string) *dns.CAA { return &dns.CAA{Tag: "issue", Value: issuer} }

// newLookingWorld is a world whose CAA records are in the DNS.
func newLookingWorld(t *testing.T) (*world, *records) {
	t.Helper()
	r := &records{}
	r.set(nil)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, Handler: r, NotifyStartedFunc: func() { close(started) }}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	w := newWorld(t)
	v, err := validate.New(validate.Config{Resolvers: []string{conn.LocalAddr().String()}, CAAIdentities: []string{"ca.example"}, Now: w.now})
	must(t, err)
	w.Validator = looker{w, v}
	w.AccountURL = func(id string) string { return "https://ca.example/acme/account/" + id }
	w.Settings.Wait = 30 * time.Second
	return w, r
}

func hundred() (values []string) {
	for i := range 100 {
		values = append(values, fmt.Sprintf("n%d.example", i))
	}
	return values
}

// TestIncident_I01: a CA looked at the CAA records of one name a hundred times.
// Here each name of an order is looked at by itself: with proofs that are 8 h
// and 1 s old, exactly the hundred names are asked for, and for each k, when
// name k alone forbids it, nothing is signed.
func TestIncident_I01(t *testing.T) {
	w, zone := newLookingWorld(t)
	c, key := w.register(), newKey(t)
	values := hundred()
	csr := csrFor(t, key, values...)
	finalize := func() (*acme.Order, error) {
		o := w.order(c, values...)
		w.fulfil(c, o)
		_, err := w.Finalize(t.Context(), c, o.ID, csr)
		o, orderErr := w.Order(t.Context(), c, o.ID)
		must(t, orderErr)
		return o, err
	}
	o, err := finalize()
	must(t, err)
	w.download(c, o)
	if n := len(zone.questions()); n != 0 {
		t.Fatalf("%d names asked for with fresh evidence", n)
	}
	w.advance(8*time.Hour + time.Second)
	o, err = finalize()
	must(t, err)
	w.download(c, o)
	asked := zone.questions()
	delete(asked, "example")
	for _, v := range values {
		if asked[v] != 1 {
			t.Errorf("%s was asked for %d times", v, asked[v])
		}
	}
	if len(asked) != len(values) {
		t.Errorf("%d different names were asked for", len(asked))
	}
	kept, err := w.db.CertificateEvidence(t.Context(), o.Certificate)
	must(t, err)
	for i, e := range kept {
		if e.Name != o.Identifiers[i] || e.CAA == nil || !e.CAA.Allowed || len(e.CAA.Asked) != 2 || e.CAA.At.Before(w.now()) || e.Authorization != o.Authorizations[i].ID {
			t.Errorf("evidence %d of the certificate: %+v", i, e)
		}
	}
	if len(kept) != len(values) {
		t.Errorf("evidence of %d names", len(kept))
	}
	for k, v := range values {
		zone.set(map[string]*dns.CAA{v: issueTo("other.example")})
		o, err := finalize()
		wantKind(t, err, acme.CAA)
		if p := acme.AsProblem(err); p == nil || p.HTTPStatus() != 403 || len(p.Subproblems) != 1 || *p.Subproblems[0].Identifier != o.Identifiers[k] || !strings.Contains(p.Detail, "CAA at "+v) {
			t.Errorf("%s forbids: got %v", v, err)
		}
		if o.StatusAt(w.now()) != acme.StatusInvalid || o.Issued() || o.Error == nil || o.Error.Kind != acme.CAA { // SAFETY row 150
			t.Errorf("%s forbids: the order is %s with %v", v, o.StatusAt(w.now()), o.Error)
		}
	}
	issued, err := w.db.Certificates(t.Context(), ca.CertificateSearch{At: w.now(), Limit: 1000})
	must(t, err)
	if len(issued) != 2 {
		t.Errorf("%d certificates, or reservations of them", len(issued))
	}
}

// TestCAAAtFinalize is SAFETY row 150: what the records say when it is time to
// sign, by mode.
func TestCAAAtFinalize(t *testing.T) {
	for _, row := range []struct {
		what    string
		mode    ca.CAAMode
		require []string
		caa     map[string]*dns.CAA
		kind    acme.Kind
		parts   int // 0: issued
	}{
		{"none", ca.CAAEnforce, nil, nil, 0, 0},
		{"ours", ca.CAAEnforce, nil, map[string]*dns.CAA{"example": issueTo("ca.example")}, 0, 0},
		{"ours for dns-01", ca.CAAEnforce, nil, map[string]*dns.CAA{"example": issueTo("ca.example; validationmethods=dns-01")}, acme.CAA, 1}, // a is proven by http-01
		{"both by any of them", ca.CAAEnforce, nil, map[string]*dns.CAA{"example": issueTo("ca.example; validationmethods=dns-01,http-01")}, 0, 0},
		{"both", ca.CAAEnforce, nil, map[string]*dns.CAA{"example": issueTo("other.example")}, acme.CAA, 2},
		{"the wildcard", ca.CAAEnforce, nil, map[string]*dns.CAA{"a.example": {Tag: "issuewild", Value: ";"}}, acme.CAA, 1},
		{"nobody knows", ca.CAAEnforce, nil, map[string]*dns.CAA{"a.example": nil}, acme.DNS, 2},
		{"forbidden, reported", ca.CAAReport, nil, map[string]*dns.CAA{"example": issueTo("other.example")}, 0, 0},
		{"nobody knows, reported", ca.CAAReport, nil, map[string]*dns.CAA{"example": nil}, 0, 0},
		{"off", ca.CAAOff, nil, map[string]*dns.CAA{"example": issueTo("other.example")}, 0, 0},
		{"a consent is missing", ca.CAAEnforce, []string{"a=b"}, nil, acme.CAA, 2}, // SAFETY I18
		{"a consent is there", ca.CAAEnforce, []string{"a=b"}, map[string]*dns.CAA{"example": issueTo("ca.example;a=b")}, 0, 0},
	} {
		t.Run(row.what, func(t *testing.T) {
			w, zone := newLookingWorld(t)
			var log strings.Builder
			var outcomes []string
			var mu sync.Mutex
			w.Log = slog.New(slog.NewTextHandler(&log, nil))
			w.Hooks.CAA = func(mode ca.CAAMode, outcome string) {
				mu.Lock()
				defer mu.Unlock()
				outcomes = append(outcomes, string(mode)+" "+outcome)
			}
			authority, ok := w.Issuer.(*ca.Authority)
			if !ok {
				t.Fatal("another issuer")
			}
			for _, p := range authority.Profiles {
				p.CAA, p.CAARequire = row.mode, row.require
			}
			c := w.register()
			o := w.order(c, "a.example", "*.a.example")
			w.fulfil(c, o)
			w.advance(9 * time.Hour)
			zone.set(row.caa)
			_, err := w.Finalize(t.Context(), c, o.ID, csrFor(t, newKey(t), "a.example", "*.a.example"))
			o, orderErr := w.Order(t.Context(), c, o.ID)
			must(t, orderErr)
			if row.parts == 0 {
				must(t, err)
				w.download(c, o)
				kept, err := w.db.CertificateEvidence(t.Context(), o.Certificate)
				must(t, err)
				for _, e := range kept {
					switch {
					case (e.CAA == nil) != (row.mode == ca.CAAOff):
						t.Errorf("evidence %+v", e)
					case e.CAA != nil && e.CAA.Allowed == (row.mode == ca.CAAReport), e.CAA != nil && !e.CAA.Allowed && !strings.Contains(log.String(), "name=*.a.example"):
						t.Errorf("evidence %+v; log %s", e.CAA, log.String())
					}
				}
				if row.mode == ca.CAAOff && len(zone.questions()) != 0 {
					t.Errorf("asked %v", zone.questions())
				}
				return
			}
			wantKind(t, err, row.kind)
			if p := acme.AsProblem(err); p == nil || len(p.Subproblems) != row.parts || o.Error == nil || o.Error.Kind != row.kind || o.StatusAt(w.now()) != acme.StatusInvalid {
				t.Errorf("got %v; the order is %s with %v", err, o.StatusAt(w.now()), o.Error)
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(outcomes, "enforce "+row.kind.String()) {
				t.Errorf("metrics: %v", outcomes)
			}
		})
	}
}

// TestStopWhileLooking: a stop in the middle of a look is no refusal; whoever
// takes the order over looks again.
func TestStopWhileLooking(t *testing.T) {
	w := newWorld(t)
	w.Settings.Wait = time.Millisecond
	looking := make(chan struct{})
	w.allowing(func(acme.CAAQuestion) *acme.Problem {
		close(looking)
		time.Sleep(100 * time.Millisecond) // longer than the grace below
		return acme.Problemf(acme.ServerInternal, "interrupted")
	})
	c := w.register()
	o := w.order(c, "a.example")
	w.fulfil(c, o)
	_, err := w.Finalize(t.Context(), c, o.ID, csrFor(t, newKey(t), "a.example"))
	must(t, err)
	<-looking
	grace, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	w.Stop(grace)
	o, err = w.Order(t.Context(), c, o.ID)
	must(t, err)
	if o.StatusAt(w.now()) != acme.StatusProcessing {
		t.Fatalf("the order is %s: %v", o.StatusAt(w.now()), o.Error)
	}
	w.allowing(func(acme.CAAQuestion) *acme.Problem { return nil })
	next := &acme.Service{Store: w.db, Validator: w, Issuer: w.Issuer, Sealer: plainSealer{}, Now: w.now, Settings: acme.Settings{TakeOverEvery: time.Millisecond}}
	run, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = next.Run(run) })
	defer func() { end(); wg.Wait(); next.Stop(t.Context()) }()
	w.advance(time.Minute)
	eventually(t, func() bool {
		o, err = next.Order(t.Context(), c, o.ID)
		return err == nil && o.StatusAt(w.now()) == acme.StatusValid
	})
}
