package storage

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
)

// Bounds of the writer.
const (
	// How many changes one commit holds at most. More would not make commits
	// cheaper (64 callers: 30,000 changes a second, 256: 50,000), and what
	// fails with its commit stays few.
	maxGroup = 256
	// How many changes wait in line; the next caller waits to get into it, for
	// as long as its context lasts.
	maxQueue = 1024
)

var errClosed = errors.New("storage: closed")

// The states of a pending change. Whoever moves it out of waiting has it: the
// writer to run it, or its caller to give it up.
const (
	waiting int32 = iota
	running
	givenUp
)

// pending is one change in line.
type pending struct {
	event event
	do    func(*tx) error
	state atomic.Int32
	err   error
	done  chan struct{} // closed when err is the answer
}

// writer is the one goroutine that changes a SQLite database.
type writer struct {
	queue   chan *pending
	quit    chan struct{} // closed by close
	ended   chan struct{} // closed when the goroutine has ended
	dialect *dialect
	acquire func() (*sqlx.Conn, error)
	release func(c *sqlx.Conn, broken bool)
}

func startWriter(d *dialect, acquire func() (*sqlx.Conn, error), release func(*sqlx.Conn, bool)) *writer {
	w := &writer{
		queue: make(chan *pending, maxQueue), quit: make(chan struct{}), ended: make(chan struct{}),
		dialect: d, acquire: acquire, release: release,
	}
	go w.loop()
	return w
}

// change hands a change to the writer and waits for its answer. A context that
// ends while the change waits in line takes it out; once it runs, its outcome
// is what counts.
func (w *writer) change(ctx context.Context, e event, do func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := &pending{event: e, do: do, done: make(chan struct{})}
	select {
	case w.queue <- p:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.quit:
		return errClosed
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		if p.state.CompareAndSwap(waiting, givenUp) {
			return ctx.Err()
		}
	case <-w.ended: // it came into the queue behind the last look at it
		if p.state.CompareAndSwap(waiting, givenUp) {
			return errClosed
		}
	}
	<-p.done
	return p.err
}

// close lets the changes in line run and ends the goroutine.
func (w *writer) close() {
	close(w.quit)
	<-w.ended
}

func (w *writer) loop() {
	defer close(w.ended)
	for {
		select {
		case p := <-w.queue:
			w.group(p)
			continue
		case <-w.quit:
		}
		select { // both may have been ready: what is in line still runs
		case p := <-w.queue:
			w.group(p)
		default:
			return
		}
	}
}

// group takes what waits in line and commits it together.
func (w *writer) group(first *pending) {
	group := make([]*pending, 0, min(1+len(w.queue), maxGroup))
	for p := first; ; {
		if p.state.CompareAndSwap(waiting, running) {
			group = append(group, p)
		}
		if len(group) == maxGroup {
			break
		}
		select {
		case p = <-w.queue:
			continue
		default:
		}
		break
	}
	for len(group) > 0 {
		n := w.commit(group)
		for _, p := range group[:n] {
			close(p.done)
		}
		group = group[n:]
	}
}

// commit runs changes in one transaction, until one of them ends it, and says
// how many have their answer.
func (w *writer) commit(group []*pending) (n int) {
	conn, err := w.acquire()
	if err != nil {
		return fail(group, fmt.Errorf("storage: no connection to write with: %w", err))
	}
	g := &grouped{conn: conn, dialect: w.dialect, ctx: context.Background()}
	defer func() { w.release(conn, g.broken) }()
	if err := g.exec("BEGIN IMMEDIATE"); err != nil {
		g.broken = !isBusy(err)
		return fail(group, fmt.Errorf("storage: the transaction can't begin: %w", err))
	}
	changed := false
	for i, p := range group {
		lost := g.apply(p, len(group) > 1)
		if lost != nil {
			// SQLite has undone the whole transaction (disk full, I/O error):
			// what came before is undone with it. What comes after gets a new one.
			g.rollback()
			for _, before := range group[:i] {
				if before.err == nil {
					before.err = fmt.Errorf("storage: undone with another change of the same commit: %w", lost)
				}
			}
			return i + 1
		}
		changed = changed || p.err == nil
	}
	if !changed {
		g.rollback()
		return len(group)
	}
	if err := g.exec("COMMIT"); err != nil {
		g.rollback()
		for _, p := range group {
			if p.err == nil {
				p.err = fmt.Errorf("storage: the commit failed, nothing was kept: %w", err)
			}
		}
	}
	return len(group)
}

func fail(group []*pending, err error) int {
	for _, p := range group {
		p.err = err
	}
	return len(group)
}

// grouped is the transaction of a group.
type grouped struct {
	conn    *sqlx.Conn
	dialect *dialect
	ctx     context.Context
	broken  bool
}

func (g *grouped) exec(statement string) error {
	_, err := g.conn.ExecContext(g.ctx, statement)
	return err
}

// rollback undoes all. A connection that can't even do that is thrown away.
func (g *grouped) rollback() {
	err := g.exec("ROLLBACK")
	if err == nil {
		return
	}
	raw := g.conn.Raw(func(c any) error {
		if s, ok := c.(interface{ AutoCommit() bool }); !ok || !s.AutoCommit() {
			return driver.ErrBadConn
		}
		return nil // SQLite had undone it by itself
	})
	g.broken = g.broken || raw != nil
}

// apply runs one change. p.err is the answer so far; lost is not nil if the
// transaction as a whole is gone. A change that is alone needs no savepoint.
func (g *grouped) apply(p *pending, savepoint bool) (lost error) {
	if savepoint {
		if err := g.exec("SAVEPOINT one"); err != nil {
			p.err = err
			return err
		}
	}
	t := &tx{session: session{ctx: g.ctx, q: g.conn, dialect: g.dialect}}
	p.err = t.run(p.event, p.do)
	if !savepoint {
		return nil
	}
	if p.err != nil {
		if err := g.exec("ROLLBACK TO one"); err != nil {
			return errors.Join(p.err, err)
		}
	}
	if err := g.exec("RELEASE one"); err != nil {
		p.err = errors.Join(p.err, err)
		return err
	}
	return nil
}
