package validate

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// Bounds on evidence: it is kept for each authorization, and peers choose
// most of its words.
const (
	maxSteps   = 64  // the last is kept free for the verdict
	maxWords   = 512 // bytes of each string of a step
	maxExcerpt = 200 // bytes, escaped and quoted, of what a peer sent (RFC 8555 section 10.4)
)

// trace gathers the evidence of one attempt. Lookups of A and AAAA run side
// by side, so it locks.
type trace struct {
	mu       sync.Mutex
	evidence acme.Evidence
	left     int // steps that did not fit
}

func newTrace(a acme.Attempt, started time.Time) *trace {
	return &trace{evidence: acme.Evidence{
		Method:     a.Type,
		Identifier: a.Identifier.Value(),
		Started:    started.UTC().Round(0),
		Steps:      []acme.Step{},
	}}
}

// step notes that one thing was done: dns, connect, http, tls, policy.
func (t *trace) step(do, what, from, got string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.evidence.Steps) >= maxSteps-1 {
		t.left++
		return
	}
	t.evidence.Steps = append(t.evidence.Steps, acme.Step{Do: do, What: words(what), From: words(from), Got: words(got)})
}

// sawCAA keeps what CAA records said.
func (t *trace) sawCAA(e *ca.CAAEvidence) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.evidence.CAA = e
}

// end adds the verdict and hands the evidence out.
func (t *trace) end(took time.Duration, problem *acme.Problem) *acme.Evidence {
	t.mu.Lock()
	defer t.mu.Unlock()
	got := "control proven"
	if problem != nil {
		got = problem.Error()
	}
	if t.left > 0 {
		got = fmt.Sprintf("(%d steps left out) %s", t.left, got)
	}
	e := t.evidence
	e.Steps = append(e.Steps, acme.Step{Do: "verdict", What: string(e.Method) + " " + e.Identifier, Got: words(got)})
	e.Millis = took.Milliseconds()
	return &e
}

// words makes s fit to be kept and shown: printable ASCII, at most maxWords.
func words(s string) string {
	if !printable(s) {
		s = strconv.QuoteToASCII(cut(s, maxWords))
		s = s[1 : len(s)-1]
	}
	return cut(s, maxWords)
}

func cut(s string, most int) string {
	if len(s) > most {
		return s[:most-3] + "..."
	}
	return s
}

// printable says whether s is printable ASCII, which needs no escaping.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// excerpt quotes and escapes the beginning of what a peer sent, in at most
// maxExcerpt bytes, so that neither a terminal, a log nor a web page is
// written to by strangers.
func excerpt(s string) string {
	n := min(len(s), maxExcerpt-2)
	for {
		q := strconv.QuoteToASCII(s[:n])
		if n < len(s) {
			q += "..."
		}
		if len(q) <= maxExcerpt {
			return q
		}
		n -= max(1, (len(q)-maxExcerpt)/10) // an escape has at most 10 bytes: never cuts too much
	}
}

// list joins at most n of the words.
func list(n int, words []string) string {
	if len(words) > n {
		return strings.Join(words[:n], ", ") + fmt.Sprintf(" and %d more", len(words)-n)
	}
	return strings.Join(words, ", ")
}
