package validate

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

func identity(t testing.TB) Identity {
	t.Helper()
	i, err := NewIdentity(newKey(t, elliptic.P256()), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// world is a victim's web server, an attacker's on another address with the
// same port, and a CA's identity. Each perspective has a resolver of its own,
// and a hijack is one that leads to the attacker.
type world struct {
	t    *testing.T
	ca   Identity
	port int
}

const hijackedName = "victim.example"

func newWorld(t *testing.T) *world {
	w := &world{t: t, ca: identity(t)}
	w.port = serveHTTP(t, "127.0.0.2:0", right)
	serveHTTP(t, fmt.Sprintf("127.0.0.3:%d", w.port), func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("the attacker's page"))
	})
	return w
}

// Where a perspective's way to the victim leads.
const (
	honest   = "A 127.0.0.2"
	hijacked = "A 127.0.0.3"
	nowhere  = "A 127.0.0.4" // nobody listens there
)

// sight is a validator whose resolver leads that way; more lines are records.
func (w *world) sight(way string, lines ...string) *Validator {
	z := startZone(w.t, append([]string{hijackedName + ". " + way, "example. TXT x"}, lines...)...)
	return validator(w.t, Config{Resolvers: []string{z.addr}, HTTPPort: w.port, CAAIdentities: []string{"ca.example"}, Timeout: 3 * time.Second})
}

func (w *world) setting() PerspectiveSetting {
	return PerspectiveSetting{HTTPPort: w.port, CAAIdentities: []string{"ca.example"}}
}

// remote runs a perspective with this validator.
func (w *world) remote(name string, v acme.Validator) RemoteConfig {
	return w.serve(name, NewPerspective(v, w.setting(), nil))
}

// serve runs whatever answers in a perspective's place, behind its real TLS.
func (w *world) serve(name string, h http.Handler) RemoteConfig {
	me := identity(w.t)
	addr := serveTLSHandler(w.t, me, []Pin{w.ca.Pin}, h)
	return RemoteConfig{Name: name, URL: "https://" + addr, Pin: me.Pin}
}

// down is a perspective at which nobody listens.
func (w *world) down(name string) RemoteConfig {
	return RemoteConfig{Name: name, URL: "https://" + closed(w.t), Pin: identity(w.t).Pin}
}

func (w *world) quorum(primary acme.Validator, remotes ...RemoteConfig) *Quorum {
	w.t.Helper()
	q, err := NewQuorum(QuorumConfig{Primary: primary, Remotes: remotes, Identity: w.ca, Setting: w.setting(), Timeout: 3 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(q.Close)
	return q
}

func (w *world) attempt() acme.Attempt { return attemptAt(acme.HTTP01, dnsName(w.t, hijackedName)) }

// remotes is one perspective for each way, named r1, r2, …; "down" is one at
// which nobody listens.
func (w *world) remotes(ways ...string) (out []RemoteConfig) {
	for i, way := range ways {
		name := fmt.Sprintf("r%d", i+1)
		if way == "down" {
			out = append(out, w.down(name))
			continue
		}
		out = append(out, w.remote(name, w.sight(way)))
	}
	return out
}

// outcomes writes the rows as "primary=pass r1=fail".
func outcomes(rows []ca.Perspective) string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%s=%s", r.Name, r.Outcome))
	}
	return strings.Join(out, " ")
}

func rowsOf(e *acme.Evidence) (rows []ca.Perspective) {
	for _, r := range e.Perspectives {
		rows = append(rows, r.Perspective)
	}
	return rows
}

// scripted is a validator that does what a test says.
type scripted struct {
	validate func(ctx context.Context, a acme.Attempt) *acme.Problem
	calls    atomic.Int32
}

func (s *scripted) Validate(ctx context.Context, a acme.Attempt) (*acme.Evidence, *acme.Problem) {
	s.calls.Add(1)
	p := s.validate(ctx, a)
	t := newTrace(a, time.Now())
	if a.CAA == ca.CAAEnforce {
		t.sawCAA(&ca.CAAEvidence{At: time.Now(), Allowed: p == nil})
	}
	return t.end(0, p), p
}

func (s *scripted) CheckCAA(ctx context.Context, q acme.CAAQuestion) (*ca.CAAEvidence, *acme.Problem) {
	s.calls.Add(1)
	p := s.validate(ctx, acme.Attempt{Identifier: q.Name})
	e := &ca.CAAEvidence{At: time.Now(), Allowed: true}
	refuse(e, p)
	return e, p
}

func says(p *acme.Problem) *scripted {
	return &scripted{validate: func(context.Context, acme.Attempt) *acme.Problem { return p }}
}

// TestIncident_I12: remotes alone proved names, and certificates were issued
// by the million. Here nothing that remotes say makes up for the primary.
func TestIncident_I12(t *testing.T) {
	w := newWorld(t)
	evil := says(nil)
	for _, n := range []int{1, 2, 5, 6} {
		var remotes []RemoteConfig
		for i := range n {
			remotes = append(remotes, w.remote(fmt.Sprintf("r%d", i), evil))
		}
		for name, primary := range map[string]acme.Validator{
			"failing":  w.sight(nowhere),
			"hijacked": w.sight(hijacked),
			"broken":   says(acme.Problemf(acme.ServerInternal, "out of order")),
		} {
			e, problem := w.quorum(primary, remotes...).Validate(t.Context(), w.attempt())
			if problem == nil {
				t.Fatalf("%s primary, %d remotes that pass: valid", name, n)
			}
			if rows := rowsOf(e); len(rows) != n+1 || rows[0].Outcome == ca.OutcomePass || !rows[0].Primary {
				t.Errorf("%s primary: rows %s", name, outcomes(rows))
			}
		}
		_, problem := w.quorum(says(acme.Problemf(acme.DNS, "no")), remotes...).CheckCAA(t.Context(), acme.CAAQuestion{Name: dnsName(t, hijackedName), Method: acme.HTTP01})
		wantKind(t, problem, acme.DNS)
	}
	if _, err := NewQuorum(QuorumConfig{Remotes: w.remotes(honest), Identity: w.ca}); err == nil {
		t.Error("a quorum without a primary")
	}
	// A ballot that never saw its primary is lost, whatever else is on it.
	q := w.quorum(evil, w.remote("r1", evil))
	b := &ballot{remotes: []vote{{name: "r1", outcome: ca.OutcomePass}}}
	if problem := q.verdict(b, "x"); problem == nil {
		t.Error("a ballot without a primary won")
	}
	// Swapped roles: a remote's pass is no primary's.
	policy := ca.PerspectivePolicy{Remotes: 1}
	for _, rows := range [][]ca.Perspective{
		{{Name: "r1", Outcome: ca.OutcomePass}, {Name: ca.PrimaryPerspective, Primary: true, Outcome: ca.OutcomePass}},
		{{Name: "r1", Primary: true, Outcome: ca.OutcomePass}, {Name: "r2", Outcome: ca.OutcomePass}},
		{{Name: ca.PrimaryPerspective, Outcome: ca.OutcomePass}, {Name: "r2", Outcome: ca.OutcomePass}},
	} {
		if policy.Flaw(rows) == "" {
			t.Errorf("%+v won", rows)
		}
	}
}

// TestIncident_I19: results of perspectives that timed out were not kept. Here
// each perspective has its row for each name, whatever became of it.
func TestIncident_I19(t *testing.T) {
	w := newWorld(t)
	hang := &scripted{validate: func(ctx context.Context, _ acme.Attempt) *acme.Problem {
		<-ctx.Done()
		return acme.Problemf(acme.ServerInternal, "interrupted")
	}}
	remotes := append(w.remotes(honest, hijacked, "down", honest, honest),
		w.remote("hangs", hang),
		w.serve("junk", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("hello")) })))
	const want = "primary=pass r1=pass r2=fail r3=error r4=pass r5=pass hangs=error junk=error"
	q := w.quorum(w.sight(honest), remotes...)
	e, problem := q.Validate(t.Context(), w.attempt())
	wantKind(t, problem, acme.IncorrectResponse, "4 of 7 remote perspectives", "3 no answer", "1 incorrectResponse")
	if got := outcomes(rowsOf(e)); got != want {
		t.Errorf("rows\n%s, want\n%s", got, want)
	}
	for _, r := range e.Perspectives[1:] {
		if r.Outcome != ca.OutcomePass && r.Why == "" || r.Millis < 0 || !printable(r.Why) || len(r.Why) > remoteWords {
			t.Errorf("row %+v", r)
		}
		if (r.Outcome == ca.OutcomeError) != (len(r.Steps) == 0) {
			t.Errorf("%s: %d steps beside %s", r.Name, len(r.Steps), r.Outcome)
		}
	}
	if !strings.Contains(steps(e), "3 of 7 remote perspectives corroborate, 5 must (against: 1 incorrectResponse, 3 no answer)") {
		t.Errorf("the verdict is not told:\n%s", steps(e))
	}
	c, problem := q.CheckCAA(t.Context(), acme.CAAQuestion{Name: dnsName(t, hijackedName), Method: acme.HTTP01})
	if problem == nil || c.Allowed || len(c.Perspectives) != len(remotes)+1 {
		t.Errorf("CAA: %v beside %s", problem, outcomes(c.Perspectives))
	}
	b, err := json.Marshal(e)
	if err != nil || !strings.Contains(string(b), `"name":"hangs","outcome":"error"`) {
		t.Errorf("JSON of the evidence: %v %s", err, b)
	}
}

// TestIncident_I20_NoPerspectiveSkipped: who drops an off-path answer, or a server's, must not be
// able to make a CA leave a perspective out. It is asked at each attempt anew,
// however often it failed, and its absence counts against the name.
func TestIncident_I20_NoPerspectiveSkipped(t *testing.T) {
	w := newWorld(t)
	slow := says(acme.Problemf(acme.ServerInternal, "out of order"))
	q := w.quorum(w.sight(honest), append(w.remotes("down"), w.remote("slow", slow))...)
	const attempts = 12
	for range attempts {
		_, problem := q.Validate(t.Context(), w.attempt())
		wantKind(t, problem, acme.ServerInternal, "2 of 2 remote perspectives could not", "try again later")
	}
	if got := slow.calls.Load(); got != attempts {
		t.Errorf("asked %d times in %d attempts", got, attempts)
	}
	slow.validate = says(nil).validate // it recovers, and counts from the next attempt on
	if _, problem := q.Validate(t.Context(), w.attempt()); problem != nil {
		t.Error(problem)
	}
}

// TestIncident_I83: remotes that hang leave no goroutine behind.
func TestIncident_I83(t *testing.T) {
	w := newWorld(t)
	hang := &scripted{validate: func(ctx context.Context, _ acme.Attempt) *acme.Problem {
		<-ctx.Done()
		return acme.Problemf(acme.ServerInternal, "interrupted")
	}}
	mute := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then a server notices that the client is gone
		<-r.Context().Done()
	})
	// The primary decides at once, and the remotes would have a minute still.
	q := w.quorum(says(acme.Problemf(acme.DNS, "no")), w.remote("h1", hang), w.remote("h2", hang), w.serve("h3", mute))
	q.grace, q.timeout = 5*time.Millisecond, time.Minute
	run := func(n int) {
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				if _, problem := q.Validate(t.Context(), w.attempt()); problem == nil {
					t.Error("valid, and nobody saw it")
				}
			})
		}
		all.Wait()
		q.Close()
	}
	run(50)
	time.Sleep(100 * time.Millisecond)
	base := runtime.NumGoroutine()
	for range 6 {
		run(100)
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > base+10 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > base+10 {
		t.Errorf("%d goroutines after 600 validations with three remotes that hang, %d before", n, base)
	}
}

// TestQuorumTable is BR 3.2.2.9 whole, over real perspectives: of n remotes, so
// many hijacked and so many down.
func TestQuorumTable(t *testing.T) {
	w := newWorld(t)
	good, bad := w.sight(honest), w.sight(hijacked)
	var goods, bads, downs []RemoteConfig
	for i := range 7 {
		goods = append(goods, w.remote(fmt.Sprintf("g%d", i), good))
		bads = append(bads, w.remote(fmt.Sprintf("b%d", i), bad))
		downs = append(downs, w.down(fmt.Sprintf("d%d", i)))
	}
	may := map[int]int{1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2}
	for n := 1; n <= 7; n++ {
		for against := 0; against <= min(n, 3); against++ {
			for _, hijacks := range []int{0, against / 2, against} {
				remotes := slices.Concat(bads[:hijacks], goods[:n-against], downs[:against-hijacks])
				_, problem := w.quorum(good, remotes...).Validate(t.Context(), w.attempt())
				if valid := problem == nil; valid != (against <= may[n]) {
					t.Errorf("%d remotes, %d hijacked, %d down: %v", n, hijacks, against-hijacks, problem)
				}
			}
		}
	}
	// A quorum of the operator's.
	for need, valid := range map[int]bool{1: true, 2: false} {
		q, err := NewQuorum(QuorumConfig{
			Primary: good, Remotes: slices.Concat(goods[:1], bads[:2]), Quorum: need, Identity: w.ca, Setting: w.setting(),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, problem := q.Validate(t.Context(), w.attempt()); (problem == nil) != valid {
			t.Errorf("a quorum of %d with one that corroborates: %v", need, problem)
		}
		q.Close()
	}
}

// TestFault_F48: a partition between the primary and 1, 2, 3 of 5 remotes. The
// client hears numbers, and neither names nor addresses.
func TestFault_F48(t *testing.T) {
	w := newWorld(t)
	v := w.sight(honest)
	for cut := range 4 {
		var remotes []RemoteConfig
		for i := range 5 {
			r := w.remote(fmt.Sprintf("somewhere-%d", i), v)
			if i < cut {
				r.URL = fmt.Sprintf("https://192.0.2.%d:15000", i+1) // TEST-NET-1: nothing ever comes back
			}
			remotes = append(remotes, r)
		}
		began := time.Now()
		e, problem := w.quorum(v, remotes...).Validate(t.Context(), w.attempt())
		took := time.Since(began)
		if valid := problem == nil; valid != (cut <= 1) {
			t.Fatalf("%d cut off: %v", cut, problem)
		}
		if cut <= 1 && took > 2*time.Second {
			t.Errorf("%d cut off: took %s; stragglers are waited for %s", cut, took, quorumGrace)
		}
		if len(e.Perspectives) != 6 {
			t.Errorf("%d rows", len(e.Perspectives))
		}
		if problem == nil {
			continue
		}
		wantKind(t, problem, acme.ServerInternal, fmt.Sprintf("%d of 5 remote perspectives could not confirm http-01 for victim.example (%d no answer), and at most 1 may", cut, cut))
		if containsAny(problem.Detail, []string{"somewhere", "192.0.2", "15000", "127.0.0"}) {
			t.Errorf("the detail names a place: %s", problem.Detail)
		}
	}
}

// TestFault_F49: a perspective that passes everything gains nothing: with it
// and one that is down, a name that the others don't see is still refused.
func TestFault_F49(t *testing.T) {
	w := newWorld(t)
	evil := w.remote("evil", says(nil))
	for _, c := range []struct {
		primary string
		others  []string
		valid   bool
	}{
		{nowhere, []string{nowhere, nowhere}, false},
		{hijacked, []string{hijacked, hijacked}, false}, // what it serves is not the token's answer
		{honest, []string{honest, "down"}, true},
		{honest, []string{"down", "down"}, false},
		{honest, []string{nowhere, "down"}, false},
		{nowhere, []string{honest, honest}, false},
	} {
		remotes := append(w.remotes(c.others...), evil)
		_, problem := w.quorum(w.sight(c.primary), remotes...).Validate(t.Context(), w.attempt())
		if (problem == nil) != c.valid {
			t.Errorf("primary %s, others %v and an evil one: %v", c.primary, c.others, problem)
		}
	}
}

// TestQuorumCAA: CAA records are looked at from all perspectives, beside the
// challenge and alone.
func TestQuorumCAA(t *testing.T) {
	w := newWorld(t)
	const allows, forbids = hijackedName + `. CAA 0 issue "ca.example"`, hijackedName + `. CAA 0 issue "other.example"`
	sight := func(name, record string) RemoteConfig { return w.remote(name, w.sight(honest, record)) }
	primary := w.sight(honest, allows)
	for _, c := range []struct {
		records []string
		valid   bool
	}{
		{[]string{allows, allows, allows}, true},
		{[]string{allows, allows, forbids}, true},
		{[]string{allows, forbids, forbids}, false},
		{[]string{forbids, forbids, forbids}, false},
	} {
		var remotes []RemoteConfig
		for i, r := range c.records {
			remotes = append(remotes, sight(fmt.Sprintf("r%d", i), r))
		}
		q := w.quorum(primary, remotes...)
		for _, mode := range []ca.CAAMode{ca.CAAEnforce, ca.CAAReport, ca.CAAOff} {
			a := w.attempt()
			a.CAA = mode
			e, problem := q.Validate(t.Context(), a)
			if valid := problem == nil; valid != (c.valid || mode != ca.CAAEnforce) {
				t.Errorf("%v, %s: %v", c.records, mode, problem)
			}
			if problem != nil {
				wantKind(t, problem, acme.CAA)
			}
			if mode == ca.CAAOff {
				if e.CAA != nil {
					t.Error("off, and looked up")
				}
				continue
			}
			// What signing goes by: a permission only if enough saw it.
			if e.CAA == nil || e.CAA.Allowed != c.valid || len(e.CAA.Perspectives) != 4 {
				t.Errorf("%v, %s: CAA evidence %+v", c.records, mode, e.CAA)
			}
			if flaw := q.policy.Flaw(e.CAA.Perspectives); (flaw == "") != c.valid {
				t.Errorf("%v, %s: flaw %q of %s", c.records, mode, flaw, outcomes(e.CAA.Perspectives))
			}
		}
		e, problem := q.CheckCAA(t.Context(), acme.CAAQuestion{Name: dnsName(t, hijackedName), Method: acme.HTTP01})
		if (problem == nil) != c.valid || e.Allowed != c.valid || (q.policy.Flaw(e.Perspectives) == "") != c.valid {
			t.Errorf("%v, alone: %v beside %+v", c.records, problem, e)
		}
	}
	// A remote's "pass" that says nothing of CAA records is none.
	q := w.quorum(primary, w.serve("mute", mute(w)))
	a := w.attempt()
	a.CAA = ca.CAAEnforce
	e, problem := q.Validate(t.Context(), a)
	if problem == nil || outcomes(rowsOf(e)) != "primary=pass mute=error" {
		t.Errorf("%v, %s", problem, outcomes(rowsOf(e)))
	}
}

// TestQuorumAttempts: all perspectives of one attempt get the same attempt ID
// and their own question ID, and another attempt has others.
func TestQuorumAttempts(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	ids, attempts := map[string]int{}, map[string]int{}
	record := func(next http.Handler) http.Handler {
		return answering(func(q *remoteQuestion, text []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			ids[q.ID]++
			attempts[q.Attempt]++
			return goodAnswer(q, text)
		})
	}
	q := w.quorum(says(nil), w.serve("r1", record(nil)), w.serve("r2", record(nil)), w.serve("r3", record(nil)))
	seen := map[string]bool{}
	for range 4 {
		e, problem := q.Validate(t.Context(), w.attempt())
		if problem != nil {
			t.Fatal(problem)
		}
		seen[e.Attempt] = true
	}
	if len(ids) != 12 || len(attempts) != 4 || len(seen) != 4 {
		t.Errorf("%d questions, %d attempts, %d in the evidence; want 12, 4, 4", len(ids), len(attempts), len(seen))
	}
	for a, n := range attempts {
		if n != 3 || !seen[a] {
			t.Errorf("attempt %s: %d questions", a, n)
		}
	}
}

func TestNewQuorumRefuses(t *testing.T) {
	me, other := identity(t), identity(t)
	good := RemoteConfig{Name: "fra", URL: "https://10.0.0.5:15000", Pin: other.Pin}
	for _, c := range []struct {
		says string
		edit func(*QuorumConfig)
	}{
		{"primary", func(c *QuorumConfig) { c.Primary = nil }},
		{"0 remote perspectives", func(c *QuorumConfig) { c.Remotes = nil }},
		{"17 remote perspectives", func(c *QuorumConfig) { c.Remotes = slices.Repeat([]RemoteConfig{good}, 17) }},
		{"in common", func(c *QuorumConfig) {
			c.Remotes = []RemoteConfig{good, {Name: "ams", URL: "https://10.0.0.6:1", Pin: good.Pin}}
		}},
		{"in common", func(c *QuorumConfig) { c.Remotes = []RemoteConfig{good, {Name: "ams", URL: good.URL, Pin: me.Pin}} }},
		{"in common", func(c *QuorumConfig) {
			c.Remotes = []RemoteConfig{good, {Name: "fra", URL: "https://10.0.0.6:1", Pin: me.Pin}}
		}},
		{"quorum of 2", func(c *QuorumConfig) { c.Quorum = 2 }},
		{"quorum of -1", func(c *QuorumConfig) { c.Quorum = -1 }},
		{"identity", func(c *QuorumConfig) { c.Identity = Identity{} }},
		{"timeout", func(c *QuorumConfig) { c.Timeout = time.Hour }},
		{"no pin", func(c *QuorumConfig) { c.Remotes[0].Pin = Pin{} }},
		{"name", func(c *QuorumConfig) { c.Remotes[0].Name = "Fra" }},
		{"this CA itself", func(c *QuorumConfig) { c.Remotes[0].Name = "primary" }},
		{"https://HOST:PORT", func(c *QuorumConfig) { c.Remotes[0].URL = "http://10.0.0.5" }},
		{"https://HOST:PORT", func(c *QuorumConfig) { c.Remotes[0].URL = "https://10.0.0.5/x" }},
	} {
		config := QuorumConfig{Primary: says(nil), Remotes: []RemoteConfig{good}, Identity: me}
		c.edit(&config)
		if _, err := NewQuorum(config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.says, err)
		}
	}
}
