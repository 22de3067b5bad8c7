package validate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"chancery/acme"
)

// errCrowded says that the place for one more connection to an address did
// not come in time.
var errCrowded = errors.New("as many connections from here as this CA opens to one address")

// turnstiles let at most so many connections be open to one address at a time,
// whatever names lead there and whoever asked: validations are no means to
// flood a third party (SAFETY A9, R65). Further ones wait for their turn.
// There is one for each address that is being connected to, and no others.
type turnstiles struct {
	most int // 0: no bound

	mu sync.Mutex
	at map[netip.Addr]*turnstile
}

type turnstile struct {
	places chan struct{}
	users  int // that are in, or wait
}

// enter waits for a place. leave gives it back, and may be called twice.
func (s *turnstiles) enter(ctx context.Context, addr netip.Addr) (leave func(), err error) {
	if s.most <= 0 {
		return func() {}, nil
	}
	s.mu.Lock()
	if s.at == nil {
		s.at = make(map[netip.Addr]*turnstile)
	}
	t := s.at[addr]
	if t == nil {
		t = &turnstile{places: make(chan struct{}, s.most)}
		s.at[addr] = t
	}
	t.users++
	s.mu.Unlock()

	gone := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.at, addr)
		}
	}
	select {
	case t.places <- struct{}{}:
	case <-ctx.Done():
		gone()
		return nil, errCrowded
	}
	return sync.OnceFunc(func() {
		<-t.places
		gone()
	}), nil
}

// crowded is the end of an attempt that did not come to its turn. It is not
// the client's failure, and says nothing about the name.
func (t *trace) crowded(what string, at netip.AddrPort) *acme.Problem {
	t.step("connect", what, at.String(), "not tried: "+errCrowded.Error())
	return acme.Problemf(acme.ServerInternal, "%s: there are %s (%s), and it did not come to its turn; try again later", what, errCrowded, at.Addr())
}

// counted is a connection that gives its place back when it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// dial is dialOne when it is the address's turn; both have `most` together.
func (v *Validator) dial(ctx context.Context, at netip.AddrPort, most time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	leave, err := v.targetTurns.enter(ctx, at.Addr())
	if err != nil {
		return nil, err
	}
	conn, err := dialOne(ctx, at, most)
	if err != nil {
		leave()
		return nil, err
	}
	return &counted{Conn: conn, leave: leave}, nil
}
