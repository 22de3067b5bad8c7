package catest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"chancery/cmd/chancery/app"
)

// CA is a running Chancery.
type CA struct {
	Net          *Internet
	Dir          string
	DirectoryURL string // https://localhost:PORT/acme/directory
	PublishURL   string // http://127.0.0.1:PORT
	AdminURL     string // http://127.0.0.1:PORT
	RootPEM      string // path of root.pem
	Root         *x509.CertPool

	t      testing.TB
	set    []string // KEY=VALUE, the same at each start
	engine engine
	client *http.Client
	log    *logBuffer
}

// engine is what runs: this process, or another one.
type engine interface {
	start(c *CA) error
	stop() error // gracefully; no error when it does not run
	kill()       // as kill -9 does; in process the nearest thing to it
}

// Option changes how a CA starts.
type Option func(*CA)

// Set sets a key of the configuration, "limits.enabled=true".
func Set(assignments ...string) Option {
	return func(c *CA) { c.set = append(c.set, assignments...) }
}

// On uses an Internet that is there already.
func On(n *Internet) Option { return func(c *CA) { c.Net = n } }

// In uses this directory, empty or from an earlier start.
func In(dir string) Option { return func(c *CA) { c.Dir = dir } }

// Start runs Chancery in this process, ready to serve, until the test ends.
// Rate limits are off unless Set says otherwise; the log is shown when the
// test fails.
func Start(t testing.TB, options ...Option) *CA {
	t.Helper()
	return start(t, &inProcess{}, options)
}

// StartProcess runs the built binary, which it builds once for each test
// program: that one needs a TestMain that calls Main.
func StartProcess(t testing.TB, options ...Option) *CA {
	t.Helper()
	return start(t, &process{binary: Binary(t)}, options)
}

func start(t testing.TB, e engine, options []Option) *CA {
	t.Helper()
	c := &CA{t: t, engine: e, log: &logBuffer{}}
	for _, o := range options {
		o(c)
	}
	if c.Net == nil {
		c.Net = NewInternet(t)
	}
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "chancery")
	}
	// Ports are chosen here and not by the kernel, because a restarted CA has
	// to have the addresses that its certificates and its clients know.
	acme, publish, admin := FreePort(t), FreePort(t), FreePort(t)
	c.DirectoryURL = fmt.Sprintf("https://localhost:%d/acme/directory", acme)
	c.PublishURL = fmt.Sprintf("http://127.0.0.1:%d", publish)
	c.AdminURL = fmt.Sprintf("http://127.0.0.1:%d", admin)
	c.RootPEM = filepath.Join(c.Dir, "root.pem")
	c.set = append([]string{
		fmt.Sprintf("acme.listen=127.0.0.1:%d", acme),
		fmt.Sprintf("acme.url=https://localhost:%d", acme),
		fmt.Sprintf("publish.listen=127.0.0.1:%d", publish),
		"publish.url=" + c.PublishURL,
		fmt.Sprintf("admin.listen=127.0.0.1:%d", admin),
		"validation.resolvers=" + c.Net.DNSAddr,
		"validation.http_port=" + strconv.Itoa(c.Net.HTTPPort),
		"validation.tls_port=" + strconv.Itoa(c.Net.TLSPort),
		"limits.enabled=false",
		"log.level=debug",
	}, c.set...)
	t.Cleanup(func() {
		if err := c.engine.stop(); err != nil {
			t.Errorf("catest: stopping Chancery: %v", err)
		}
		if t.Failed() {
			t.Logf("Chancery's log:\n%s", c.log.tail())
		}
	})
	c.Restart()
	return c
}

// readyTimeout is generous: the race detector on a busy machine founds a
// directory (keys, scrypt, database) in a few seconds.
const readyTimeout = time.Minute

// Restart starts Chancery in the same directory, at the same addresses, after
// stopping it if it runs.
func (c *CA) Restart() {
	c.t.Helper()
	c.Stop()
	if err := c.engine.start(c); err != nil {
		c.t.Fatalf("catest: Chancery does not start: %v\n%s", err, c.log.tail())
	}
	if c.Root == nil {
		c.trustRoot()
	}
	deadline := time.Now().Add(readyTimeout)
	for {
		err := c.ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("catest: Chancery is not ready after %s: %v\n%s", readyTimeout, err, c.log.tail())
		}
		time.Sleep(pollInterval)
	}
}

const pollInterval = 20 * time.Millisecond

// Stop ends it gracefully.
func (c *CA) Stop() {
	c.t.Helper()
	if err := c.engine.stop(); err != nil {
		c.t.Errorf("catest: stopping Chancery: %v", err)
	}
}

// Kill ends it as a power cut would, as far as a process can.
func (c *CA) Kill() { c.engine.kill() }

// Log is what Chancery logged so far (its end, when there is much).
func (c *CA) Log() string { return c.log.tail() }

// HTTP is a client that trusts Chancery's root and nothing else.
func (c *CA) HTTP() *http.Client { return c.client }

func (c *CA) trustRoot() {
	c.t.Helper()
	deadline := time.Now().Add(readyTimeout)
	for {
		pem, err := os.ReadFile(c.RootPEM)
		c.Root = x509.NewCertPool()
		if err == nil && c.Root.AppendCertsFromPEM(pem) {
			break
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("catest: no root certificate in %s: %v\n%s", c.RootPEM, err, c.log.tail())
		}
		time.Sleep(pollInterval)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Root, MinVersion: tls.VersionTLS12}}
	c.client = &http.Client{Transport: transport, Timeout: readyTimeout}
	c.t.Cleanup(transport.CloseIdleConnections)
}

// ready asks the operator's door and the directory.
func (c *CA) ready() error {
	for _, url := range []string{c.AdminURL + "/readyz", c.DirectoryURL} {
		_, status, err := c.get(url)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s answered %d", url, status)
		}
	}
	return nil
}

// inProcess runs it in goroutines of the test.
type inProcess struct {
	cancel context.CancelFunc
	done   chan error
}

func (p *inProcess) start(c *CA) error {
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.Open(ctx, app.Options{Dir: c.Dir, Set: c.set, Log: c.log})
	if err != nil {
		cancel()
		return err
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	p.cancel, p.done = cancel, done
	return nil
}

func (p *inProcess) stop() error {
	if p.cancel == nil {
		return nil
	}
	p.cancel()
	p.cancel = nil
	select {
	case err := <-p.done:
		return err
	case <-time.After(readyTimeout):
		return fmt.Errorf("still running %s after it was told to stop", readyTimeout)
	}
}

func (p *inProcess) kill() {
	panic("catest: only a process can be killed; use StartProcess")
}

// logBuffer keeps the end of the log.
type logBuffer struct {
	mu  sync.Mutex
	buf []byte
}

// maxLog is how much of the log is kept, in bytes.
const maxLog = 32 << 10

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if len(l.buf) > 2*maxLog {
		l.buf = slices.Clone(l.buf[len(l.buf)-maxLog:])
	}
	return len(p), nil
}

func (l *logBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.ToValidUTF8(l.buf[max(0, len(l.buf)-maxLog):], []byte("?")))
}
