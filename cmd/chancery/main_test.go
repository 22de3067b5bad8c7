package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"chancery/cmd/chancery/app"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"chancery": main})
}

// TestScripts runs the scripts in testdata/script against the program.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "../../testdata/script",
		Setup: freePorts,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ready": ready,
		},
	})
}

// freePorts sets PORT1 to PORT3 to ports that nobody listens on.
func freePorts(env *testscript.Env) error {
	for i := 1; i <= 3; i++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // at the end, so that all are different
		env.Setenv(fmt.Sprintf("PORT%d", i), strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return nil
}

// exits runs chancery and wants an exit code: exits CODE ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("chancery", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// ready waits until `chancery healthcheck` says ready.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	for deadline := time.Now().Add(time.Minute); ; {
		err := ts.Exec("chancery", "healthcheck")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not ready in time: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestKilledInit kills `init` at random moments. Whatever is left, serve comes
// to a whole directory, or init was done.
func TestKilledInit(t *testing.T) {
	program, err := exec.LookPath("chancery")
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 8
	for i := range rounds {
		dir := filepath.Join(t.TempDir(), "ca")
		cmd := exec.Command(program, "init", "--dir", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGKILL) // it may have ended
		_ = cmd.Wait()
		_, begun := os.Stat(filepath.Join(dir, "chancery.yaml"))
		a, err := app.Open(context.Background(), app.Options{Dir: dir, Set: anyPorts})
		if err != nil {
			t.Fatalf("round %d, configuration there: %v: %v", i, begun == nil, err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSignals: SIGTERM ends it with 0; more of them end it at once, whatever
// is in flight.
func TestSignals(t *testing.T) {
	for _, count := range []int{1, 3} {
		cmd, ended := startServe(t, filepath.Join(t.TempDir(), "ca"))
		for range count {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(time.Millisecond)
		}
		select {
		case err := <-ended:
			if count == 1 && err != nil {
				t.Errorf("one SIGTERM: %v", err)
			}
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("%d signals did not end it", count)
		}
	}
}

// startServe starts `chancery serve` and waits until it says where it is.
func startServe(t *testing.T, dir string) (*exec.Cmd, <-chan error) {
	t.Helper()
	program, err := exec.LookPath("chancery")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"serve", "--dir", dir}
	for _, s := range anyPorts {
		args = append(args, "--set", s)
	}
	cmd := exec.Command(program, args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() { _ = r.Close() })
	if _, err := io.ReadAtLeast(r, make([]byte, 1), 1); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, r) //nolint:errcheck // ends with the process
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return cmd, ended
}

var anyPorts = []string{
	"acme.listen=127.0.0.1:0", "acme.url=https://localhost:0", "publish.listen=127.0.0.1:0", "publish.url=http://localhost:0", "admin.listen=127.0.0.1:0",
}
