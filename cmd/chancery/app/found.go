package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chancery/admin"
	"chancery/ca"
	"chancery/ca/keystore"
)

// A directory is founded in DIR/.init: everything is made there, down to the
// store with the first certificate in it, and marked complete. Then its
// entries are moved up, chancery.yaml last. So a directory with a
// chancery.yaml is whole; one with a complete .init is moved on by whoever
// comes next; one with an incomplete .init is begun again. A kill at any
// instant leaves one of the three.
const (
	stageDir    = ".init"
	stageMarker = "complete"
)

// Files that are founded, beside those that the configuration names.
const (
	rootFile    = "root.pem"
	rootKeyFile = "keys/root.pem"
	rootCRLFile = "root.crl"
	ownFile     = "tls.pem"
)

// InitSpec says what to found.
type InitSpec struct {
	Dir       string
	Name      string           // the CA's name; empty: "Chancery" and the host's name
	Hostnames []string         // more names for Chancery's own TLS certificate
	KeyType   keystore.KeyKind // of root and issuer; empty: ec256
	Set       []string         // as in Options; Init writes them into the file
	Env       []string         // as in Options
	Now       func() time.Time // nil: time.Now
	urls      *urls            // where the listeners are, when they are open already
	keep      bool             // write Set into the file
}

// ErrNotEmpty says that there is something in the directory already.
var ErrNotEmpty = errors.New("the directory is not empty")

// Init founds a directory: root, issuer, Chancery's own TLS certificate,
// passphrase, operator's token, configuration, database. It refuses a
// directory with anything in it.
func Init(ctx context.Context, spec InitSpec) error {
	dir, err := filepath.Abs(spec.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, modeDir); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	held, err := lock(dir, true)
	if err != nil {
		return err
	}
	defer held.Close() //nolint:errcheck // gives the lock back
	state, err := stateOf(dir)
	if err != nil {
		return err
	}
	if state != vacant {
		return fmt.Errorf("%w: %s; name another one with --dir", ErrNotEmpty, dir)
	}
	spec.Dir, spec.keep = dir, true
	return found(ctx, spec)
}

type dirState int

const (
	vacant   dirState = iota // empty, or with an unfinished founding that is begun again
	whole                    // has its configuration
	moving                   // founded, not yet moved into place
	occupied                 // something else lies there
)

// stateOf says what a directory is. Our own lock file and a file system's
// lost+found don't count.
func stateOf(dir string) (dirState, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return vacant, nil
	}
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(filepath.Join(dir, stageDir, stageMarker)); err == nil {
		return moving, nil
	}
	state := vacant
	for _, e := range entries {
		switch e.Name() {
		case lockFile, stageDir, "lost+found":
		case configFile:
			return whole, nil
		default:
			state = occupied
		}
	}
	return state, nil
}

// ensureFounded is for `serve`: it founds an empty directory with defaults and
// ends a founding that was interrupted. The lock must be held.
func ensureFounded(ctx context.Context, spec InitSpec) (founded bool, err error) {
	state, err := stateOf(spec.Dir)
	switch {
	case err != nil:
		return false, err
	case state == whole:
		return false, nil
	case state == moving:
		return true, settle(spec.Dir)
	case state == occupied:
		return false, fmt.Errorf("%w and has no %s: %s; name another one with --dir", ErrNotEmpty, configFile, spec.Dir)
	}
	return true, found(ctx, spec)
}

// found makes everything in the stage and moves it into place.
func found(ctx context.Context, spec InitSpec) error {
	stage := filepath.Join(spec.Dir, stageDir)
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	if err := makeStage(ctx, stage, spec); err != nil {
		return errors.Join(err, os.RemoveAll(stage))
	}
	return settle(spec.Dir) // and if that fails, the next start goes on with it
}

func makeStage(ctx context.Context, stage string, spec InitSpec) error {
	if err := os.MkdirAll(filepath.Join(stage, "keys"), modeDir); err != nil {
		return err
	}
	c, err := stageConfig(stage, spec)
	if err != nil {
		return err
	}
	if err := foundHierarchy(c, spec); err != nil {
		return err
	}
	if _, err := admin.CreateToken(c.Admin.Token); err != nil {
		return err
	}
	if err := foundStore(ctx, c, spec); err != nil {
		return err
	}
	return writeFile(filepath.Join(stage, stageMarker), nil, modeSecret)
}

// stageConfig writes the configuration and the passphrase, and reads them
// back as everybody will.
func stageConfig(stage string, spec InitSpec) (*Config, error) {
	var m Mistakes
	hostnames := slices.Clone(spec.Hostnames)
	wish := layConfig(&m, stage, nil, spec.Set, spec.Env)
	for _, h := range hostnames {
		if _, err := hostIdentifier(h); err != nil {
			m.add(place{source: "--hostname"}, h, "can't be in a certificate: %s", err)
		}
	}
	if err := m.err(); err != nil {
		return nil, err
	}
	written := wish.Keystore.Passphrase
	if written.File == filepath.Join(stage, passphraseFile) {
		if err := writeFile(written.File, []byte(randomText()+"\n"), modeSecret); err != nil {
			return nil, err
		}
		written.File = passphraseFile
	}
	file, err := newConfigFile(hostnames, written)
	if err == nil && spec.keep {
		file, err = withSettings(file, spec.Set)
	}
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(stage, configFile), file, modeSecret); err != nil {
		return nil, err
	}
	return ReadConfig(stage, spec.Set, spec.Env)
}

const passphraseFile = "passphrase"

// foundHierarchy makes root and issuer, and the root's CRL: its key may be
// taken away from here on.
func foundHierarchy(c *Config, spec InitSpec) error {
	passphrase, err := c.Passphrase()
	if err != nil {
		return err
	}
	kind := spec.KeyType
	if kind == "" {
		kind = keystore.EC256
	}
	rootKey, err := keystore.Create("file:"+filepath.Join(c.Dir, rootKeyFile), kind, passphrase)
	if err != nil {
		return fmt.Errorf("making the root's key: %w", err)
	}
	key, err := keystore.Create(c.Keystore.Issuer, kind, passphrase)
	if err != nil {
		return fmt.Errorf("making the issuer's key: %w", err)
	}
	name, now := spec.Name, clock(spec.Now)
	if name == "" {
		name = defaultName()
	}
	root, err := ca.NewRoot(ca.RootSpec{Name: name, Key: rootKey, Now: now})
	if err != nil {
		return fmt.Errorf("making the root: %w", err)
	}
	issuer, err := ca.NewIntermediate(ca.IntermediateSpec{
		Name: name, Public: key.Public(), Root: root, RootKey: rootKey, PublishURL: spec.publishURL(c), Now: now,
	})
	if err != nil {
		return fmt.Errorf("making the issuer: %w", err)
	}
	list, err := ca.RootCRL(root, rootKey, 1, now, 0)
	if err != nil {
		return fmt.Errorf("making the root's CRL: %w", err)
	}
	return errors.Join(
		writeFile(filepath.Join(c.Dir, rootFile), certificatesPEM(root.Raw), modePublic),
		writeFile(filepath.Join(c.Dir, rootCRLFile), list, modePublic),
		writeFile(c.Keystore.Certificate, certificatesPEM(issuer.Raw), modePublic),
	)
}

func (s InitSpec) publishURL(c *Config) string {
	if s.urls != nil {
		return s.urls.publish
	}
	return c.Publish.URL
}

// foundStore makes the store and issues Chancery's own TLS certificate into it.
func foundStore(ctx context.Context, c *Config, spec InitSpec) error {
	at := urls{acme: c.ACME.URL, publish: c.Publish.URL}
	if spec.urls != nil {
		at = *spec.urls
	}
	if path, ok := sqliteFile(c.Storage.DSN); ok { // see storeIsThere
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, modeSecret)
		if err != nil {
			return fmt.Errorf("making the database: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("making the database: %w", err)
		}
	}
	p, err := openParts(ctx, c, at, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return err
	}
	own, err := openOwn(p)
	if err == nil {
		err = own.ensure(ctx, clock(spec.Now))
	}
	return errors.Join(err, p.close())
}

// settle moves a complete stage into place. Each step may be repeated.
func settle(dir string) error {
	stage := filepath.Join(dir, stageDir)
	entries, err := os.ReadDir(stage)
	if err != nil {
		return err
	}
	if err := syncDir(stage); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == configFile || e.Name() == stageMarker {
			continue
		}
		if err := os.Rename(filepath.Join(stage, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := syncDir(dir); err != nil { // before the configuration says that all is there
		return err
	}
	err = os.Rename(filepath.Join(stage, configFile), filepath.Join(dir, configFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // moved before an interruption
		return err
	}
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	return syncDir(dir)
}

// clock reads now, in UTC.
func clock(now func() time.Time) time.Time {
	if now == nil {
		now = time.Now
	}
	return now().UTC()
}

// defaultName names the CA after its host, so that two of them can be told
// apart in a trust store.
func defaultName() string {
	host := machineName()
	if host == "" || host == "localhost" {
		return "Chancery"
	}
	return "Chancery " + host
}

// machineName is the host's name in lower case, empty if it has none that can
// stand in a certificate.
func machineName() string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if id, err := ca.ParseIdentifier("dns", host); err != nil || id.IsWildcard() {
		return ""
	}
	return host
}
