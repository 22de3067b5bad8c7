package crl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"chancery/ca"
)

// Config is what a Publisher is made of. What is zero becomes its default.
type Config struct {
	Store        Store
	Certificates Certificates
	Issuers      []*ca.Issuer
	Validity     time.Duration    // from now to nextUpdate
	Refresh      time.Duration    // from one list to the next when nothing is revoked
	Poll         time.Duration    // between two looks for due shards
	Now          func() time.Time // time.Now
	Log          *slog.Logger     // discards
}

// Defaults. The refresh's is a quarter of the validity: making lists can fail
// for 18 hours before the list that is served runs out.
const (
	DefaultValidity = 24 * time.Hour
	// DefaultPoll is how late a replica learns of what another one revoked or
	// published. Both looks are one indexed query.
	DefaultPoll = 500 * time.Millisecond
)

// Limits that no configuration can leave.
const (
	minValidity = 8 * time.Hour // as for OCSP (BR 4.9.10): a night's outage must not take relying parties down
	maxValidity = 10 * 24 * time.Hour
	// refreshShare: nextUpdate is at least this many refreshes away, so that
	// three of four may fail.
	refreshShare = 4
)

const (
	// minInterval is kept between two lists of one shard, so that thisUpdate
	// and Last-Modified, which count seconds, differ; revocations in between
	// share the next list.
	minInterval = time.Second
	// maxClockBack is how far the clock may be behind the last list, or behind a
	// revocation by another replica. Beyond that it is wrong, or was, and a
	// person has to look.
	maxClockBack = 2 * time.Minute
	// A claim lasts claimTime, and claimTimePerEntry for each entry of the list
	// before: ten times what making it takes. A replica that died holds a
	// shard up for that long.
	claimTime         = 15 * time.Second
	claimTimePerEntry = 40 * time.Microsecond
	// After failures the wait doubles from minRetry to maxRetry.
	minRetry = time.Second
	maxRetry = time.Minute
)

// errClockBack is what publish says when the clock is behind the last list.
var errClockBack = errors.New("the clock is behind the list that is published; set the clock")

// errPaced says that the shard had a list less than minInterval ago.
var errPaced = errors.New("too soon after the last list")

// Publisher makes the lists of its issuers, and serves what it or another
// replica made. Its methods may be called from any goroutine; Run once.
type Publisher struct {
	Config
	shards []*shard
	wake   chan struct{}
	round  sync.Mutex // held for one look
}

// New checks the configuration. Nothing is read or published before Sync or Run.
func New(c Config) (*Publisher, error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	p := &Publisher{Config: c, wake: make(chan struct{}, 1)}
	for _, issuer := range c.Issuers {
		if issuer == nil || p.find(issuer.ID()) != nil {
			return nil, errors.New("crl: an issuer is missing or there twice")
		}
		p.shards = append(p.shards, &shard{id: Shard{Issuer: issuer.ID()}, issuer: issuer})
	}
	return p, nil
}

func (c *Config) setDefaults() {
	if c.Validity == 0 {
		c.Validity = DefaultValidity
	}
	if c.Refresh == 0 {
		c.Refresh = c.Validity / refreshShare
	}
	if c.Poll == 0 {
		c.Poll = DefaultPoll
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) check() error {
	switch {
	case c.Store == nil || c.Certificates == nil || len(c.Issuers) == 0:
		return errors.New("crl: a store and at least one issuer are needed")
	case c.Validity < minValidity || c.Validity > maxValidity:
		return fmt.Errorf("crl: a validity of %v is not between %v and %v", c.Validity, minValidity, maxValidity)
	case c.Refresh < time.Minute || c.Refresh > c.Validity/refreshShare:
		return fmt.Errorf("crl: a refresh after %v is not between one minute and %v, a quarter of the validity", c.Refresh, c.Validity/refreshShare)
	case c.Poll < 0:
		return fmt.Errorf("crl: a poll interval of %v is negative", c.Poll)
	}
	return nil
}

// Kick makes Run look for due shards at once. It never blocks.
func (p *Publisher) Kick() {
	select {
	case p.wake <- struct{}{}:
	default: // a look that was not taken yet will see it too
	}
}

// Run publishes until ctx ends. Failures are logged and tried again.
func (p *Publisher) Run(ctx context.Context) {
	tick := time.NewTicker(p.Poll)
	defer tick.Stop()
	var trouble backoff
	for {
		if now := p.Now(); trouble.over(now) {
			// What went wrong with one shard is logged and waited for there.
			if err := p.look(ctx, now); err == nil {
				trouble = backoff{}
			} else if ctx.Err() == nil {
				trouble.failed(now, err)
				p.Log.Error("looking for due CRLs failed", "error", err, "failures", trouble.failures, "retry", trouble.until)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.wake:
		}
	}
}

// Sync returns nil once there is a list for every issuer to serve, after
// making those that are due. It returns the first failure, and waits only for
// another replica that is making a list.
func (p *Publisher) Sync(ctx context.Context) error {
	tick := time.NewTicker(p.Poll)
	defer tick.Stop()
	for {
		if err := p.look(ctx, p.Now()); err != nil {
			return err
		}
		var missing *shard
		for _, s := range p.shards {
			if s.served.Load() != nil {
				continue
			}
			if err := s.backoff().err; err != nil {
				return err
			}
			missing = s
		}
		if missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no CRL of issuer %s yet: %w", missing.id.Issuer, ctx.Err())
		case <-tick.C:
		}
	}
}

// look is one round: learn what others published, then make what is due.
// The error is of the store as a whole; a shard keeps its own.
func (p *Publisher) look(ctx context.Context, now time.Time) error {
	p.round.Lock()
	defer p.round.Unlock()
	var ids []Shard
	for _, s := range p.shards {
		if err := p.learn(ctx, s); err != nil {
			return err
		}
		if s.backoff().over(now) {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	due, err := p.Store.Due(ctx, now, ids)
	if err != nil {
		return fmt.Errorf("due CRLs: %w", err)
	}
	for _, s := range p.shards {
		if !s.backoff().over(now) || !s.spoiled && !slices.Contains(due, s.id) {
			continue
		}
		switch err := p.publish(ctx, s, now); {
		case err == nil:
			s.setBackoff(backoff{})
		case errors.Is(err, errPaced), errors.Is(err, ca.ErrConflict), ctx.Err() != nil:
			// A later round, or another replica, does it.
		default:
			t := s.backoff()
			t.failed(now, err)
			s.setBackoff(t)
			p.Log.Error("no CRL was published", "issuer", s.id.Issuer, "shard", s.id.Number,
				"error", err, "failures", t.failures, "retry", t.until)
		}
	}
	return nil
}

// learn serves the stored list if it is newer than the one that is served. One
// that is damaged is never served, and makes the shard due.
func (p *Publisher) learn(ctx context.Context, s *shard) error {
	l, err := p.Store.Latest(ctx, s.id, s.number())
	if errors.Is(err, ca.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("CRL of issuer %s: %w", s.id.Issuer, err)
	}
	if err := checkStored(s.issuer.Certificate(), l); err != nil {
		if !s.spoiled || s.floor < l.Number {
			p.Log.Error("the stored CRL is damaged: it is not served, and a new one is made",
				"issuer", s.id.Issuer, "shard", s.id.Number, "number", l.Number, "error", err)
		}
		s.spoiled, s.floor = true, max(s.floor, l.Number)
		return nil
	}
	s.spoiled = false
	s.serve(l)
	return nil
}

// publish makes one list. ca.ErrConflict when another replica was first.
func (p *Publisher) publish(ctx context.Context, s *shard, now time.Time) error {
	if !s.madeAt.IsZero() && now.Sub(s.madeAt).Abs() < minInterval {
		return errPaced
	}
	if _, err := p.thisUpdate(s, now); err != nil {
		return err // before a number is used up
	}
	wait := claimTime + time.Duration(s.entries())*claimTimePerEntry
	// A stop lets a list that was begun be finished, as it lets requests: its
	// claim would hold up the next start.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	claim, err := p.Store.Begin(ctx, now, s.id, now.Add(wait))
	if err != nil {
		return fmt.Errorf("claim of a CRL: %w", err)
	}
	// Nobody else publishes until the claim ends: what is the last list now
	// stays the last one.
	if err := p.learn(ctx, s); err != nil {
		return err
	}
	if now, err = p.afterLast(ctx, s, now); err != nil {
		return err
	}
	l, err := p.build(ctx, s, now, claim)
	if err != nil {
		return err
	}
	if err := p.Store.Put(ctx, ca.System("crl"), now, l); err != nil {
		return fmt.Errorf("store CRL %d: %w", l.Number, err)
	}
	s.spoiled, s.madeAt = false, now
	s.serve(l)
	p.Log.Info("CRL published", "issuer", s.id.Issuer, "shard", s.id.Number, "number", l.Number, "entries", l.Entries, "bytes", len(l.DER))
	return nil
}

// afterLast waits, with the claim held, until a list can be dated after the
// last one, which is at most a second: another replica may have published
// between our look and our claim. To come back later instead would leave the
// claim behind, and nobody could publish until its lease ended.
func (p *Publisher) afterLast(ctx context.Context, s *shard, now time.Time) (time.Time, error) {
	_, err := p.thisUpdate(s, now)
	if !errors.Is(err, errPaced) {
		return now, err
	}
	next := now.Truncate(time.Second).Add(time.Second)
	wait := time.NewTimer(next.Sub(now))
	defer wait.Stop()
	select {
	case <-wait.C:
		return next, nil
	case <-ctx.Done():
		return now, ctx.Err()
	}
}

// build makes and checks the list of a claim.
func (p *Publisher) build(ctx context.Context, s *shard, now time.Time, claim Claim) (*List, error) {
	thisUpdate, err := p.thisUpdate(s, now)
	if err != nil {
		return nil, err
	}
	if floor := max(s.floor, s.number()); claim.Number <= floor {
		return nil, fmt.Errorf("the store handed out CRL number %d, and %d is published", claim.Number, floor)
	}
	l := &List{
		Shard: s.id, Number: claim.Number, Mark: claim.Mark, ThisUpdate: thisUpdate,
		NextUpdate: now.Add(p.Validity).UTC().Truncate(time.Second),
		RefreshAt:  now.Add(p.Refresh).UTC().Truncate(time.Second),
	}
	since := p.since(s, thisUpdate)
	var entries []ca.Revoked
	for e, err := range p.Store.Revoked(ctx, s.id, since) {
		if err != nil {
			return nil, fmt.Errorf("revoked certificates: %w", err)
		}
		// No revocation is later than its list: one that came after now was
		// read, or another replica's clock is a little ahead.
		if at := e.At.UTC().Truncate(time.Second); at.After(l.ThisUpdate) && at.Sub(thisUpdate) <= maxClockBack {
			l.ThisUpdate = at
		}
		entries = append(entries, e)
	}
	l.Entries = len(entries)
	issuer := s.issuer.Certificate()
	tbs, err := encode(head{
		issuer: issuer.RawSubject, keyID: issuer.SubjectKeyId, algorithm: s.issuer.SignatureAlgorithm(),
		number: l.Number, thisUpdate: l.ThisUpdate, nextUpdate: l.NextUpdate,
	}, entries)
	if err != nil {
		return nil, err
	}
	if l.DER, err = s.issuer.SignCRL(tbs); err != nil {
		return nil, fmt.Errorf("sign CRL %d: %w", l.Number, err)
	}
	if err := check(issuer, l, entries); err != nil {
		return nil, fmt.Errorf("refused to publish CRL %d: %w", l.Number, err)
	}
	if last := s.served.Load(); last != nil {
		if err := checkLeft(ctx, p.Certificates, last.list, l, since); err != nil {
			return nil, fmt.Errorf("refused to publish CRL %d: %w", l.Number, err)
		}
	}
	return l, nil
}

// thisUpdate is strictly after that of the last list, even when the clock was
// set back a little.
func (p *Publisher) thisUpdate(s *shard, now time.Time) (time.Time, error) {
	t := now.UTC().Truncate(time.Second)
	last := s.served.Load()
	if last == nil || t.After(last.list.ThisUpdate) {
		return t, nil
	}
	switch behind := last.list.ThisUpdate.Sub(t); {
	case behind == 0:
		return t, errPaced
	case behind > maxClockBack:
		return t, fmt.Errorf("%w: it says %v, and list %d was made at %v", errClockBack,
			t, last.list.Number, last.list.ThisUpdate)
	}
	return last.list.ThisUpdate.Add(time.Second), nil
}

// since is the expiry from which on revoked certificates are listed. An entry
// must be on at least one list made after its certificate expired (RFC 5280
// section 3.3), so the last list's date is the latest that could be taken; and
// since lists may follow each other within seconds, it stays for as long as
// any one list is valid. Without a last list, all that were ever revoked.
func (p *Publisher) since(s *shard, thisUpdate time.Time) time.Time {
	last := s.served.Load()
	if last == nil {
		return Beginning
	}
	since := thisUpdate.Add(-p.Validity)
	if last.list.ThisUpdate.Before(since) {
		since = last.list.ThisUpdate
	}
	return since
}

func (p *Publisher) find(issuer string) *shard {
	for _, s := range p.shards {
		if s.id.Issuer == issuer {
			return s
		}
	}
	return nil
}
