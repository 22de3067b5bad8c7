package catest

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestProcessOutlivesItsThread: the kernel kills a process with a parent-death
// signal when the thread that started it ends, which the Go runtime may do to
// any thread at any time. Scenarios must not lose their Chancery to that.
func TestProcessOutlivesItsThread(t *testing.T) {
	script := filepath.Join(t.TempDir(), "waits")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil { //nolint:gosec // it has to be executable
		t.Fatal(err)
	}
	p := &process{binary: script}
	started := make(chan error)
	onEndingThread(func() { started <- p.start(&CA{Dir: t.TempDir(), log: new(logBuffer)}) })
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	select {
	case err := <-p.done:
		t.Errorf("it ended with the thread: %v", err)
		p.done <- err // kill waits for it
	case <-time.After(time.Second):
	}
}

// onEndingThread runs f in a goroutine whose thread ends with it. The main
// thread never does, so it is kept busy meanwhile if it is the one.
func onEndingThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() != os.Getpid() {
			f()
			return // locked still: the thread ends
		}
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		onEndingThread(func() { defer close(done); f() })
		<-done
	}()
}
