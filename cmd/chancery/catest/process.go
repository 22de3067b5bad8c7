package catest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is what Binary built in this test program.
var binary struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Main runs the tests of a program that uses StartProcess or Binary and
// removes the binary afterwards: func TestMain(m *testing.M) { catest.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	if binary.dir != "" {
		_ = os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// Binary builds chancery, with the race detector if the test has it, and
// returns the path of it. Only the first call builds.
func Binary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		binary.dir, binary.err = os.MkdirTemp("", "catest-")
		if binary.err != nil {
			return
		}
		binary.path = filepath.Join(binary.dir, "chancery")
		args := []string{"build", "-o", binary.path}
		if raceEnabled {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "chancery/cmd/chancery")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatalf("catest: building chancery: %v", binary.err)
	}
	return binary.path
}

// process runs it as a process of its own.
type process struct {
	binary string
	cmd    *exec.Cmd
	done   chan error
}

func (p *process) start(c *CA) error {
	args := []string{"serve", "--dir", c.Dir}
	for _, s := range c.set {
		args = append(args, "--set", s)
	}
	cmd := exec.Command(p.binary, args...)
	cmd.Stdout, cmd.Stderr = c.log, c.log
	// It must not outlive a test program that crashed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		// The signal comes when the thread ends that started the process, not
		// when the program does: this one stays until the process is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.done = cmd, done
	select {
	case err := <-done:
		p.cmd = nil
		return fmt.Errorf("it ended at once: %w", errors.Join(err, errors.New("see its log")))
	case <-time.After(pollInterval):
		return nil
	}
}

func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-time.After(readyTimeout):
		_ = cmd.Process.Kill()
		return fmt.Errorf("still running %s after SIGTERM", readyTimeout)
	}
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // SIGKILL; an error means that it is gone already
	<-p.done
	p.cmd = nil
}
