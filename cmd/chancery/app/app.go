package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options say what to open.
type Options struct {
	Dir string           // Chancery's directory; an empty one is founded
	Set []string         // "KEY=VALUE", each goes before environment, file and defaults
	Env []string         // "NAME=value", as os.Environ gives them; nil: none
	Log io.Writer        // where log lines go; nil: nowhere
	Now func() time.Time // nil: time.Now. For the founding and Chancery's own certificate
}

// App is a whole Chancery with its listeners bound. It serves in Run.
type App struct {
	parts   *parts
	own     *own
	doors   []*door
	held    *os.File // the directory's lock
	log     *slog.Logger
	now     func() time.Time
	founded bool

	once   sync.Once
	closed error
}

// shutdownGrace bounds the end: requests in flight may wait for a validation
// (at most a minute, ten seconds by default) and are answered within it.
const shutdownGrace = 30 * time.Second

// Open reads the configuration, founds the directory if it is empty, takes
// its lock, binds the listeners, opens store and keys, and sees to it that
// there is a TLS certificate and a CRL. Whoever opened must call Run, or Close.
func Open(ctx context.Context, o Options) (_ *App, err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, modeDir); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	a := &App{now: o.Now}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	c, err := a.claim(dir, o)
	if err != nil {
		return nil, err
	}
	a.log = newLogger(c.Log, o.Log)
	if err := a.listen(c); err != nil {
		return nil, err
	}
	at := a.urls(c)
	a.founded, err = ensureFounded(ctx, InitSpec{Dir: dir, Set: o.Set, Env: o.Env, Now: o.Now, urls: &at})
	if err != nil {
		return nil, err
	}
	if c, err = ReadConfig(dir, o.Set, o.Env); err != nil {
		return nil, err
	}
	if !c.exclusive() {
		if err := share(a.held); err != nil {
			return nil, err
		}
	}
	for _, w := range c.Warnings {
		a.log.WarnContext(ctx, w)
	}
	return a, a.open(ctx, c, at)
}

// claim takes the lock that the store needs, and reads what is configured, or
// would be once the directory is founded.
func (a *App) claim(dir string, o Options) (*Config, error) {
	var src []byte
	state, err := stateOf(dir)
	if err != nil {
		return nil, err
	}
	switch state {
	case whole:
		src, err = readBounded(filepath.Join(dir, configFile), maxConfigSize)
	case moving:
		src, err = readBounded(filepath.Join(dir, stageDir, configFile), maxConfigSize)
		if errors.Is(err, os.ErrNotExist) { // it was moved, the rest of the stage was not removed yet
			src, err = readBounded(filepath.Join(dir, configFile), maxConfigSize)
		}
	case vacant, occupied:
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be read: %w", err)
	}
	var m Mistakes
	c := layConfig(&m, dir, src, o.Set, o.Env)
	if state == whole {
		c.checkSecrets(&m)
	}
	if err := m.err(); err != nil {
		return nil, err
	}
	a.held, err = lock(dir, state != whole || c.exclusive())
	return c, err
}

// exclusive says whether the store is for one process alone. A DSN by
// reference is taken to be PostgreSQL's: a path needs no secrecy.
func (c *Config) exclusive() bool { return strings.HasPrefix(c.Storage.DSN, "sqlite:") }

// open opens store, keys and publication, and hangs the handlers into the doors.
func (a *App) open(ctx context.Context, c *Config, at urls) error {
	var err error
	if a.parts, err = openParts(ctx, c, at, a.log); err != nil {
		return err
	}
	if a.own, err = openOwn(a.parts); err != nil {
		return err
	}
	clear(a.parts.passphrase) // every key is open
	if err := a.own.ensure(ctx, clock(a.now)); err != nil {
		return err
	}
	if w := rootListWarning(a.parts.rootList, clock(a.now)); w != "" {
		a.log.WarnContext(ctx, w)
	}
	if err := a.parts.publisher.Sync(ctx); err != nil {
		return fmt.Errorf("making the first CRL: %w", err)
	}
	return a.hang()
}

// Run serves until ctx ends or a listener fails, then stops: it accepts
// nothing more, answers the requests in flight, lets validations and
// issuances come to their end (or leaves their leases to whoever comes next),
// and closes.
func (a *App) Run(ctx context.Context) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	group, serving := errgroup.WithContext(ctx)
	for _, d := range a.doors {
		group.Go(func() error { return d.serve() })
	}
	var background sync.WaitGroup
	background.Go(func() { a.parts.publisher.Run(work) })
	background.Go(func() { a.own.run(work, a.now) })
	background.Go(func() {
		if err := a.parts.service.Run(work); err != nil && work.Err() == nil {
			a.log.ErrorContext(work, "taking over abandoned work has ended", "error", err)
		}
	})
	a.log.InfoContext(ctx, "serving", "directory", a.DirectoryURL(), "publish", a.PublishURL(), "admin", a.AdminURL())
	<-serving.Done()
	a.log.InfoContext(ctx, "stopping; requests in flight are answered")
	err := a.stop()
	stopWork()
	background.Wait()
	err = errors.Join(group.Wait(), err, a.Close())
	a.log.InfoContext(ctx, "stopped")
	return err
}

// stop ends the doors and the engine within the grace time.
func (a *App) stop() error {
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	var group errgroup.Group
	for _, d := range a.doors {
		group.Go(func() error { return d.stop(grace) })
	}
	err := group.Wait()
	a.parts.service.Stop(grace)
	return err
}

// Close closes what Open opened. It may be called twice.
func (a *App) Close() error {
	a.once.Do(func() {
		var errs []error
		for _, d := range a.doors {
			errs = append(errs, d.close())
		}
		if a.parts != nil {
			errs = append(errs, a.parts.close())
		}
		if a.held != nil {
			errs = append(errs, a.held.Close())
		}
		a.closed = errors.Join(errs...)
	})
	return a.closed
}

// urls are the configured bases with the listener's port in the place of 0.
func (a *App) urls(c *Config) urls {
	return urls{acme: a.withPort(c.ACME.URL, acmeDoor), publish: a.withPort(c.Publish.URL, publishDoor)}
}

func (a *App) withPort(base, name string) string {
	u, err := url.Parse(base)
	if err != nil || u.Port() != "0" {
		return base
	}
	_, port, err := net.SplitHostPort(a.address(name))
	if err != nil {
		return base
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	return u.String()
}

// DirectoryURL is the ACME directory, "https://localhost:14000/acme/directory".
func (a *App) DirectoryURL() string { return a.parts.urls.acme + "/acme/directory" }

// PublishURL is the base of /crl/, /ocsp, /issuer/ and /root.pem, without a
// slash at its end.
func (a *App) PublishURL() string { return a.parts.urls.publish }

// AdminURL is the base of the operator's door, "http://127.0.0.1:14090".
func (a *App) AdminURL() string { return "http://" + a.address(adminDoor) }

// AdminToken is the operator's bearer token.
func (a *App) AdminToken() string { return a.parts.token }

// RootPath is the absolute path of root.pem.
func (a *App) RootPath() string { return filepath.Join(a.parts.config.Dir, rootFile) }

// Config is the configuration that is in force.
func (a *App) Config() *Config { return a.parts.config }

// Founded says whether this start founded the directory.
func (a *App) Founded() bool { return a.founded }

// newLogger logs to w as configured.
func newLogger(c LogConfig, w io.Writer) *slog.Logger {
	if w == nil {
		return slog.New(slog.DiscardHandler)
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration takes only its words
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
