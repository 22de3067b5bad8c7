package app

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chancery/acme"
	"chancery/acme/api"
	"chancery/acme/validate"
	"chancery/admin"
	"chancery/ca"
	"chancery/ca/keystore"
	"chancery/crl"
	"chancery/storage"
)

// maxPEM bounds a file of certificates: a chain is a handful of them.
const maxPEM = 256 << 10

// urls are the bases under which the doors are reached, without port 0.
type urls struct{ acme, publish string }

// parts is everything but the listeners: what `serve`, the founding of a
// directory and the operator's door in process have in common.
type parts struct {
	config     *Config
	urls       urls
	log        *slog.Logger
	passphrase []byte
	root       *x509.Certificate
	rootList   *x509.RevocationList // nil: none
	store      *storage.DB
	issuer     *ca.Issuer
	authority  *ca.Authority
	service    *acme.Service
	publisher  *crl.Publisher
	quorum     *validate.Quorum // nil: this CA is the only perspective
	metrics    *admin.Metrics
	door       http.Handler // the operator's
	token      string
}

// openParts opens store and keys and puts the engine together.
func openParts(ctx context.Context, c *Config, at urls, log *slog.Logger) (_ *parts, err error) {
	p := &parts{config: c, urls: at, log: log, metrics: admin.NewMetrics(Version())}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.passphrase, err = c.Passphrase(); err != nil {
		return nil, err
	}
	if p.token, err = operatorToken(c.Admin.Token); err != nil {
		return nil, err
	}
	if p.root, err = readRoot(c.Dir); err != nil {
		return nil, err
	}
	if p.rootList, err = readRootList(c.Dir, p.root); err != nil {
		return nil, err
	}
	if p.issuer, err = openIssuer(c, at.publish, p.passphrase); err != nil {
		return nil, err
	}
	dsn, err := c.DSN()
	if err != nil {
		return nil, err
	}
	if err := storeIsThere(dsn); err != nil {
		return nil, err
	}
	if p.store, err = storage.Open(ctx, dsn); err != nil {
		return nil, fmt.Errorf("opening the store (storage.dsn): %w", err)
	}
	if err := p.store.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("bringing the store's tables up to date: %w", err)
	}
	p.authority = &ca.Authority{
		Issuers: []*ca.Issuer{p.issuer}, Profiles: c.Profiles, Default: c.DefaultProfile,
		Ledger: p.store, AccountKeys: accountKeys(p.store), BlockedKeys: blockedKeys(p.store),
		Rules: c.Policy.rules, DeniedNames: c.Policy.denied, WeakKeys: c.Policy.weak,
		Perspectives: c.perspectivePolicy(),
	}
	if err := p.authority.Verify(clock(nil)); err != nil {
		return nil, fmt.Errorf("the signing core is not fit to sign: %w", err)
	}
	return p, p.openEngine()
}

// storeIsThere refuses to begin anew where a database was: without it, what was
// issued is forgotten, and what was revoked would leave the next CRL
// (invariant 4). The founding makes its database itself, before.
func storeIsThere(dsn string) error {
	path, ok := sqliteFile(dsn)
	if !ok {
		return nil
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return fmt.Errorf("storage.dsn: there is no database %s; restore it from its backup. To begin with an empty one, and forget all that was issued and revoked, make an empty file there", path)
}

// sqliteFile is the path of the database, false if it is no file.
func sqliteFile(dsn string) (string, bool) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	return path, ok && path != ":memory:"
}

// openEngine wires engine, publication and the operator's door.
func (p *parts) openEngine() error {
	c := p.config
	v, err := p.openValidator()
	if err != nil {
		return err
	}
	seal, err := newSealer(p.passphrase)
	if err != nil {
		return err
	}
	p.publisher, err = crl.New(crl.Config{
		Store: p.store, Certificates: p.store, Issuers: p.authority.Issuers,
		Validity: c.CRL.Validity, Refresh: c.CRL.Refresh, Log: p.log,
	})
	if err != nil {
		return err
	}
	revoked := func(_ *ca.Certificate, reason ca.Reason) {
		p.metrics.Revoked(admin.ReasonName(reason))
		p.publisher.Kick()
	}
	p.service = &acme.Service{
		Store: p.store, Validator: v, Issuer: p.authority, Sealer: seal, Log: p.log, Limits: c.Limits.rules(),
		Settings: acme.Settings{
			Terms: c.ACME.TermsOfService, ExternalAccount: acme.ExternalAccountPolicy(c.ACME.ExternalAccount),
			AuthorizationTTL: c.Validation.Reuse, Wait: c.ACME.Wait, ValidationTime: c.Validation.Timeout,
			Perspectives: c.perspectivePolicy(),
		},
		AccountURL: func(id string) string { return api.AccountURL(p.urls.acme, id) },
		Hooks: acme.Hooks{
			Validated: func(t acme.ChallengeType, outcome string, took time.Duration) {
				p.metrics.Validated(string(t), outcome, took)
			},
			Issued: p.metrics.Issued, Revoked: revoked,
			CAA: func(mode ca.CAAMode, outcome string) { p.metrics.CAA(string(mode), outcome) },
		},
	}
	leaf := p.issuer.Certificate()
	p.door, err = admin.New(admin.Config{
		Store: p.store, Engine: p.service, Chains: p.authority.Chains, Lists: p.store,
		Shards:  []crl.Shard{{Issuer: p.issuer.ID()}},
		Issuers: []admin.IssuerStatus{{ID: p.issuer.ID(), Active: true, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}},
		Fixed:   fixedLists(p.rootList),
		Metrics: p.metrics, Token: p.token, Hosts: p.ownHosts(), Log: p.log,
	})
	return err
}

// close may be called at any stage of opening, and twice.
func (p *parts) close() error {
	var err error
	if p.quorum != nil {
		p.quorum.Close()
	}
	if p.store != nil {
		err = p.store.Close()
		p.store = nil
	}
	clear(p.passphrase)
	return err
}

// accountKeys says whether a key is an account's: such a key is never
// certified (RFC 8555 section 11.1).
func accountKeys(store acme.AccountStore) func(context.Context, [32]byte) (bool, error) {
	return func(ctx context.Context, spki [32]byte) (bool, error) {
		_, err := store.AccountByKey(ctx, spki)
		if errors.Is(err, ca.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
}

// blockedKeys says whether a key is blocked.
func blockedKeys(store acme.KeyStore) func(context.Context, [32]byte) (bool, error) {
	return func(ctx context.Context, spki [32]byte) (bool, error) {
		_, err := store.BlockedKey(ctx, spki)
		if errors.Is(err, ca.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
}

// operatorToken reads the operator's token and makes one where there is none:
// deleting the file and restarting is how it is changed.
func operatorToken(path string) (string, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return admin.CreateToken(path)
	}
	return admin.ReadToken(path)
}

func readRoot(dir string) (*x509.Certificate, error) {
	path := filepath.Join(dir, rootFile)
	chain, err := readChain(path)
	if err != nil {
		return nil, err
	}
	if len(chain) != 1 {
		return nil, fmt.Errorf("%s must have one certificate in it, it has %d", path, len(chain))
	}
	return chain[0], nil
}

// openIssuer opens key and chain of the issuer and holds them against the root.
func openIssuer(c *Config, publishURL string, passphrase []byte) (*ca.Issuer, error) {
	chain, err := readChain(c.Keystore.Certificate)
	if err != nil {
		return nil, fmt.Errorf("keystore.certificate: %w", err)
	}
	var alternates [][]*x509.Certificate
	for _, path := range c.Keystore.Chains {
		alternate, err := readChain(path)
		if err != nil {
			return nil, fmt.Errorf("keystore.chains: %w", err)
		}
		alternates = append(alternates, alternate)
	}
	key, err := keystore.Open(c.Keystore.Issuer, passphrase)
	if err != nil {
		return nil, fmt.Errorf("keystore.issuer: %w", err)
	}
	issuer, err := ca.NewIssuer(ca.IssuerConfig{Chain: chain, Alternates: alternates, Key: key, PublishURL: publishURL})
	if err != nil {
		return nil, fmt.Errorf("the issuer of keystore.certificate and keystore.issuer: %w", err)
	}
	return issuer, nil
}

// resolverRoots are the CAs that verify resolvers asked over TLS. A file that
// can't be read must not end in the system's being trusted (SAFETY I84).
func resolverRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil // crypto/tls takes nil for the system's
	}
	chain, err := readChain(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range chain {
		pool.AddCert(cert)
	}
	return pool, nil
}

// readChain reads a PEM file of certificates and nothing else.
func readChain(path string) ([]*x509.Certificate, error) {
	rest, err := readBounded(path, maxPEM)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s has a PEM block %q; only certificates belong there", path, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", path, len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s has no certificate in PEM in it", path)
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("%s: what stands behind certificate %d is not PEM", path, len(chain))
	}
	return chain, nil
}
