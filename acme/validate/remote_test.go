package validate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// serveTLSHandler serves h behind the real TLS of a perspective.
func serveTLSHandler(t testing.TB, me Identity, peers []Pin, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(tls.NewListener(l, me.ServerTLS(peers))) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// answering makes a handler of a function from question to answer's text.
func answering(f func(q *remoteQuestion, text []byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		q, err := parseRemoteQuestion(string(text))
		if err != nil {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(f(q, text))
	})
}

func goodAnswer(q *remoteQuestion, text []byte) []byte {
	out, _ := json.Marshal(remoteAnswer{ID: q.ID, Digest: textDigest(text), Outcome: ca.OutcomePass, CAA: &ca.CAAEvidence{Allowed: true}})
	return out
}

// mute passes everything and says nothing of CAA records.
func mute(*world) http.Handler {
	return answering(func(q *remoteQuestion, text []byte) []byte {
		return fmt.Appendf(nil, `{"id":%q,"digest":%q,"outcome":"pass","millis":1}`, q.ID, textDigest(text))
	})
}

// vote asks one remote about the world's name.
func (w *world) vote(r RemoteConfig) vote {
	w.t.Helper()
	q := w.quorum(says(nil), r)
	e, _ := q.Validate(w.t.Context(), w.attempt())
	row := e.Perspectives[1]
	return vote{name: row.Name, outcome: row.Outcome, why: row.Why}
}

func (v vote) want(t *testing.T, what string, outcome ca.Outcome, why string) {
	t.Helper()
	if v.outcome != outcome || !strings.Contains(v.why, why) || !printable(v.why) || len(v.why) > remoteWords {
		t.Errorf("%s: %s, %q; want %s, %q", what, v.outcome, v.why, outcome, why)
	}
}

// TestAttack_A12_Identity: SAFETY A12, rogue ends. Neither end talks to a key
// that is not pinned, and a certificate of a public CA changes nothing.
func TestAttack_A12_Identity(t *testing.T) {
	w := newWorld(t)
	stranger := identity(t)
	asked := says(nil)
	good := w.remote("r1", asked)
	w.vote(good).want(t, "both pinned", ca.OutcomePass, "")

	rogue := good
	rogue.Pin = stranger.Pin
	before := asked.calls.Load()
	w.vote(rogue).want(t, "a remote with another key", ca.OutcomeError, "another key")

	own := w.ca
	w.ca = stranger // a CA whose pin the remote does not have
	w.vote(good).want(t, "a CA with another key", ca.OutcomeError, "")
	w.ca = own
	if got := asked.calls.Load(); got != before {
		t.Errorf("a name was looked at %d times for strangers", got-before)
	}

	me := identity(t)
	addr := serveTLSHandler(t, me, []Pin{w.ca.Pin}, NewPerspective(asked, w.setting(), nil))
	for name, c := range map[string]*tls.Config{
		"no certificate":      {InsecureSkipVerify: true},
		"TLS 1.2":             {InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{w.ca.certificate}},
		"another certificate": {InsecureSkipVerify: true, Certificates: []tls.Certificate{stranger.certificate}},
		// The pinned key's certificate in the chain, and not its owner's key.
		"a chain that has the pinned key in it": {InsecureSkipVerify: true, Certificates: []tls.Certificate{{
			Certificate: [][]byte{stranger.certificate.Certificate[0], w.ca.certificate.Certificate[0]}, PrivateKey: stranger.certificate.PrivateKey,
		}}},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}, Timeout: 5 * time.Second}
		r, err := client.Post("https://"+addr+PerspectivePath, "application/json", strings.NewReader("{}"))
		if err == nil {
			r.Body.Close()
			t.Errorf("%s: answered %s", name, r.Status)
		}
	}
	if err := meets(nil)(tls.ConnectionState{PeerCertificates: nil}); err == nil {
		t.Error("an empty list of pins lets somebody in")
	}
	if err := meets([]Pin{{}})(tls.ConnectionState{}); err == nil {
		t.Error("the zero pin lets somebody in")
	}
}

// TestAttack_A12_Answers: SAFETY A12 and F50, answers that don't count.
func TestAttack_A12_Answers(t *testing.T) {
	w := newWorld(t)
	good := func(q *remoteQuestion, text []byte) remoteAnswer {
		return remoteAnswer{ID: q.ID, Digest: textDigest(text), Outcome: ca.OutcomePass}
	}
	edited := func(edit func(a *remoteAnswer)) http.Handler {
		return answering(func(q *remoteQuestion, text []byte) []byte {
			a := good(q, text)
			edit(&a)
			out, _ := json.Marshal(a)
			return out
		})
	}
	raw := func(format string) http.Handler {
		return answering(func(q *remoteQuestion, text []byte) []byte {
			return fmt.Appendf(nil, format, q.ID, textDigest(text))
		})
	}
	status := func(code int, typ, body string) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", typ)
			rw.Header().Set("Location", "https://127.0.0.1:1/")
			rw.WriteHeader(code)
			_, _ = io.WriteString(rw, body)
		})
	}
	for _, c := range []struct {
		name    string
		h       http.Handler
		outcome ca.Outcome
		why     string
	}{
		{"good", edited(func(*remoteAnswer) {}), ca.OutcomePass, ""},
		{"unknown members are passed over", raw(`{"id":%q,"digest":%q,"outcome":"pass","millis":1,"more":[1]}`), ca.OutcomePass, ""},
		{"another id", edited(func(a *remoteAnswer) { a.ID = randomID() }), ca.OutcomeError, "another question"},
		{"no id", edited(func(a *remoteAnswer) { a.ID = "" }), ca.OutcomeError, "another question"},
		{"another digest", edited(func(a *remoteAnswer) { a.Digest = textDigest([]byte("x")) }), ca.OutcomeError, "another question"},
		{"pass with a problem", edited(func(a *remoteAnswer) { a.Problem = "dns" }), ca.OutcomeError, "is a pass, and"},
		{"pass with a reason", edited(func(a *remoteAnswer) { a.Why = "but" }), ca.OutcomeError, "is a pass, and"},
		{"no outcome", edited(func(a *remoteAnswer) { a.Outcome = "" }), ca.OutcomeError, "none of pass"},
		{"Pass", edited(func(a *remoteAnswer) { a.Outcome = "Pass" }), ca.OutcomeError, "none of pass"},
		{"fail without a type", edited(func(a *remoteAnswer) { a.Outcome = "fail" }), ca.OutcomeError, "error type"},
		{"fail by our own fault", edited(func(a *remoteAnswer) { a.Outcome, a.Problem = "fail", "serverInternal" }), ca.OutcomeError, "error type"},
		{"fail", edited(func(a *remoteAnswer) { a.Outcome, a.Problem, a.Why = "fail", "dns", "x\x1b[31m\n" }), ca.OutcomeFail, `dns: x\x1b[31m\n`},
		{"error", edited(func(a *remoteAnswer) { a.Outcome, a.Why = "error", "full" }), ca.OutcomeError, "full"},
		{"outcome twice", raw(`{"id":%q,"digest":%q,"outcome":"fail","outcome":"pass","millis":1}`), ca.OutcomeError, "twice"},
		{"Outcome in another case", raw(`{"id":%q,"digest":%q,"OUTCOME":"pass","millis":1}`), ca.OutcomeError, "none of pass"},
		{"something behind it", raw(`{"id":%q,"digest":%q,"outcome":"pass","millis":1}{}`), ca.OutcomeError, "behind"},
		{"millis below zero", raw(`{"id":%q,"digest":%q,"outcome":"pass","millis":-1}`), ca.OutcomeError, "millis"},
		{"a list", raw(`[{"id":%q,"digest":%q,"outcome":"pass"}]`), ca.OutcomeError, "object"},
		{"too many steps", edited(func(a *remoteAnswer) { a.Steps = make([]acme.Step, maxSteps+1) }), ca.OutcomeError, "steps"},
		{"CAA allowed and why not", edited(func(a *remoteAnswer) { a.CAA = &ca.CAAEvidence{Allowed: true, Why: "no"} }), ca.OutcomeError, "allowed"},
		{"too long", edited(func(a *remoteAnswer) { a.Outcome, a.Why = "error", strings.Repeat("x", maxRemoteAnswer) }), ca.OutcomeError, "longer than"},
		{"empty", status(200, "application/json", ""), ca.OutcomeError, "its answer is none"},
		{"another type", status(200, "text/html", "{}"), ca.OutcomeError, "text/html"},
		{"a redirect", status(307, "application/json", "{}"), ca.OutcomeError, "HTTP status 307"},
		{"busy", status(503, "application/json", "{}"), ca.OutcomeError, "HTTP status 503"},
		{"hangs up", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), ca.OutcomeError, "closed the connection"},
	} {
		w.vote(w.serve("r1", c.h)).want(t, c.name, c.outcome, c.why)
	}
}

// TestFault_F50: yesterday's answer, one that is late, and one that comes
// twice.
func TestFault_F50(t *testing.T) {
	w := newWorld(t)
	t.Run("yesterday's", func(t *testing.T) {
		w.t = t
		var first []byte
		r := w.serve("r1", answering(func(q *remoteQuestion, text []byte) []byte {
			if first == nil {
				first = goodAnswer(q, text)
			}
			return first
		}))
		w.vote(r).want(t, "the first", ca.OutcomePass, "")
		w.vote(r).want(t, "the same again", ca.OutcomeError, "another question")
	})
	t.Run("late", func(t *testing.T) {
		w.t = t
		release := make(chan struct{})
		r := w.serve("late", answering(func(q *remoteQuestion, text []byte) []byte { <-release; return goodAnswer(q, text) }))
		t.Cleanup(func() { close(release) })
		q := w.quorum(w.sight(honest), append(w.remotes(honest, honest), r)...)
		began := time.Now()
		e, problem := q.Validate(t.Context(), w.attempt())
		if problem != nil || outcomes(rowsOf(e)) != "primary=pass r1=pass r2=pass late=error" {
			t.Errorf("%v %s", problem, outcomes(rowsOf(e)))
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %s", took)
		}
		if why := e.Perspectives[3].Why; !strings.Contains(why, "did not answer before the others had decided") {
			t.Errorf("why: %s", why)
		}
		// Where it is needed, it is waited for until the deadline, and no longer.
		q = w.quorum(w.sight(honest), r)
		q.timeout = 300 * time.Millisecond
		if _, problem := q.Validate(t.Context(), w.attempt()); problem == nil {
			t.Error("valid by an answer that never came")
		}
	})
	t.Run("twice", func(t *testing.T) {
		w.t = t
		log.SetOutput(io.Discard) // net/http's own client says there that it drops the second
		t.Cleanup(func() { log.SetOutput(os.Stderr) })
		// A raw server, that writes each answer twice on the connection.
		me := identity(t)
		port := serveRaw(t, "127.0.0.1:0", func(conn net.Conn) {
			c := tls.Server(conn, me.ServerTLS([]Pin{w.ca.Pin}))
			for {
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				text, err := readRequest(c)
				if err != nil {
					return
				}
				q, err := parseRemoteQuestion(string(text))
				if err != nil {
					return
				}
				a := goodAnswer(q, text)
				one := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(a), a)
				if _, err := io.WriteString(c, one+one); err != nil {
					return
				}
			}
		})
		r := RemoteConfig{Name: "r1", URL: fmt.Sprintf("https://127.0.0.1:%d", port), Pin: me.Pin}
		q := w.quorum(says(nil), r, w.down("r2"), w.down("r3"))
		for range 20 {
			e, problem := q.Validate(t.Context(), w.attempt())
			// One vote of three, however often it comes: two must.
			if problem == nil || len(e.Perspectives) != 4 {
				t.Fatalf("%v %s", problem, outcomes(rowsOf(e)))
			}
			if e.Perspectives[1].Outcome == ca.OutcomeError && !containsAny(e.Perspectives[1].Why, []string{"another question", "closed", "could not be talked to"}) {
				t.Errorf("%+v", e.Perspectives[1])
			}
		}
	})
}

// readRequest reads one request's body off a connection.
func readRequest(c net.Conn) ([]byte, error) {
	var head []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := c.Read(one); err != nil {
			return nil, err
		}
		head = append(head, one[0])
	}
	_, rest, _ := strings.Cut(strings.ToLower(string(head)), "content-length: ")
	var n int
	if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
		return nil, err
	}
	body := make([]byte, n)
	_, err := io.ReadFull(c, body)
	return body, err
}

// TestPerspectiveIsSetUpAlike: a remote that would ask something else says so,
// and does not look.
func TestPerspectiveIsSetUpAlike(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		s   PerspectiveSetting
		why string
	}{
		{PerspectiveSetting{HTTPPort: w.port, CAAIdentities: []string{"CA.example", "ca.example"}}, ""},
		{PerspectiveSetting{HTTPPort: 80, CAAIdentities: []string{"ca.example"}}, "validation.http_port"},
		{PerspectiveSetting{HTTPPort: w.port, TLSPort: 8443, CAAIdentities: []string{"ca.example"}}, "validation.tls_port"},
		{PerspectiveSetting{HTTPPort: w.port}, "acme.caa_identities"},
	} {
		asked := says(nil)
		v := w.vote(w.serve("r1", NewPerspective(asked, c.s, nil)))
		if c.why == "" {
			v.want(t, "alike", ca.OutcomePass, "")
			continue
		}
		v.want(t, c.why, ca.OutcomeError, c.why)
		if asked.calls.Load() != 0 {
			t.Errorf("%s: looked all the same", c.why)
		}
	}
}

// TestPerspectiveDoor is the hostile side of the remote's handler.
func TestPerspectiveDoor(t *testing.T) {
	w := newWorld(t)
	q := remoteQuestion{ID: randomID(), Attempt: randomID(), Ask: askChallenge, Timeout: time.Second, Setting: w.setting(), Challenge: w.attempt()}
	good, err := q.encode()
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, fresh string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(string(good), old, fresh, 1)
	}
	asked := says(nil)
	p := NewPerspective(asked, w.setting(), nil)
	for _, c := range []struct {
		name, method, path, typ, body string
		status                        int
	}{
		{"good", "POST", PerspectivePath, "application/json", string(good), 200},
		{"GET", "GET", PerspectivePath, "application/json", "", 405},
		{"another path", "POST", "/", "application/json", string(good), 404},
		{"a query", "POST", PerspectivePath + "?x", "application/json", string(good), 404},
		{"another type", "POST", PerspectivePath, "text/plain", string(good), 415},
		{"no type", "POST", PerspectivePath, "", string(good), 415},
		{"too long", "POST", PerspectivePath, "application/json", strings.Repeat(" ", maxRemoteQuestion+1), 413},
		{"empty", "POST", PerspectivePath, "application/json", "", 400},
		{"deep", "POST", PerspectivePath, "application/json", strings.Repeat(`{"a":`, 100), 400},
		{"no id", "POST", PerspectivePath, "application/json", replace(q.ID, ""), 400},
		{"a short id", "POST", PerspectivePath, "application/json", replace(q.ID, q.ID[1:]), 400},
		{"no attempt", "POST", PerspectivePath, "application/json", replace(`"attempt"`, `"other"`), 400},
		{"asks for something else", "POST", PerspectivePath, "application/json", replace(`"challenge"`, `"shell"`), 400},
		{"no time", "POST", PerspectivePath, "application/json", replace(`"timeout_ms":1000`, `"timeout_ms":0`), 400},
		{"an hour", "POST", PerspectivePath, "application/json", replace(`"timeout_ms":1000`, `"timeout_ms":3600000`), 400},
		{"another method", "POST", PerspectivePath, "application/json", replace(`"http-01"`, `"email-reply-00"`), 400},
		{"no name", "POST", PerspectivePath, "application/json", replace(hijackedName, ""), 400},
		{"a wildcard", "POST", PerspectivePath, "application/json", replace(hijackedName, "*."+hijackedName), 400},
		{"a name that is none", "POST", PerspectivePath, "application/json", replace(hijackedName, "-x-"), 400},
		{"a port that is none", "POST", PerspectivePath, "application/json", replace(`"tls_port":443`, `"tls_port":70000`), 400},
	} {
		before := asked.calls.Load()
		rw := recorder{header: http.Header{}}
		r, err := http.NewRequestWithContext(context.Background(), c.method, "https://r1"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", c.typ)
		p.ServeHTTP(&rw, r)
		if rw.status() != c.status || rw.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, want %d", c.name, rw.status(), rw.body.String(), c.status)
		}
		if looked := asked.calls.Load() != before; looked != (c.status == 200) {
			t.Errorf("%s: looked: %v", c.name, looked)
		}
	}
}

// recorder is a http.ResponseWriter in memory.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}

// TestQuestionRoundTrip: what is asked is what is read.
func TestQuestionRoundTrip(t *testing.T) {
	wild := dnsName(t, "*.a.example")
	challenge := attemptAt(acme.DNS01, dnsName(t, "a.example"))
	challenge.Wildcard, challenge.CAA, challenge.AccountURL = true, ca.CAAReport, "https://ca.example/acme/account/1"
	setting := PerspectiveSetting{HTTPPort: 81, TLSPort: 444, CAAIdentities: []string{"ca.example"}}
	for _, q := range []remoteQuestion{
		{ID: randomID(), Attempt: randomID(), Ask: askChallenge, Timeout: 1500 * time.Millisecond, Setting: setting, Challenge: challenge},
		{ID: randomID(), Attempt: randomID(), Ask: askChallenge, Timeout: time.Second, Setting: setting, Challenge: attemptAt(acme.TLSALPN01, ipName(t, "2001:db8::1"))},
		{ID: randomID(), Attempt: randomID(), Ask: askCAA, Timeout: time.Second, Setting: setting, CAA: acme.CAAQuestion{Name: wild, Method: acme.DNS01, AccountURL: "u", Require: []string{"a=b"}}},
	} {
		text, err := q.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseRemoteQuestion(string(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if fmt.Sprintf("%+v", *back) != fmt.Sprintf("%+v", q) {
			t.Errorf("got  %+v\nwant %+v", *back, q)
		}
	}
}

func TestParsePin(t *testing.T) {
	p := identity(t).Pin
	back, err := ParsePin(p.String())
	if err != nil || back != p {
		t.Fatalf("%v %v", back, err)
	}
	hex := strings.TrimPrefix(p.String(), "sha256:")
	for _, s := range []string{"", hex, "sha256:", "sha256:" + hex[1:], "sha256:" + hex + "00", "SHA256:" + hex, "sha256:" + strings.ToUpper(hex), "sha256:" + strings.Repeat("0", 64), "sha256:" + strings.Repeat("g", 64)} {
		if s == p.String() { // all digits
			continue
		}
		if _, err := ParsePin(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// FuzzPerspectiveAnswer: any bytes from a remote perspective.
func FuzzPerspectiveAnswer(f *testing.F) {
	id, digest := strings.Repeat("A", 43), textDigest([]byte("question"))
	for _, s := range []string{
		`{"id":"%s","digest":"%s","outcome":"pass","millis":3}`,
		`{"id":"%s","digest":"%s","outcome":"pass","millis":3,"caa":{"at":"2026-01-01T00:00:00Z","allowed":true,"asked":["CAA a.example"],"require":["a=b"]}}`,
		`{"id":"%s","digest":"%s","outcome":"fail","problem":"dns","why":"\u001b[31m","millis":3,"steps":[{"do":"dns","what":"A a","from":"1.2.3.4:53","got":"\ud83d\ude00"}]}`,
		`{"id":"%s","digest":"%s","outcome":"error","why":"busy","millis":0,"steps":[]}`,
		`{"id":"%s","digest":"%s","outcome":"fail","problem":"caa","millis":0,"caa":{"allowed":false,"problem":"caa","why":"other"}}`,
		`{"id":"%s","digest":"%s","steps":[1],"caa":7}`,
	} {
		f.Add(fmt.Sprintf(s, id, digest))
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseRemoteAnswer(text, id, digest)
		if err != nil {
			if a != nil {
				t.Error("an answer beside an error")
			}
			return
		}
		if a.ID != id || a.Digest != digest {
			t.Error("takes another question's answer")
		}
		if len(a.Steps) > remoteSteps || a.Outcome == ca.OutcomePass && (a.Problem != "" || a.Why != "") {
			t.Errorf("%+v", a)
		}
		kept := []string{a.Why, a.Problem}
		for _, s := range a.Steps {
			kept = append(kept, s.Do, s.What, s.From, s.Got)
		}
		if a.CAA != nil {
			kept = append(kept, a.CAA.Found, a.CAA.Why, a.CAA.Problem)
			kept = append(append(kept, a.CAA.Asked...), a.CAA.Require...)
			if !a.CAA.At.IsZero() {
				t.Error("believes a remote's clock")
			}
		}
		for _, s := range kept {
			if len(s) > remoteWords || !printable(s) {
				t.Errorf("keeps %q", s)
			}
		}
	})
}

// FuzzPerspectiveQuestion: any bytes from who is (or has taken over) the CA.
func FuzzPerspectiveQuestion(f *testing.F) {
	id, err := ca.ParseIdentifier("dns", "a.example")
	if err != nil {
		f.Fatal(err)
	}
	for _, q := range []remoteQuestion{
		{Ask: askChallenge, Challenge: attemptAt(acme.HTTP01, id)},
		{Ask: askCAA, CAA: acme.CAAQuestion{Name: id, Method: acme.DNS01, Require: []string{"a=b"}}},
	} {
		q.ID, q.Attempt, q.Timeout = randomID(), randomID(), time.Second
		q.Setting.CAAIdentities = []string{"ca.example"}
		text, err := q.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := parseRemoteQuestion(text)
		if err != nil {
			return
		}
		if !isRandomID(q.ID) || !isRandomID(q.Attempt) || q.Timeout <= 0 || q.Timeout > maxTimeout || len(q.Setting.CAAIdentities) > remoteListed {
			t.Errorf("%+v", q)
		}
		again, err := q.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRemoteQuestion(string(again)); err != nil {
			t.Errorf("%s is taken, %s is not: %v", text, again, err)
		}
	})
}
