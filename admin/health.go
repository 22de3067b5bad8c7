package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Check is one thing that must hold before requests should come here.
type Check struct {
	Name string
	// Run returns nil when it holds. The text of an Unready is shown to
	// whoever asks; any other error goes to the log alone.
	Run func(ctx context.Context, now time.Time) error
}

// Unready says, in words for an operator, why a check does not hold.
type Unready string

func (u Unready) Error() string { return string(u) }

// Readiness is the answer of /readyz.
type Readiness struct {
	Ready  bool          `json:"ready"`
	Checks []CheckResult `json:"checks"`
}

// CheckResult is the outcome of one check.
type CheckResult struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
	Millis int64  `json:"millis"`
}

const (
	// checkTime bounds one check, and so an answer of /readyz.
	checkTime = 5 * time.Second
	// readyFor is how long an answer stands: probes by the hundred cost the
	// store one query a second.
	readyFor = time.Second
)

// health answers /healthz and /readyz.
type health struct {
	checks []Check
	now    func() time.Time
	log    *slog.Logger

	mu    sync.Mutex
	last  Readiness
	until time.Time
}

// alive says that the process answers, and nothing else: a store that is down
// must not make an orchestrator kill every replica (I93).
func (h *health) alive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"alive": true})
}

func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	answer := h.readiness(context.WithoutCancel(r.Context()))
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

// readiness runs the checks, one run at a time for all who ask.
func (h *health) readiness(ctx context.Context) Readiness {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if now.Before(h.until) {
		return h.last
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	out := Readiness{Ready: true, Checks: make([]CheckResult, len(h.checks))}
	var wg sync.WaitGroup
	for i, c := range h.checks {
		wg.Go(func() { out.Checks[i] = h.run(ctx, c, now) })
	}
	wg.Wait()
	for _, c := range out.Checks {
		out.Ready = out.Ready && c.OK
	}
	h.last, h.until = out, now.Add(readyFor)
	return out
}

func (h *health) run(ctx context.Context, c Check, now time.Time) CheckResult {
	started := time.Now()
	err := c.Run(ctx, now)
	res := CheckResult{Name: c.Name, OK: err == nil, Millis: time.Since(started).Milliseconds()}
	if err == nil {
		return res
	}
	res.Reason = "failed; the log says why"
	if why, ok := errors.AsType[Unready](err); ok {
		res.Reason = string(why)
	}
	h.log.WarnContext(ctx, "not ready", "check", c.Name, "error", err)
	return res
}

// checkStore asks the store something that touches its tables.
func checkStore(s Store) Check {
	return Check{Name: "store", Run: func(ctx context.Context, _ time.Time) error {
		if _, err := s.Backlog(ctx); err != nil {
			return fmt.Errorf("asking the store: %w", err)
		}
		return nil
	}}
}

// checkIssuers wants an active issuer inside its own validity.
func checkIssuers(issuers []IssuerStatus) Check {
	return Check{Name: "issuer", Run: func(_ context.Context, now time.Time) error {
		active := 0
		for _, i := range issuers {
			if !i.Active {
				continue
			}
			active++
			if now.Before(i.NotBefore) || now.After(i.NotAfter) {
				return Unready(fmt.Sprintf("issuer %s is valid from %s to %s, and now it is %s",
					i.ID, i.NotBefore.UTC().Format(time.RFC3339), i.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
			}
		}
		if active == 0 {
			return Unready("no issuer is active")
		}
		return nil
	}}
}

// checkLists wants a published, current CRL for each shard.
func checkLists(p *published) Check {
	return Check{Name: "crl", Run: func(ctx context.Context, now time.Time) error {
		lists, err := p.all(ctx)
		if err != nil {
			return fmt.Errorf("asking for the published lists: %w", err)
		}
		for _, l := range lists {
			switch {
			case l.Number == 0:
				return Unready(fmt.Sprintf("issuer %s, shard %d has no CRL yet", l.Shard.Issuer, l.Shard.Number))
			case now.After(l.NextUpdate):
				return Unready(fmt.Sprintf("the CRL of issuer %s, shard %d ran out at %s", l.Shard.Issuer, l.Shard.Number, l.NextUpdate.UTC().Format(time.RFC3339)))
			}
		}
		return nil
	}}
}
