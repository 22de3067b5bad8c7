package validate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"chancery/acme"
	"chancery/ca"
)

// A Perspective answers what a CA asks over the network: it looks at a name
// from where it stands, with a resolver of its own, and says what it saw. It
// keeps nothing: no result of one question is used for another (BR 3.2.2.9).
type Perspective struct {
	validator acme.Validator
	setting   PerspectiveSetting
	log       *slog.Logger
}

// NewPerspective makes the handler of a remote perspective. It must be served
// only behind Identity.ServerTLS: the handler itself asks nobody who he is.
func NewPerspective(v acme.Validator, s PerspectiveSetting, log *slog.Logger) *Perspective {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Perspective{validator: v, setting: s.normal(), log: log}
}

// normal is a setting with its defaults filled in and its names in order, so
// that two can be compared.
func (s PerspectiveSetting) normal() PerspectiveSetting {
	names := make([]string, 0, len(s.CAAIdentities))
	for _, n := range s.CAAIdentities {
		names = append(names, strings.ToLower(n))
	}
	slices.Sort(names)
	return PerspectiveSetting{HTTPPort: or(s.HTTPPort, 80), TLSPort: or(s.TLSPort, 443), CAAIdentities: slices.Compact(names)}
}

// differs says in words what two ends don't have in common, or "".
func (s PerspectiveSetting) differs(other PerspectiveSetting) string {
	a, b := s.normal(), other.normal()
	switch {
	case a.HTTPPort != b.HTTPPort:
		return "is set up with another validation.http_port"
	case a.TLSPort != b.TLSPort:
		return "is set up with another validation.tls_port"
	case !slices.Equal(a.CAAIdentities, b.CAAIdentities):
		return "is set up with other acme.caa_identities"
	}
	return ""
}

// ServeHTTP answers one question.
func (p *Perspective) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	text, status := readQuestion(w, r)
	if status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	q, err := parseRemoteQuestion(string(text))
	if err != nil {
		p.log.WarnContext(r.Context(), "a question that can't be understood", "from", r.RemoteAddr, "error", words(err.Error()))
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	}
	started := time.Now()
	a := p.answer(r.Context(), q)
	a.ID, a.Digest, a.Millis = q.ID, textDigest(text), time.Since(started).Milliseconds()
	out, err := json.Marshal(a)
	if err != nil {
		p.log.ErrorContext(r.Context(), "an answer can't be written as JSON", "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	p.log.DebugContext(r.Context(), "answered", "ask", q.Ask, "attempt", q.Attempt, "outcome", a.Outcome, "why", a.Why, "millis", a.Millis)
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(out); err != nil { // the CA has hung up: it did not wait for us
		p.log.DebugContext(r.Context(), "the CA did not wait for the answer", "attempt", q.Attempt)
	}
}

// readQuestion reads the body of a request that has the one form there is; the
// status is not 0 when it has not.
func readQuestion(w http.ResponseWriter, r *http.Request) ([]byte, int) {
	typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.URL.Path != PerspectivePath || r.URL.RawQuery != "":
		return nil, http.StatusNotFound
	case r.Method != http.MethodPost:
		return nil, http.StatusMethodNotAllowed
	case err != nil || typ != "application/json":
		return nil, http.StatusUnsupportedMediaType
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRemoteQuestion))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	}
	return text, 0
}

// answer looks. Its ID and digest are the caller's.
func (p *Perspective) answer(ctx context.Context, q *remoteQuestion) *remoteAnswer {
	if why := p.setting.differs(q.Setting); why != "" {
		return &remoteAnswer{Outcome: ca.OutcomeError, Why: why}
	}
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	var problem *acme.Problem
	a := &remoteAnswer{}
	if q.Ask == askCAA {
		a.CAA, problem = p.validator.CheckCAA(ctx, q.CAA)
	} else {
		var e *acme.Evidence
		e, problem = p.validator.Validate(ctx, q.Challenge)
		a.Steps, a.CAA = e.Steps, e.CAA
	}
	a.Outcome = outcomeOf(problem)
	if problem != nil {
		a.Why = words(problem.Detail)
	}
	if a.Outcome == ca.OutcomeFail {
		a.Problem = problem.Kind.String()
	}
	return a
}

// outcomeOf says whether a validator's problem is about the name: what is not
// is no answer.
func outcomeOf(problem *acme.Problem) ca.Outcome {
	if problem == nil {
		return ca.OutcomePass
	}
	if _, about := problemKinds[problem.Kind.String()]; about {
		return ca.OutcomeFail
	}
	return ca.OutcomeError
}
