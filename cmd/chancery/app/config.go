package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chancery/acme/validate"
	"chancery/ca"
)

// Config is the whole configuration, checked, with absolute paths. Only
// ReadConfig makes one. keys.go says what each field means.
type Config struct {
	Dir        string // absolute
	ACME       ACMEConfig
	Publish    PublishConfig
	Admin      AdminConfig
	Storage    StorageConfig
	Validation ValidationConfig
	Keystore   KeystoreConfig
	Limits     LimitsConfig
	CRL        CRLConfig
	OCSP       OCSPConfig
	Log        LogConfig
	Policy     PolicyConfig

	DefaultProfile string
	Profiles       map[string]*ca.Profile

	Warnings []string // what is not wrong and yet perhaps not meant

	places map[string]place // where each key was set last
	lookup func(string) (string, bool)
}

// ACMEConfig is the ACME door.
type ACMEConfig struct {
	Listen          string
	URL             string // without a slash at its end
	Hostnames       []string
	TermsOfService  string
	Website         string
	CAAIdentities   []string
	ExternalAccount string // off, optional, required
	Wait            time.Duration
	MaxConnections  int
	PerIP           int // of them from one network, 0: no bound
}

// PublishConfig is the door for relying parties.
type PublishConfig struct {
	Listen         string
	URL            string // without a slash at its end
	MaxConnections int
	PerIP          int // of them from one network, 0: no bound
}

// AdminConfig is the operator's door.
type AdminConfig struct {
	Listen string
	Token  string // path
}

// StorageConfig says where everything is kept. DSN or DSNFrom, not both.
type StorageConfig struct {
	DSN     string
	DSNFrom Secret
}

// ValidationConfig bounds what is looked up on the network.
type ValidationConfig struct {
	Resolvers       []string
	Zones           map[string][]string // servers of their own, by zone
	ResolverCA      string              // path, empty: the system's roots
	DNS0x20         bool
	DNSSEC          string // off, require-ad
	HTTPPort        int
	TLSPort         int
	Timeout         time.Duration
	MaxConcurrent   int
	Reuse           time.Duration
	DeniedNetworks  []netip.Prefix
	AllowedNetworks []netip.Prefix
	Perspectives    []validate.RemoteConfig
	Quorum          int
}

// KeystoreConfig says which key signs, and as whom.
type KeystoreConfig struct {
	Issuer      string // URI
	Certificate string // path: the issuer's certificate, then its parents without the root
	Chains      []string
	Passphrase  Secret
	TLS         string // URI of the key of Chancery's own TLS certificate
}

// CRLConfig is how long a list is good, and when the next is made.
type CRLConfig struct{ Validity, Refresh time.Duration }

// OCSPConfig is how long an answer is good.
type OCSPConfig struct{ Validity time.Duration }

// LogConfig is how much is logged, and how.
type LogConfig struct{ Level, Format string }

// PolicyConfig says what may be certified, whatever a profile says.
type PolicyConfig struct {
	Rules       string
	WeakKeys    []string // paths of lists
	DeniedNames []string // paths of lists

	rules  *ca.Rules
	weak   *ca.WeakKeys // what stands in the lists
	denied *ca.NameList
}

// Names of sources in messages.
const (
	configFile = "chancery.yaml"
	sourceFlag = "--set"
	sourceEnv  = "environment"
	envPrefix  = "CHANCERY_"
)

// defaultConfig is what holds when nobody says anything. testdata/config
// and the template of `chancery init` show the same values; a test compares.
func defaultConfig(dir string) *Config {
	return &Config{
		Dir: dir,
		ACME: ACMEConfig{
			Listen: "127.0.0.1:14000", URL: "https://localhost:14000",
			ExternalAccount: "off", Wait: time.Second, MaxConnections: 4096, PerIP: 1024,
		},
		Publish: PublishConfig{Listen: "127.0.0.1:14080", URL: "http://localhost:14080", MaxConnections: 4096, PerIP: 1024},
		Admin:   AdminConfig{Listen: "127.0.0.1:14090", Token: "admin.token"},
		Storage: StorageConfig{DSN: "sqlite:chancery.db"},
		Validation: ValidationConfig{
			DNS0x20: true, DNSSEC: validate.DNSSECOff,
			HTTPPort: 80, TLSPort: 443, Timeout: 10 * time.Second, MaxConcurrent: 100, Reuse: 10 * day,
		},
		Keystore: KeystoreConfig{
			Issuer: "file:keys/issuer.pem", Certificate: "issuer.pem", TLS: "file:keys/tls.pem",
			Passphrase: Secret{File: "passphrase"},
		},
		Limits:         defaultLimits(),
		CRL:            CRLConfig{Validity: day, Refresh: 6 * time.Hour},
		OCSP:           OCSPConfig{Validity: day},
		Log:            LogConfig{Level: "info", Format: "text"},
		Policy:         PolicyConfig{Rules: ca.PrivateStrict},
		DefaultProfile: "server",
		Profiles:       map[string]*ca.Profile{},
		places:         map[string]place{},
	}
}

// ReadConfig reads DIR/chancery.yaml, then the environment ("NAME=value"),
// then --set flags, each over the one before, and checks all of it. Its error
// is a *Mistakes, which has every mistake, unless the file could not be read
// at all.
func ReadConfig(dir string, set, env []string) (*Config, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(abs, configFile)
	src, err := readBounded(path, maxConfigSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no Chancery directory: it has no %s; `chancery init --dir %s` makes one: %w", abs, configFile, dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be read: %w", err)
	}
	return parseConfig(abs, src, set, env)
}

// parseConfig is ReadConfig without the file system.
func parseConfig(dir string, src []byte, set, env []string) (*Config, error) {
	var m Mistakes
	c := layConfig(&m, dir, src, set, env)
	c.checkSecrets(&m)
	c.readLists(&m)
	if err := m.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// layConfig lays file, environment and flags over the defaults and checks all
// but the secrets.
func layConfig(m *Mistakes, dir string, src []byte, set, env []string) *Config {
	c := defaultConfig(dir)
	c.lookup = lookupIn(env)
	fields := readYAML(configFile, src, m)
	for _, f := range fields {
		c.apply(m, f.name, f.at, f.value)
	}
	if src != nil && len(fields) == 0 && m.err() == nil {
		// Emptied or cut, not meant: with it went whatever was stricter than
		// the defaults (SAFETY I84).
		m.add(place{source: configFile, line: 1}, "", "has no key in it; restore it, or write at least one, such as limits: {enabled: true}")
	}
	c.applyEnv(m, env)
	for i, s := range set {
		at := place{source: sourceFlag, order: i}
		name, text, ok := strings.Cut(s, "=")
		if !ok {
			m.add(at, s, "has no =; write --set %s=VALUE", s)
			continue
		}
		c.apply(m, strings.TrimSpace(name), at, value{at: at, kind: scalar, text: text})
	}
	c.resolve()
	c.check(m)
	return c
}

func lookupIn(env []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, e := range slices.Backward(env) {
			if n, v, ok := strings.Cut(e, "="); ok && n == name {
				return v, true
			}
		}
		return "", false
	}
}

// apply sets the key `name`, or all keys below it when v is a map.
func (c *Config) apply(m *Mistakes, name string, at place, v value) {
	if v.kind == refused {
		return
	}
	if k, ok := keysByName[name]; ok {
		if err := k.set(c, v); err != nil {
			m.add(at, name, "%s", err)
			return
		}
		c.places[name] = at
		return
	}
	if rest, ok := strings.CutPrefix(name, "profiles."); ok {
		c.applyProfile(m, rest, at, v)
		return
	}
	if name != "profiles" && !isSection(name) {
		m.add(at, name, "no such key%s", suggest(name))
		return
	}
	if v.kind == scalar && at.outside() {
		if inner, err := v.inner(); err == nil {
			v = inner
		}
	}
	switch v.kind {
	case nothing:
	case mapping:
		for _, f := range v.fields {
			c.apply(m, name+"."+f.name, f.at, f.value)
		}
	default:
		m.add(at, name, "wants a map of keys, found %s", v.kind)
	}
}

// applyProfile sets profiles.NAME or profiles.NAME.KEY.
func (c *Config) applyProfile(m *Mistakes, rest string, at place, v value) {
	name, key, deeper := strings.Cut(rest, ".")
	full := "profiles." + rest
	if v.kind == refused {
		return
	}
	if !validProfileName(name) {
		m.add(at, full, "a profile's name is 1 to 64 characters of a-z, 0-9, - and _")
		return
	}
	p, ok := c.Profiles[name]
	if !ok {
		made := ca.DefaultProfile() // what the file doesn't say is as in the default
		made.Name, made.Description = name, ""
		p = &made
		c.Profiles[name] = p
		c.places["profiles."+name] = at
	}
	if !deeper {
		switch v.kind {
		case nothing:
		case mapping:
			for _, f := range v.fields {
				c.applyProfile(m, name+"."+f.name, f.at, f.value)
			}
		default:
			m.add(at, full, "wants a map of keys, found %s", v.kind)
		}
		return
	}
	for _, k := range profileKeys {
		if k.name == key {
			if err := k.set(p, v); err != nil {
				m.add(at, full, "%s", err)
				return
			}
			c.places[full] = at
			return
		}
	}
	m.add(at, full, "a profile has no such key; it has %s", profileKeyNames())
}

func validProfileName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// applyEnv sets what CHANCERY_… variables say. One that is no key is only
// warned about: a container platform adds variables of its own making
// (CHANCERY_SERVICE_HOST and the like) under the service's name. An empty one
// is as one that is not set: composed environments pass them on so.
func (c *Config) applyEnv(m *Mistakes, env []string) {
	for i, e := range env {
		name, text, ok := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ok || !ours || rest == "DIR" || text == "" {
			continue
		}
		at := place{source: sourceEnv, order: i}
		v := value{at: at, kind: scalar, text: text}
		if key, ok := keysByEnv[name]; ok {
			c.apply(m, key, at, v)
			continue
		}
		if key, ok := profileKeyOfEnv(rest); ok {
			c.apply(m, key, at, v)
			continue
		}
		c.Warnings = append(c.Warnings, "the environment variable "+name+" begins like a key of Chancery and is none; it is not used")
	}
}

// resolve makes paths absolute, relative ones from the directory.
func (c *Config) resolve() {
	c.Admin.Token = under(c.Dir, c.Admin.Token)
	c.Keystore.Certificate = under(c.Dir, c.Keystore.Certificate)
	c.Keystore.Passphrase.File = under(c.Dir, c.Keystore.Passphrase.File)
	c.Validation.ResolverCA = under(c.Dir, c.Validation.ResolverCA)
	c.Storage.DSNFrom.File = under(c.Dir, c.Storage.DSNFrom.File)
	for i, p := range c.Keystore.Chains {
		c.Keystore.Chains[i] = under(c.Dir, p)
	}
	for _, paths := range [][]string{c.Policy.WeakKeys, c.Policy.DeniedNames} {
		for i, p := range paths {
			paths[i] = under(c.Dir, p)
		}
	}
	c.Keystore.Issuer = underURI(c.Dir, c.Keystore.Issuer)
	c.Keystore.TLS = underURI(c.Dir, c.Keystore.TLS)
	if path, ok := strings.CutPrefix(c.Storage.DSN, "sqlite:"); ok && path != ":memory:" && path != "" {
		c.Storage.DSN = "sqlite:" + under(c.Dir, path)
	}
}

func underURI(dir, uri string) string {
	if path, ok := strings.CutPrefix(uri, "file:"); ok {
		return "file:" + under(dir, path)
	}
	return uri
}

// Passphrase fetches the passphrase of the key files.
func (c *Config) Passphrase() ([]byte, error) {
	b, err := c.Keystore.Passphrase.Read(c.lookup)
	if err != nil {
		return nil, fmt.Errorf("keystore.passphrase %w", err)
	}
	return b, nil
}

// DSN fetches the store's address, which may have a password in it.
func (c *Config) DSN() (string, error) {
	if c.Storage.DSNFrom.IsZero() {
		return c.Storage.DSN, nil
	}
	b, err := c.Storage.DSNFrom.Read(c.lookup)
	if err != nil {
		return "", fmt.Errorf("storage.dsn %w", err)
	}
	return string(b), nil
}
