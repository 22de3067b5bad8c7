package crl_test

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"chancery/ca"
	"chancery/crl"
	"chancery/crl/crltest"
)

// memory is a store in memory, for tests in virtual time and with faults. It
// passes the same suite as the real ones.
type memory struct {
	mu           sync.Mutex
	certificates map[ca.Serial]*ca.Certificate
	rows         map[crl.Shard]*row
	fault        func(method string) error // nil: none
	tamper       func([]ca.Revoked) []ca.Revoked
}

type row struct {
	counter, covered, number int64
	lease                    time.Time
	list                     *crl.List
}

func newMemory() *memory {
	return &memory{certificates: map[ca.Serial]*ca.Certificate{}, rows: map[crl.Shard]*row{}}
}

func TestMemoryStore(t *testing.T) {
	crltest.Run(t, func(*testing.T) crltest.Store { return newMemory() })
}

func (m *memory) enter(ctx context.Context, method string) (leave func(), err error) {
	m.mu.Lock()
	if m.fault != nil {
		err = m.fault(method)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		m.mu.Unlock()
		return nil, err
	}
	return m.mu.Unlock, nil
}

func (m *memory) setFault(f func(string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

func (m *memory) row(s crl.Shard) *row {
	if m.rows[s] == nil {
		m.rows[s] = new(row)
	}
	return m.rows[s]
}

func (m *memory) Reserve(ctx context.Context, _ ca.Actor, c *ca.Certificate) (*ca.Certificate, error) {
	leave, err := m.enter(ctx, "Reserve")
	if err != nil {
		return nil, err
	}
	defer leave()
	kept := *c
	m.certificates[c.Serial] = &kept
	return c, nil
}

func (m *memory) PutCertificate(ctx context.Context, _ ca.Actor, c *ca.Certificate) error {
	leave, err := m.enter(ctx, "PutCertificate")
	if err != nil {
		return err
	}
	defer leave()
	m.certificates[c.Serial].DER = c.DER
	return nil
}

func (m *memory) Certificate(ctx context.Context, serial ca.Serial) (*ca.Certificate, error) {
	leave, err := m.enter(ctx, "Certificate")
	if err != nil {
		return nil, err
	}
	defer leave()
	c := m.certificates[serial]
	if c == nil {
		return nil, ca.ErrNotFound
	}
	out := *c
	return &out, nil
}

func (m *memory) Revoke(ctx context.Context, r ca.Revocation) error {
	leave, err := m.enter(ctx, "Revoke")
	if err != nil {
		return err
	}
	defer leave()
	c := m.certificates[r.Serial]
	switch {
	case c == nil:
		return ca.ErrNotFound
	case c.Revocation == nil:
		c.Revocation = &ca.Revoked{Serial: r.Serial, At: r.At, Reason: r.Reason, NotAfter: c.NotAfter}
	case r.Reason == ca.KeyCompromise && c.Revocation.Reason != ca.KeyCompromise:
		again := *c.Revocation
		again.Reason = ca.KeyCompromise
		c.Revocation = &again
	default:
		return ca.ErrAlreadyRevoked
	}
	m.row(crl.Shard{Issuer: c.Issuer, Number: c.Shard}).counter++
	return nil
}

func (m *memory) Due(ctx context.Context, now time.Time, shards []crl.Shard) ([]crl.Shard, error) {
	leave, err := m.enter(ctx, "Due")
	if err != nil {
		return nil, err
	}
	defer leave()
	var out []crl.Shard
	for _, s := range shards {
		r := m.row(s)
		if !r.lease.After(now) && (r.list == nil || r.counter > r.covered || !now.Before(r.list.RefreshAt)) {
			out = append(out, s)
		}
	}
	return out, nil
}

func (m *memory) Begin(ctx context.Context, now time.Time, s crl.Shard, lease time.Time) (crl.Claim, error) {
	leave, err := m.enter(ctx, "Begin")
	if err != nil {
		return crl.Claim{}, err
	}
	defer leave()
	r := m.row(s)
	if r.lease.After(now) {
		return crl.Claim{}, ca.ErrConflict
	}
	r.number, r.lease = max(r.number+1, now.UnixMilli()), lease
	return crl.Claim{Shard: s, Number: r.number, Mark: r.counter}, nil
}

func (m *memory) Revoked(ctx context.Context, s crl.Shard, since time.Time) iter.Seq2[ca.Revoked, error] {
	return func(yield func(ca.Revoked, error) bool) {
		leave, err := m.enter(ctx, "Revoked")
		if err != nil {
			yield(ca.Revoked{}, err)
			return
		}
		var all []ca.Revoked
		for _, c := range m.certificates {
			if c.Issuer == s.Issuer && c.Shard == s.Number && c.Revocation != nil && !c.NotAfter.Before(since) {
				all = append(all, *c.Revocation)
			}
		}
		slices.SortFunc(all, func(a, b ca.Revoked) int { return bytes.Compare(a.Serial[:], b.Serial[:]) })
		if m.tamper != nil {
			all = m.tamper(all)
		}
		leave()
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *memory) Put(ctx context.Context, _ ca.Actor, _ time.Time, l *crl.List) error {
	leave, err := m.enter(ctx, "Put")
	if err != nil {
		return err
	}
	defer leave()
	r := m.row(l.Shard)
	if r.list != nil && r.list.Number >= l.Number {
		return ca.ErrConflict
	}
	kept := *l
	r.list, r.covered, r.lease = &kept, l.Mark, time.Time{}
	return nil
}

func (m *memory) Latest(ctx context.Context, s crl.Shard, than int64) (*crl.List, error) {
	leave, err := m.enter(ctx, "Latest")
	if err != nil {
		return nil, err
	}
	defer leave()
	r := m.row(s)
	if r.list == nil || r.list.Number <= than {
		return nil, ca.ErrNotFound
	}
	out := *r.list
	return &out, nil
}
