package crl

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"chancery/ca"
)

// shard is one list's state in this process.
type shard struct {
	id     Shard
	issuer *ca.Issuer
	served atomic.Pointer[served] // nil until the first list

	// Of the round that holds Publisher.round.
	spoiled bool      // the stored list is damaged: make a new one, with all entries
	floor   int64     // highest number seen on a damaged list
	madeAt  time.Time // when this process last published

	mu      sync.Mutex
	trouble backoff
}

// served is a list with what the handler says of it.
type served struct {
	list *List
	etag string
}

func (s *shard) number() int64 {
	if l := s.served.Load(); l != nil {
		return l.list.Number
	}
	return 0
}

func (s *shard) entries() int {
	if l := s.served.Load(); l != nil {
		return l.list.Entries
	}
	return 0
}

func (s *shard) serve(l *List) { s.served.Store(&served{list: l, etag: etag(l.Number, l.DER)}) }

func (s *shard) backoff() backoff {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

func (s *shard) setBackoff(b backoff) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = b
}

// backoff is the wait after failures; the zero value waits for nothing.
type backoff struct {
	failures int
	until    time.Time
	err      error
}

func (b backoff) over(now time.Time) bool { return !now.Before(b.until) }

func (b *backoff) failed(now time.Time, err error) {
	wait := maxRetry
	if doubled := minRetry << min(b.failures, 16); doubled < maxRetry {
		wait = doubled
	}
	b.failures, b.until, b.err = b.failures+1, now.Add(wait), err
}

// Status is what an operator wants to know of one list.
type Status struct {
	Shard      Shard
	Number     int64 // 0: none is published
	Entries    int
	Bytes      int
	ThisUpdate time.Time
	NextUpdate time.Time
	Failures   int   // since the last success
	Err        error // of the last of them; nil without
}

// Age is the time since the list was made; 0 if there is none.
func (s Status) Age(now time.Time) time.Duration {
	if s.Number == 0 {
		return 0
	}
	return now.Sub(s.ThisUpdate)
}

// Status says how the lists are, in the sequence of the issuers.
func (p *Publisher) Status() []Status {
	out := make([]Status, 0, len(p.shards))
	for _, s := range p.shards {
		trouble := s.backoff()
		status := Status{Shard: s.id, Failures: trouble.failures, Err: trouble.err}
		if v := s.served.Load(); v != nil {
			l := v.list
			status.Number, status.Entries, status.Bytes = l.Number, l.Entries, len(l.DER)
			status.ThisUpdate, status.NextUpdate = l.ThisUpdate, l.NextUpdate
		}
		out = append(out, status)
	}
	return out
}

// Fresh returns nil when every issuer has a list that is valid at now, and is
// not overdue by more than half of what the refresh leaves until nextUpdate.
func (p *Publisher) Fresh(now time.Time) error {
	limit := p.Refresh + (p.Validity-p.Refresh)/2
	for _, s := range p.Status() {
		var why string
		switch {
		case s.Number == 0:
			why = "there is none yet"
		case !now.Before(s.NextUpdate):
			why = fmt.Sprintf("number %d ran out at %v", s.Number, s.NextUpdate)
		case s.Age(now) > limit:
			why = fmt.Sprintf("number %d is %v old; a new one is due every %v", s.Number, s.Age(now).Round(time.Second), p.Refresh)
		default:
			continue
		}
		if s.Err != nil {
			return fmt.Errorf("CRL of issuer %s: %s: %w", s.Shard.Issuer, why, s.Err)
		}
		return fmt.Errorf("CRL of issuer %s: %s", s.Shard.Issuer, why)
	}
	return nil
}
