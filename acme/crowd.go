package acme

import (
	"context"
	"sync"

	"chancery/ca"
)

// crowd are the validations that this process has in hand: which run, and
// which wait until others of the same account are done. The zero value is an
// empty one.
type crowd struct {
	mu       sync.Mutex
	guests   map[string]*guest // by authorization
	accounts map[string]*table
	names    map[accountName]int
	retries  int
}

type accountName struct {
	account string
	name    ca.Identifier
}

// guest is one validation.
type guest struct {
	account string
	name    ca.Identifier
	retry   bool // of a name that only fails
	most    int  // how many of the account run at once, 0: no bound
	seated  bool
}

// table is where the validations of one account sit down.
type table struct {
	inHand int
	seats  chan struct{} // nil: no bound
}

// enter takes a place for the validation of an authorization, unless there
// are too many. under is how many of the same account and name are in hand,
// with this one. An authorization that is in hand already stays so, and
// entered is false: the store will tell who was first.
func (c *crowd) enter(id string, g guest) (under int, entered bool, problem *Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := accountName{g.account, g.name}
	if _, here := c.guests[id]; here {
		return c.names[key], false, nil
	}
	t := c.accounts[g.account]
	switch {
	case len(c.guests) >= maxInHand:
		return 0, false, busy("This CA has %d validations in hand; try again in a moment.", maxInHand)
	case t != nil && t.inHand >= maxInHandOfAccount:
		return 0, false, busy("This account has %d validations in hand; answer further challenges when some are done.", maxInHandOfAccount)
	}
	if c.guests == nil {
		c.guests, c.accounts, c.names = map[string]*guest{}, map[string]*table{}, map[accountName]int{}
	}
	if t == nil {
		t = &table{}
		if g.most > 0 {
			t.seats = make(chan struct{}, g.most)
		}
		c.accounts[g.account] = t
	}
	t.inHand++
	c.names[key]++
	c.guests[id] = &g
	return c.names[key], true, nil
}

// retry marks a validation as one of a name that only fails, of which there
// are at most so many (0: any number).
func (c *crowd) retry(id string, most int) *Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.guests[id]
	if g == nil || g.retry {
		return nil
	}
	if most > 0 && c.retries >= most {
		return busy("%d validations of names that failed over and over are in hand, this CA does no more of them at once, and %s is such a name; correct what its earlier failures name, and try again.", most, g.name.Value())
	}
	g.retry = true
	c.retries++
	return nil
}

func busy(format string, args ...any) *Problem {
	p := Problemf(RateLimited, format, args...)
	p.RetryAfter = tryAgain
	return p
}

// sit waits until the validation may run. False: ctx ended first. One that
// never entered (it was taken over from a dead replica) does not wait.
func (c *crowd) sit(ctx context.Context, id string) bool {
	c.mu.Lock()
	g := c.guests[id]
	if g == nil || c.accounts[g.account].seats == nil {
		c.mu.Unlock()
		return true
	}
	seats := c.accounts[g.account].seats
	c.mu.Unlock()
	select {
	case seats <- struct{}{}:
		c.mu.Lock()
		g.seated = true
		c.mu.Unlock()
		return true
	case <-ctx.Done():
		return false
	}
}

// leave gives the place back.
func (c *crowd) leave(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.guests[id]
	if g == nil {
		return
	}
	delete(c.guests, id)
	t := c.accounts[g.account]
	if g.seated {
		<-t.seats
	}
	if t.inHand--; t.inHand == 0 {
		delete(c.accounts, g.account)
	}
	key := accountName{g.account, g.name}
	if c.names[key]--; c.names[key] == 0 {
		delete(c.names, key)
	}
	if g.retry {
		c.retries--
	}
}
