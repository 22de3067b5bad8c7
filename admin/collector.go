package admin

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chancery/ca"
	"chancery/crl"
)

// Lists finds published revocation lists; a crl.Store is one.
type Lists interface {
	Latest(ctx context.Context, s crl.Shard, than int64) (*crl.List, error)
}

// published remembers the newest list of each shard without its DER, so that
// a scrape reads a list of megabytes only when there is a new one.
type published struct {
	lists  Lists
	shards []crl.Shard

	mu    sync.Mutex
	known map[crl.Shard]crl.List
}

// all returns the newest list of each shard, in the sequence of shards; one
// that was never published has Number 0.
func (p *published) all(ctx context.Context) ([]crl.List, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[crl.Shard]crl.List{}
	}
	out := make([]crl.List, 0, len(p.shards))
	for _, s := range p.shards {
		l, err := p.lists.Latest(ctx, s, p.known[s].Number)
		switch {
		case err == nil:
			newest := *l
			newest.DER = nil
			p.known[s] = newest
		case !errors.Is(err, ca.ErrNotFound): // that one: nothing newer than what is known
			return nil, err
		}
		newest := p.known[s]
		newest.Shard = s
		out = append(out, newest)
	}
	return out, nil
}

// IssuerStatus is what readiness and metrics say of one issuer.
type IssuerStatus struct {
	ID        string
	Active    bool // issues; others only answer for what they issued
	NotBefore time.Time
	NotAfter  time.Time
}

// state is what is read at each scrape rather than counted as it happens, so
// that it is true also after a restart and in each replica.
type state struct {
	store     Store
	published *published
	fixed     []crl.List
	issuers   []IssuerStatus
	now       func() time.Time
	failed    prometheus.Counter
}

var (
	crlLabels      = []string{"issuer", "shard"}
	crlNumber      = prometheus.NewDesc("chancery_crl_number", "Number of the newest published CRL.", crlLabels, nil)
	crlEntries     = prometheus.NewDesc("chancery_crl_entries", "Entries of the newest published CRL.", crlLabels, nil)
	crlAge         = prometheus.NewDesc("chancery_crl_age_seconds", "Time since thisUpdate of the newest published CRL.", crlLabels, nil)
	crlNextUpdate  = prometheus.NewDesc("chancery_crl_next_update_timestamp_seconds", "nextUpdate of the newest published CRL, Unix time.", crlLabels, nil)
	issuerNotAfter = prometheus.NewDesc("chancery_issuer_not_after_timestamp_seconds", "End of the issuer's own certificate, Unix time.", []string{"issuer"}, nil)
	workInHand     = prometheus.NewDesc("chancery_work_in_hand", "Validations and issuances that were accepted and have no outcome yet.", []string{"kind"}, nil)
	workOldest     = prometheus.NewDesc("chancery_work_oldest_seconds", "Age of the oldest of them, 0 when there is none.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{crlNumber, crlEntries, crlAge, crlNextUpdate, issuerNotAfter, workInHand, workOldest} {
		ch <- d
	}
	s.failed.Describe(ch)
}

// Collect implements prometheus.Collector. When the store doesn't answer, its
// series are missing and chancery_state_failures_total grows; the rest of the
// scrape goes on.
func (s *state) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	now := s.now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, i := range s.issuers {
		gauge(issuerNotAfter, float64(i.NotAfter.Unix()), i.ID)
	}
	for _, l := range s.fixed {
		collectList(l, now, gauge)
	}
	if err := s.collectStore(ctx, now, gauge); err != nil {
		s.failed.Inc()
	}
	s.failed.Collect(ch)
}

func (s *state) collectStore(ctx context.Context, now time.Time, gauge func(*prometheus.Desc, float64, ...string)) error {
	b, err := s.store.Backlog(ctx)
	if err != nil {
		return err
	}
	gauge(workInHand, float64(b.Validations), "validation")
	gauge(workInHand, float64(b.Orders), "issuance")
	oldest := 0.0
	if !b.Oldest.IsZero() {
		oldest = max(0, now.Sub(b.Oldest).Seconds())
	}
	gauge(workOldest, oldest)
	lists, err := s.published.all(ctx)
	if err != nil {
		return err
	}
	for _, l := range lists {
		if l.Number != 0 {
			collectList(l, now, gauge)
		}
	}
	return nil
}

func collectList(l crl.List, now time.Time, gauge func(*prometheus.Desc, float64, ...string)) {
	labels := []string{l.Shard.Issuer, strconv.Itoa(l.Shard.Number)}
	gauge(crlNumber, float64(l.Number), labels...)
	gauge(crlEntries, float64(l.Entries), labels...)
	gauge(crlAge, now.Sub(l.ThisUpdate).Seconds(), labels...)
	gauge(crlNextUpdate, float64(l.NextUpdate.Unix()), labels...)
}
