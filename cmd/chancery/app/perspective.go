package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"chancery/acme"
	"chancery/acme/validate"
	"chancery/ca"
	"chancery/ca/keystore"
)

// perspectiveKeyFile is the key by which a CA and its remote perspectives know
// each other: each directory has its own, made at its first use.
const perspectiveKeyFile = "keys/perspective.pem"

// Bounds of a remote perspective's door (invariant 8). Who has no pinned key
// does not get beyond the handshake, so these are for the few that have one,
// and for those that only connect.
const (
	maxPerspectivePeers       = 16  // CA processes that may ask; replicas have a directory each
	maxPerspectiveConnections = 512 // maxPerspectivePeers times what one CA opens would be more than one has to serve
	// perspectiveWriteTime covers the longest validation.timeout, a minute.
	perspectiveWriteTime = 90 * time.Second
)

// parsePerspectives takes a list of {name: …, url: https://…, pin: sha256:…}.
func parsePerspectives(v value) ([]validate.RemoteConfig, error) {
	if v.kind == scalar && v.at.outside() {
		inner, err := v.inner()
		if err != nil {
			return nil, err
		}
		v = inner
	}
	const how = "{name: fra, url: https://HOST:PORT, pin: sha256:…}, as `chancery perspective` prints it"
	switch {
	case v.kind == nothing:
		return nil, nil
	case v.kind != list:
		return nil, fmt.Errorf("wants a list of %s, found %s", how, v.kind)
	case len(v.list) > ca.MaxRemotes:
		return nil, fmt.Errorf("has %d entries; at most %d are possible", len(v.list), ca.MaxRemotes)
	}
	var out []validate.RemoteConfig
	for i, e := range v.list {
		if e.kind != mapping {
			return nil, fmt.Errorf("entry %d is %s; write %s", i+1, e.kind, how)
		}
		r, err := parsePerspective(e)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		for j, o := range out {
			if o.Name == r.Name || o.URL == r.URL || o.Pin == r.Pin {
				return nil, fmt.Errorf("entries %d and %d have a name, a url or a pin in common: one perspective can't count twice", j+1, i+1)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func parsePerspective(v value) (validate.RemoteConfig, error) {
	var r validate.RemoteConfig
	for _, f := range v.fields {
		s, err := f.one()
		if err == nil {
			switch f.name {
			case "name":
				r.Name = s
			case "url":
				r.URL, err = parseBase("https", "questions and answers are encrypted and pinned")(f.value)
			case "pin":
				r.Pin, err = validate.ParsePin(s)
			default:
				err = errors.New("is no such key; there are name, url, pin")
			}
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return r, r.Check()
}

// perspectivePolicy is what the configuration asks of perspectives.
func (c *Config) perspectivePolicy() ca.PerspectivePolicy {
	return ca.PerspectivePolicy{Remotes: len(c.Validation.Perspectives), Quorum: c.Validation.Quorum}
}

// checkPerspectives holds perspectives and quorum against each other and the
// rule set, as of today: the signing core looks again at each signature.
func (c *Config) checkPerspectives(m *Mistakes, now time.Time) {
	if c.Policy.rules == nil {
		return // and that was said
	}
	if err := c.Policy.rules.CheckPerspectives(c.perspectivePolicy(), now); err != nil {
		m.add(c.places["validation.perspectives"], "validation.perspectives", "%s", err)
	}
}

// newValidator is this process's own perspective. The identities are those by
// which CAA records mean the CA.
func newValidator(c *Config, identities []string, log *slog.Logger) (*validate.Validator, error) {
	roots, err := resolverRoots(c.Validation.ResolverCA)
	if err != nil {
		return nil, fmt.Errorf("validation.resolver_ca: %w", err)
	}
	v, err := validate.New(validate.Config{
		Resolvers: c.Validation.Resolvers, Zones: c.Validation.Zones, ResolverRoots: roots,
		PlainCase: !c.Validation.DNS0x20, DNSSEC: c.Validation.DNSSEC, CAAIdentities: identities,
		HTTPPort: c.Validation.HTTPPort, TLSPort: c.Validation.TLSPort,
		Timeout: c.Validation.Timeout, MaxConcurrent: c.Validation.MaxConcurrent, PerTarget: c.Limits.perTarget(),
		DeniedNetworks: c.Validation.DeniedNetworks, AllowedNetworks: c.Validation.AllowedNetworks, Log: log,
		UserAgent: "chancery/" + Version(),
	})
	if err != nil {
		return nil, fmt.Errorf("setting up validation: %w", err)
	}
	return v, nil
}

// perspectiveSetting is what CA and remotes must have in common.
func perspectiveSetting(c *Config, identities []string) validate.PerspectiveSetting {
	return validate.PerspectiveSetting{HTTPPort: c.Validation.HTTPPort, TLSPort: c.Validation.TLSPort, CAAIdentities: identities}
}

// openValidator is the engine's validator: this CA's own, and around it the
// quorum, once there are remote perspectives.
func (p *parts) openValidator() (acme.Validator, error) {
	c := p.config
	v, err := newValidator(c, c.caaIdentities(), p.log)
	if err != nil || len(c.Validation.Perspectives) == 0 {
		return v, err
	}
	me, err := openIdentity(c.Dir, p.passphrase)
	if err != nil {
		return nil, err
	}
	p.quorum, err = validate.NewQuorum(validate.QuorumConfig{
		Primary: v, Remotes: c.Validation.Perspectives, Quorum: c.Validation.Quorum, Identity: me,
		Setting: perspectiveSetting(c, c.caaIdentities()), Timeout: c.Validation.Timeout, Log: p.log,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up validation.perspectives: %w", err)
	}
	return p.quorum, nil
}

// openIdentity opens the key for perspectives, and makes it when there is none.
func openIdentity(dir string, passphrase []byte) (validate.Identity, error) {
	path := filepath.Join(dir, perspectiveKeyFile)
	if err := os.MkdirAll(filepath.Dir(path), modeDir); err != nil {
		return validate.Identity{}, err
	}
	var key keystore.Key
	var err error
	if _, serr := os.Stat(path); errors.Is(serr, fs.ErrNotExist) {
		key, err = keystore.Create("file:"+path, keystore.EC256, passphrase)
	} else {
		key, err = keystore.Open("file:"+path, passphrase)
	}
	if err != nil {
		return validate.Identity{}, fmt.Errorf("the key for perspectives: %w", err)
	}
	return validate.NewIdentity(key, clock(nil))
}

// PerspectivePin says how to start a remote perspective that this CA may ask.
func PerspectivePin(dir string, set, env []string) (string, error) {
	c, err := ReadConfig(dir, set, env)
	if err != nil {
		return "", err
	}
	passphrase, err := c.Passphrase()
	if err != nil {
		return "", err
	}
	defer clear(passphrase)
	me, err := openIdentity(c.Dir, passphrase)
	if err != nil {
		return "", err
	}
	command := "chancery perspective --dir DIR --listen :15000 --peer " + me.Pin.String()
	if ids := c.caaIdentities(); len(ids) > 0 {
		command += " --set acme.caa_identities=" + strings.Join(ids, ",")
	}
	defaults := defaultConfig("").Validation
	if c.Validation.HTTPPort != defaults.HTTPPort {
		command += " --set validation.http_port=" + strconv.Itoa(c.Validation.HTTPPort)
	}
	if c.Validation.TLSPort != defaults.TLSPort {
		command += " --set validation.tls_port=" + strconv.Itoa(c.Validation.TLSPort)
	}
	return fmt.Sprintf("This CA's pin: %s\nOn the other machine, with a directory of its own:\n\n  %s\n", me.Pin, command), nil
}

// PerspectiveOptions say how to run a remote perspective.
type PerspectiveOptions struct {
	Dir    string   // of its own: key and passphrase
	Listen string   // HOST:PORT
	Peers  []string // pins of the CAs that may ask
	Set    []string // keys of validation, acme.caa_identities, keystore.passphrase and log
	Env    []string
	Log    io.Writer
}

// RemotePerspective looks at names for a CA from where it stands. Its listener
// is bound; it serves in Run.
type RemotePerspective struct {
	pin      validate.Pin
	listener net.Listener
	server   *http.Server
	log      *slog.Logger
	held     *os.File
}

// OpenPerspective opens a remote perspective. Whoever opened must call Run.
func OpenPerspective(o PerspectiveOptions) (_ *RemotePerspective, err error) {
	c, peers, err := o.read()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, modeDir); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, configFile)); err == nil {
		return nil, fmt.Errorf("%s is a CA's directory; a perspective has one of its own, on another machine: what both see must not come from one place", c.Dir)
	}
	r := &RemotePerspective{log: newLogger(c.Log, o.Log)}
	defer func() {
		if err != nil && r.held != nil {
			err = errors.Join(err, r.held.Close())
		}
	}()
	if r.held, err = lock(c.Dir, true); err != nil {
		return nil, err
	}
	me, err := openOwnIdentity(c)
	if err != nil {
		return nil, err
	}
	r.pin = me.Pin
	v, err := newValidator(c, c.ACME.CAAIdentities, r.log)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", o.Listen, err)
	}
	r.listener = netutil.LimitListener(l, maxPerspectiveConnections)
	r.server = &http.Server{
		Handler:           validate.NewPerspective(v, perspectiveSetting(c, c.ACME.CAAIdentities), r.log),
		TLSConfig:         me.ServerTLS(peers),
		ReadHeaderTimeout: readHeaderTime, ReadTimeout: readTime, WriteTimeout: perspectiveWriteTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
		// Who connects with another key, or with none, is worth a line.
		ErrorLog:  slog.NewLogLogger(r.log.Handler(), slog.LevelInfo),
		Protocols: new(http.Protocols),
	}
	r.server.Protocols.SetHTTP1(true)
	return r, nil
}

// perspectiveKeys are the keys of the configuration that a perspective has.
func perspectiveKey(name string) bool {
	switch name {
	case "acme.caa_identities", "keystore.passphrase":
		return true
	case "validation.perspectives", "validation.quorum", "validation.reuse":
		return false
	}
	return strings.HasPrefix(name, "validation.") || strings.HasPrefix(name, "log.")
}

// read checks everything that the options say.
func (o PerspectiveOptions) read() (*Config, []validate.Pin, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, nil, err
	}
	var m Mistakes
	c := layConfig(&m, dir, nil, o.Set, o.Env)
	for name, at := range c.places {
		if at.source == sourceFlag && !perspectiveKey(name) {
			m.add(at, name, "means nothing to a perspective; it has validation.*, acme.caa_identities, keystore.passphrase and log.*")
		}
	}
	if _, err := parseListen(value{kind: scalar, text: o.Listen}); err != nil {
		m.add(place{source: "--listen"}, "", "%s", err)
	}
	var peers []validate.Pin
	for _, s := range o.Peers {
		pin, err := validate.ParsePin(s)
		if err != nil {
			m.add(place{source: "--peer"}, "", "%s", err)
		}
		if !slices.Contains(peers, pin) {
			peers = append(peers, pin)
		}
	}
	if len(peers) == 0 || len(peers) > maxPerspectivePeers { // nobody at all must not come to mean everybody (SAFETY A24)
		m.add(place{source: "--peer"}, "", "wants 1 to %d pins of CAs that may ask; `chancery perspective pin` on the CA prints its own", maxPerspectivePeers)
	}
	return c, peers, m.err()
}

// openOwnIdentity opens the perspective's key; at the first start it makes key
// and passphrase.
func openOwnIdentity(c *Config) (validate.Identity, error) {
	file := c.Keystore.Passphrase.File
	if _, err := os.Stat(file); file == filepath.Join(c.Dir, passphraseFile) && errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(file, []byte(randomText()+"\n"), modeSecret); err != nil {
			return validate.Identity{}, err
		}
	}
	passphrase, err := c.Passphrase()
	if err != nil {
		return validate.Identity{}, err
	}
	defer clear(passphrase)
	return openIdentity(c.Dir, passphrase)
}

// Welcome says what to write into the CA's configuration.
func (r *RemotePerspective) Welcome() string {
	host, port, err := net.SplitHostPort(r.listener.Addr().String())
	if a, aerr := netip.ParseAddr(host); err != nil || aerr != nil || a.IsUnspecified() {
		host = or(machineName(), "HOST")
	}
	return fmt.Sprintf("Listening on %s. In the CA's chancery.yaml, with a name of your choice:\n\n"+
		"validation:\n  perspectives:\n    - {name: NAME, url: \"https://%s\", pin: %q}\n", r.listener.Addr(), net.JoinHostPort(host, port), r.pin)
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// Pin is the pin of its key.
func (r *RemotePerspective) Pin() string { return r.pin.String() }

// Addr is where it listens.
func (r *RemotePerspective) Addr() string { return r.listener.Addr().String() }

// Run serves until ctx ends, then answers what is in flight and closes.
func (r *RemotePerspective) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(tls.NewListener(r.listener, r.server.TLSConfig)) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if err = r.server.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
			err = r.server.Close()
		}
		if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
	}
	return errors.Join(err, r.held.Close())
}
