package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chancery/ca"
	"chancery/crl"
)

func ask(t *testing.T, h *health) (int, Readiness) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ready(w, httptest.NewRequest("GET", "/readyz", nil))
	var r Readiness
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return w.Code, r
}

// TestReadiness: the words of an Unready are shown, those of other errors are
// for the log; the answer stands for a second; a stuck check is cut off.
func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var runs atomic.Int64
		var failing error
		h := &health{now: time.Now, log: slog.New(slog.NewTextHandler(&log, nil)), checks: []Check{
			{"fine", func(context.Context, time.Time) error { runs.Add(1); return nil }},
			{"moody", func(context.Context, time.Time) error { return failing }},
		}}
		if status, r := ask(t, h); status != 200 || !r.Ready || len(r.Checks) != 2 || r.Checks[0].Name != "fine" {
			t.Errorf("%d %+v", status, r)
		}
		failing = errors.New("dial postgres://chancery:hunter2@db")
		if status, _ := ask(t, h); status != 200 || runs.Load() != 1 {
			t.Errorf("status %d, %d runs inside one second", status, runs.Load())
		}
		time.Sleep(readyFor)
		status, r := ask(t, h)
		if status != 503 || r.Ready || r.Checks[1].OK || strings.Contains(r.Checks[1].Reason, "hunter2") || !r.Checks[0].OK {
			t.Errorf("%d %+v", status, r)
		}
		if !strings.Contains(log.String(), "check=moody") {
			t.Errorf("log: %s", log.String())
		}
		failing = Unready("the moon is full")
		time.Sleep(readyFor)
		if _, r := ask(t, h); r.Checks[1].Reason != "the moon is full" {
			t.Errorf("%+v", r)
		}
		h.checks = append(h.checks, Check{"stuck", func(ctx context.Context, _ time.Time) error { <-ctx.Done(); return ctx.Err() }})
		failing = nil
		time.Sleep(readyFor)
		began := time.Now()
		if status, r := ask(t, h); status != 503 || r.Checks[2].OK || time.Since(began) != checkTime {
			t.Errorf("%d %+v after %s", status, r, time.Since(began))
		}
	})
}

func TestIssuerCheck(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	good := IssuerStatus{ID: "good", Active: true, NotBefore: now.Add(-day), NotAfter: now.Add(day)}
	over := IssuerStatus{ID: "over", Active: true, NotBefore: now.Add(-2 * day), NotAfter: now.Add(-day)}
	early := IssuerStatus{ID: "early", Active: true, NotBefore: now.Add(day), NotAfter: now.Add(2 * day)}
	retired := over
	retired.Active = false
	for name, c := range map[string]struct {
		issuers []IssuerStatus
		want    string
	}{
		"good":            {[]IssuerStatus{good}, ""},
		"good and old":    {[]IssuerStatus{good, retired}, ""},
		"expired":         {[]IssuerStatus{over}, "over"},
		"not yet valid":   {[]IssuerStatus{early}, "early"},
		"only retired":    {[]IssuerStatus{retired}, "no issuer is active"},
		"none":            {nil, "no issuer is active"},
		"good and failed": {[]IssuerStatus{good, over}, "over"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkIssuers(c.issuers).Run(t.Context(), now)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// shelf is a store of lists that counts how often a DER was read.
type shelf struct {
	list  *crl.List
	err   error
	reads int
}

func (s *shelf) Latest(_ context.Context, shard crl.Shard, than int64) (*crl.List, error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.list == nil || s.list.Shard != shard || s.list.Number <= than:
		return nil, ca.ErrNotFound
	}
	s.reads++
	return s.list, nil
}

func TestCRLCheck(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	shard := crl.Shard{Issuer: "0011223344556677"}
	s := &shelf{}
	p := &published{lists: s, shards: []crl.Shard{shard}}
	check := checkLists(p)
	want := func(now time.Time, text string) {
		t.Helper()
		err := check.Run(t.Context(), now)
		if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	want(now, "no CRL yet")
	s.list = &crl.List{Shard: shard, Number: 7, ThisUpdate: now, NextUpdate: now.Add(time.Hour), DER: make([]byte, 100)}
	want(now, "")
	want(now.Add(time.Hour), "")
	want(now.Add(time.Hour+1), "ran out")
	if s.reads != 1 || p.known[shard].DER != nil {
		t.Errorf("the list was read %d times, %d octets kept", s.reads, len(p.known[shard].DER))
	}
	s.list = &crl.List{Shard: shard, Number: 8, NextUpdate: now.Add(2 * time.Hour)}
	want(now.Add(time.Hour+1), "")
	s.err = errors.New("store down")
	if err := check.Run(t.Context(), now); err == nil || errors.As(err, new(Unready)) {
		t.Errorf("%v: an internal error must not be shown", err)
	}
}
