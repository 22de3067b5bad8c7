package acme

import (
	"context"
	"errors"
	"sync"
	"time"

	"chancery/ca"
)

// errStopping is the cause of the end of work that a stop cut short: it gets
// no verdict, and whoever runs next takes it over.
var errStopping = errors.New("stopping")

// work is what goes on beyond the request that began it.
type work struct {
	mu      sync.Mutex
	running sync.WaitGroup
	stopped bool
	ends    map[int]context.CancelCauseFunc
	next    int
}

// start runs f in the background with a deadline. The channel is closed when
// f has returned; ctx gives f its values, not its end. After stop, nothing
// starts and the channel is nil.
func (w *work) start(ctx context.Context, limit time.Duration, f func(ctx context.Context)) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, release := context.WithTimeout(ctx, limit)
	if w.ends == nil {
		w.ends = make(map[int]context.CancelCauseFunc)
	}
	id := w.next
	w.next++
	w.ends[id] = cancel
	w.running.Add(1)
	done := make(chan struct{})
	go func() {
		defer w.running.Done()
		defer close(done)
		defer func() {
			release()
			w.mu.Lock()
			delete(w.ends, id)
			w.mu.Unlock()
		}()
		f(ctx)
	}()
	return done
}

// stop waits for what runs, until ctx ends; then it cuts the rest short.
func (w *work) stop(ctx context.Context) {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		w.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return
	case <-ctx.Done():
	}
	w.mu.Lock()
	for _, end := range w.ends {
		end(errStopping)
	}
	w.mu.Unlock()
	<-idle
}

// waitFor waits for work to be done, at most d and not beyond ctx.
func waitFor(ctx context.Context, done <-chan struct{}, d time.Duration) {
	if done == nil {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// Stop waits until the work in flight is done, at most until ctx ends, then
// cuts it short; what is cut short keeps its lease and is taken over after it.
func (s *Service) Stop(ctx context.Context) { s.work.stop(ctx) }

// Run takes over, until ctx ends, work whose lease ran out because the
// process that had it died, and revokes what is left of certificates with
// blocked keys. Call it once in each process.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(orDefault(s.Settings.TakeOverEvery, defaultTakeOverEvery))
	defer tick.Stop()
	var looked time.Time
	var pruned time.Time
	for {
		s.takeOver(ctx)
		pruned = s.pruneLimits(ctx, pruned)
		if now := s.now(); now.Sub(looked) >= blockedEvery {
			looked = now
			_, _ = s.revokeBlocked(ctx, ca.System("blocked-keys")) // logged there, and tried again
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// takeOver looks once for abandoned work and starts it again.
func (s *Service) takeOver(ctx context.Context) {
	now := s.now()
	authorizations, err := s.Store.TakeOverValidations(ctx, now, now.Add(s.validationLease()), takeOverBatch)
	if err != nil && ctx.Err() == nil {
		s.log().ErrorContext(ctx, "looking for abandoned validations", "error", err)
	}
	for _, a := range authorizations {
		s.startValidation(ctx, a)
	}
	orders, err := s.Store.TakeOverOrders(ctx, now, now.Add(s.issueTime()+leaseMargin), takeOverBatch)
	if err != nil && ctx.Err() == nil {
		s.log().ErrorContext(ctx, "looking for abandoned orders", "error", err)
	}
	for _, o := range orders {
		s.startIssuance(ctx, o)
	}
}
