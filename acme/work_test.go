package acme

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWorkOutlivesItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w work
		ctx, gone := context.WithCancel(t.Context())
		var end error
		done := w.start(ctx, time.Minute, func(ctx context.Context) {
			time.Sleep(10 * time.Second)
			end = ctx.Err()
		})
		gone()
		waitFor(t.Context(), done, time.Second)
		select {
		case <-done:
			t.Fatal("done before its time")
		default:
		}
		w.stop(t.Context())
		if end != nil {
			t.Errorf("the work was ended by its request: %v", end)
		}
		if w.start(t.Context(), time.Minute, func(context.Context) {}) != nil {
			t.Error("work started after stop")
		}
	})
}

func TestStopCutsWorkShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w work
		var cause error
		w.start(t.Context(), time.Hour, func(ctx context.Context) {
			<-ctx.Done()
			cause = context.Cause(ctx)
		})
		grace, done := context.WithTimeout(t.Context(), 5*time.Second)
		defer done()
		began := time.Now()
		w.stop(grace)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("stopped after %v", took)
		}
		if !errors.Is(cause, errStopping) {
			t.Errorf("cause %v", cause)
		}
	})
}

func TestWorkHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w work
		var err error
		done := w.start(t.Context(), 3*time.Second, func(ctx context.Context) {
			<-ctx.Done()
			err = ctx.Err()
		})
		<-done
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended with %v", err)
		}
	})
}
