package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"chancery/acme/api"
	"chancery/crl"
	"chancery/ocsp"
)

// Names of the doors; a door's name is the section of its keys.
const (
	acmeDoor    = "acme"
	publishDoor = "publish"
	adminDoor   = "admin"
)

// Bounds of every door (invariant 8). A client that sends or reads slower
// than this is cut off (SAFETY A2 and rows 12 and 13).
const (
	readHeaderTime = 5 * time.Second
	readTime       = 15 * time.Second // header and body; bodies are at most 64 KiB
	idleTime       = 2 * time.Minute  // ACME clients pause between their polls
	maxHeader      = 16 << 10
	maxAdmin       = 256 // connections to the operator's door
)

// writeTimes bound an answer, counted from the end of its request's header.
var writeTimes = map[string]time.Duration{
	acmeDoor:    45 * time.Second, // readTime, the bounded wait, and a slow store
	publishDoor: 2 * time.Minute,  // a CRL of megabytes over a slow line
	adminDoor:   time.Minute,
}

// door is one listener with its server.
type door struct {
	name     string
	listener net.Listener
	server   *http.Server
	tls      *tls.Config // nil: plain HTTP
}

// listen binds the three addresses, before anything is opened: whoever can't
// have them should not touch the store.
func (a *App) listen(c *Config) error {
	for _, x := range []struct {
		name, address string
		most, perIP   int
	}{
		{acmeDoor, c.ACME.Listen, c.ACME.MaxConnections, c.ACME.PerIP},
		{publishDoor, c.Publish.Listen, c.Publish.MaxConnections, c.Publish.PerIP},
		{adminDoor, c.Admin.Listen, maxAdmin, 0},
	} {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", x.address)
		if err != nil {
			return listenError(x.name, x.address, err)
		}
		// What comes beyond waits in the kernel's queue, which is bounded too.
		a.doors = append(a.doors, &door{name: x.name, listener: netutil.LimitListener(limitNetworks(l, x.perIP), x.most)})
	}
	return nil
}

// listenError says which key to change.
func listenError(name, address string, err error) error {
	key := name + ".listen"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: something else listens on %s; end it, or choose another address with --set %s=HOST:PORT", key, address, key)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: no right to listen on %s; choose a port from 1024 on with --set %s=HOST:PORT, or grant CAP_NET_BIND_SERVICE", key, address, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %s is no address of this machine; choose another with --set %s=HOST:PORT", key, address, key)
	}
	return fmt.Errorf("%s: can't listen on %s: %w", key, address, err)
}

// address is where a door listens.
func (a *App) address(name string) string {
	for _, d := range a.doors {
		if d.name == name {
			return d.listener.Addr().String()
		}
	}
	return ""
}

// hang puts the handlers into the doors.
func (a *App) hang() error {
	front, err := a.acmeHandler()
	if err != nil {
		return err
	}
	publish, err := a.publishHandler()
	if err != nil {
		return err
	}
	handlers := map[string]http.Handler{acmeDoor: front, publishDoor: publish, adminDoor: a.parts.door}
	for _, d := range a.doors {
		d.server = &http.Server{
			Handler:           handlers[d.name],
			ReadHeaderTimeout: readHeaderTime, ReadTimeout: readTime, WriteTimeout: writeTimes[d.name], IdleTimeout: idleTime,
			MaxHeaderBytes: maxHeader,
			// What strangers do wrong in TLS or HTTP is no trouble of ours.
			ErrorLog:  slog.NewLogLogger(a.log.With("door", d.name).Handler(), slog.LevelDebug),
			Protocols: new(http.Protocols),
		}
		// HTTP/2 costs more than twice the time here and no ACME client needs it.
		d.server.Protocols.SetHTTP1(true)
		if d.name == acmeDoor {
			d.tls = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: a.own.get}
		}
	}
	return nil
}

func (a *App) acmeHandler() (http.Handler, error) {
	p, c := a.parts, a.parts.config
	profiles := make(map[string]string, len(c.Profiles))
	for name, profile := range c.Profiles {
		profiles[name] = profile.Description
	}
	return api.New(api.Config{
		Service: p.service, BaseURL: p.urls.acme, Log: a.log, Observe: p.metrics.Request,
		Meta: api.Meta{
			TermsOfService: c.ACME.TermsOfService, Website: c.ACME.Website, CAAIdentities: c.caaIdentities(),
			ExternalAccountRequired: c.ACME.ExternalAccount == "required", Profiles: profiles,
		},
	})
}

// publishHandler serves what certificates point to. The OCSP responder gets
// the path as it was sent: in base64, "//" means something.
func (a *App) publishHandler() (http.Handler, error) {
	p := a.parts
	responder, err := ocsp.New(ocsp.Config{
		Store: p.store, Issuers: p.authority.Issuers, Validity: p.config.OCSP.Validity, Log: a.log,
		Observe: p.metrics.OCSP,
	})
	if err != nil {
		return nil, err
	}
	rootID := keyID(p.root.SubjectKeyId)
	files := []crl.File{
		{Path: "/" + rootFile, Type: crl.TypePEM, Content: certificatesPEM(p.root.Raw), Made: p.root.NotBefore},
		{Path: "/issuer/" + rootID + ".der", Type: crl.TypeCertificate, Content: p.root.Raw, Made: p.root.NotBefore},
	}
	for _, i := range p.authority.Issuers {
		files = append(files, crl.File{Path: "/issuer/" + i.ID() + ".der", Type: crl.TypeCertificate, Content: i.Certificate().Raw, Made: i.Certificate().NotBefore})
	}
	if list := p.rootList; list != nil {
		files = append(files, crl.File{Path: crl.Path(rootID), Type: crl.TypeCRL, Content: list.Raw, Made: list.ThisUpdate})
	}
	lists := p.publisher.Handler(files...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.EscapedPath(); path == ocsp.Path || strings.HasPrefix(path, ocsp.Path+"/") {
			responder.ServeHTTP(w, r)
			return
		}
		lists.ServeHTTP(w, r)
	}), nil
}

// keyID is how URLs name a CA: the first 16 hexadecimal digits of its key's
// identifier, as ca.Issuer.ID.
func keyID(ski []byte) string {
	const octets = 8
	return fmt.Sprintf("%x", ski[:min(len(ski), octets)])
}

func (d *door) serve() error {
	l := d.listener
	if d.tls != nil {
		l = tls.NewListener(l, d.tls)
	}
	if err := d.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s.listen: %w", d.name, err)
	}
	return nil
}

// stop answers what is in flight. What is not answered when grace ends is cut.
func (d *door) stop(grace context.Context) error {
	err := d.server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(fmt.Errorf("%s: requests were still not answered %s after the stop, and were cut off", d.name, shutdownGrace), d.server.Close())
	}
	return err
}

func (d *door) close() error {
	if err := d.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
