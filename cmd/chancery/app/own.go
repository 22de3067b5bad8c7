package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"chancery/ca"
	"chancery/ca/keystore"
)

// own is Chancery's own TLS certificate. It is issued like any other, through
// ca.Authority, and so it stands in the store, is linted, and can be revoked.
// Its key stays the same over renewals, so that only one file (tls.pem)
// changes and never disagrees with another after a crash; who wants a new key
// deletes keys/tls.pem and restarts.
type own struct {
	parts *parts
	key   keystore.Key
	path  string // tls.pem
	names []ca.Identifier

	current atomic.Pointer[tls.Certificate]
}

const (
	ownEvery = time.Hour // between two looks at the certificate's age
	ownRetry = time.Minute
)

func openOwn(p *parts) (*own, error) {
	o := &own{parts: p, path: filepath.Join(p.config.Dir, ownFile)}
	uri := p.config.Keystore.TLS
	var err error
	if _, serr := os.Stat(strings.TrimPrefix(uri, "file:")); errors.Is(serr, fs.ErrNotExist) {
		o.key, err = keystore.Create(uri, keystore.EC256, p.passphrase)
	} else {
		o.key, err = keystore.Open(uri, p.passphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("keystore.tls: %w", err)
	}
	for _, h := range p.ownHosts() {
		id, err := hostIdentifier(h)
		if err != nil {
			return nil, fmt.Errorf("the name %q can't stand in Chancery's own TLS certificate: %w", h, err)
		}
		if !slices.Contains(o.names, id) {
			o.names = append(o.names, id)
		}
	}
	return o, nil
}

// ownHosts are the names by which Chancery is reached: those of its URLs and
// of the configuration, localhost, and the machine's own.
func (p *parts) ownHosts() []string {
	hosts := []string{}
	if u, err := url.Parse(p.urls.acme); err == nil {
		hosts = append(hosts, u.Hostname())
	}
	hosts = append(hosts, "localhost", "127.0.0.1", "::1")
	if name := machineName(); name != "" {
		hosts = append(hosts, name)
	}
	if host, _, err := net.SplitHostPort(p.config.ACME.Listen); err == nil {
		if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
			hosts = append(hosts, a.WithZone("").String())
		}
	}
	return append(hosts, p.config.ACME.Hostnames...)
}

// ensure loads the certificate, and issues another one when there is none
// that will do until it is looked at again.
func (o *own) ensure(ctx context.Context, now time.Time) error {
	why := o.load(now)
	if why == nil {
		return nil
	}
	o.parts.log.InfoContext(ctx, "issuing Chancery's own TLS certificate", "because", why.Error())
	if err := o.issue(ctx, now); err != nil {
		return fmt.Errorf("issuing Chancery's own TLS certificate: %w", err)
	}
	return o.load(now)
}

// load reads tls.pem and says what is wrong with it. A certificate that only
// should be renewed is used all the same.
func (o *own) load(now time.Time) error {
	chain, err := readChain(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is none yet")
	}
	if err != nil {
		return err
	}
	leaf := chain[0]
	spki, err := x509.MarshalPKIXPublicKey(o.key.Public())
	switch {
	case err != nil:
		return err
	case !bytes.Equal(spki, leaf.RawSubjectPublicKeyInfo):
		return errors.New("it is for another key")
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return fmt.Errorf("it is valid from %s to %s", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	case !bytes.Equal(leaf.RawIssuer, o.parts.issuer.Certificate().RawSubject):
		return errors.New("it is of another issuer")
	}
	if err := leaf.CheckSignatureFrom(o.parts.issuer.Certificate()); err != nil {
		return errors.New("it is of another issuer")
	}
	for _, id := range o.names {
		if !covers(leaf, id) {
			return fmt.Errorf("it has no %s", id)
		}
	}
	c := &tls.Certificate{PrivateKey: o.key, Leaf: leaf}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	o.current.Store(c)
	if due := renewAt(leaf); !now.Before(due) {
		return fmt.Errorf("two thirds of its life were over at %s", due.Format(time.RFC3339))
	}
	return nil
}

func covers(leaf *x509.Certificate, id ca.Identifier) bool {
	if id.Type() == ca.IP {
		return slices.ContainsFunc(leaf.IPAddresses, func(ip net.IP) bool { return ip.String() == id.Value() })
	}
	return slices.Contains(leaf.DNSNames, id.Value())
}

// renewAt is after two thirds of the life, as ACME clients do.
func renewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

func (o *own) issue(ctx context.Context, now time.Time) error {
	var template x509.CertificateRequest
	for _, id := range o.names {
		if id.Type() == ca.IP {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(id.Value()))
		} else {
			template.DNSNames = append(template.DNSNames, id.Value())
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, o.key)
	if err != nil {
		return err
	}
	csr, err := ca.ParseCSR(der)
	if err != nil {
		return err
	}
	cert, err := o.parts.authority.Issue(ctx, &ca.Request{By: ca.System("tls"), Names: o.names, CSR: csr, Now: now})
	if err != nil {
		return err
	}
	chains, err := o.parts.authority.Chains(cert)
	if err != nil {
		return err
	}
	return writeFile(o.path, chains[0], modePublic)
}

// get is tls.Config.GetCertificate.
func (o *own) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := o.current.Load(); c != nil {
		return c, nil
	}
	return nil, errors.New("there is no TLS certificate yet")
}

// run renews the certificate until ctx ends.
func (o *own) run(ctx context.Context, now func() time.Time) {
	wait := ownEvery
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		wait = ownEvery
		if err := o.ensure(ctx, clock(now)); err != nil && ctx.Err() == nil {
			o.parts.log.ErrorContext(ctx, "renewing Chancery's own TLS certificate failed; trying again", slog.Any("error", err), slog.Duration("in", ownRetry))
			wait = ownRetry
		}
	}
}
