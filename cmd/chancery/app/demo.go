package app

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/lego"
	legolog "github.com/go-acme/lego/v4/log"
	"github.com/go-acme/lego/v4/registration"
	"golang.org/x/crypto/ocsp"
)

// Bounds of the demonstration.
const (
	demoName   = "demo.localhost" // resolves to this machine (RFC 6761 section 6.3)
	demoTime   = 2 * time.Minute
	demoAwait  = 10 * time.Second // within which a revocation must show
	demoPoll   = 50 * time.Millisecond
	maxDemoCRL = 1 << 20
)

// Demo shows the whole loop in a temporary directory and says what it saw: a
// CA comes up, lego gets a certificate from it by http-01, renews it, revokes
// it, and OCSP and CRL say so. Its error is the first thing that was not as
// it has to be.
func Demo(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "chancery-demo-")
	if err != nil {
		return err
	}
	d := &demo{dir: dir, out: out}
	err = d.show(ctx)
	return errors.Join(err, d.end(), os.RemoveAll(dir))
}

type demo struct {
	dir string
	out io.Writer

	app     *App
	running chan error
	stop    context.CancelFunc
	web     *demoWeb
	client  *lego.Client
	acme    *http.Client
	http    *http.Client
	first   *certificate.Resource
	second  *certificate.Resource
	leaf    *x509.Certificate // of second
	issuer  *x509.Certificate
}

func (d *demo) show(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) (seen string, err error)
	}{
		{"a CA comes up", d.start},
		{"lego makes an account", d.register},
		{"lego obtains by http-01", d.obtain},
		{"the chain leads to the root", d.verify},
		{"lego renews", d.renew},
		{"OCSP says good", d.ocspGood},
		{"lego revokes", d.revoke},
		{"OCSP says revoked", d.ocspRevoked},
		{"the CRL lists it", d.listed},
	}
	began := time.Now()
	for i, s := range steps {
		at := time.Now()
		seen, err := s.do(ctx)
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.name, err)
		}
		if _, err := fmt.Fprintf(d.out, "%d  %-28s %6.0f ms  %s\n", i+1, s.name, float64(time.Since(at).Microseconds())/1000, seen); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(d.out, "All of it was so, in %.1f s.\n", time.Since(began).Seconds())
	return err
}

// end stops what start started.
func (d *demo) end() error {
	var err error
	if d.stop != nil {
		d.stop()
		err = <-d.running
	}
	if d.web != nil {
		err = errors.Join(err, d.web.server.Close())
	}
	return err
}

func (d *demo) start(ctx context.Context) (string, error) {
	var err error
	if d.web, err = newDemoWeb(); err != nil {
		return "", err
	}
	d.app, err = Open(ctx, Options{Dir: d.dir, Set: []string{
		"acme.listen=127.0.0.1:0", "acme.url=https://localhost:0", "publish.listen=127.0.0.1:0", "publish.url=http://localhost:0",
		"admin.listen=127.0.0.1:0", fmt.Sprintf("validation.http_port=%d", d.web.port),
	}})
	if err != nil {
		return "", err
	}
	var run context.Context
	run, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	d.running = make(chan error, 1)
	go func() { d.running <- d.app.Run(run) }()
	roots := x509.NewCertPool()
	roots.AddCert(d.app.parts.root)
	// Two clients: lego takes the one it is given for https alone.
	d.acme = &http.Client{Timeout: demoAwait, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	d.http = &http.Client{Timeout: demoAwait, Transport: &http.Transport{}}
	return d.app.DirectoryURL(), nil
}

func (d *demo) register(context.Context) (string, error) {
	legolog.Logger = log.New(io.Discard, "", 0)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	user := &demoUser{key: key}
	config := lego.NewConfig(user)
	config.CADirURL, config.HTTPClient, config.Certificate.KeyType = d.app.DirectoryURL(), d.acme, certcrypto.EC256
	if d.client, err = lego.NewClient(config); err != nil {
		return "", err
	}
	if err := d.client.Challenge.SetHTTP01Provider(d.web); err != nil {
		return "", err
	}
	user.account, err = d.client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	if err != nil {
		return "", err
	}
	return user.account.URI, nil
}

func (d *demo) obtain(context.Context) (string, error) {
	var err error
	d.first, err = d.client.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{demoName}, Bundle: true})
	if err != nil {
		return "", err
	}
	leaf, _, err := bundle(d.first)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, serial %032x, until %s", demoName, leaf.SerialNumber, leaf.NotAfter.Format(time.RFC3339)), nil
}

func (d *demo) verify(context.Context) (string, error) {
	leaf, issuer, err := bundle(d.first)
	if err != nil {
		return "", err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(d.app.parts.root)
	between.AddCert(issuer)
	chains, err := leaf.Verify(x509.VerifyOptions{DNSName: demoName, Roots: roots, Intermediates: between})
	if err != nil {
		return "", err
	}
	var names []string
	for _, c := range slices.Backward(chains[0]) {
		if c != leaf {
			names = append(names, c.Subject.CommonName)
		}
	}
	return strings.Join(append(names, demoName), " > "), nil
}

func (d *demo) renew(context.Context) (string, error) {
	first, _, err := bundle(d.first)
	if err != nil {
		return "", err
	}
	if d.second, err = d.client.Certificate.RenewWithOptions(*d.first, &certificate.RenewOptions{Bundle: true}); err != nil {
		return "", err
	}
	if d.leaf, d.issuer, err = bundle(d.second); err != nil {
		return "", err
	}
	if d.leaf.SerialNumber.Cmp(first.SerialNumber) == 0 {
		return "", errors.New("the renewed certificate is the old one")
	}
	return fmt.Sprintf("serial %032x", d.leaf.SerialNumber), nil
}

func (d *demo) revoke(context.Context) (string, error) {
	reason := uint(ocsp.Superseded)
	if err := d.client.Certificate.RevokeWithReason(d.second.Certificate, &reason); err != nil {
		return "", err
	}
	return "reason superseded", nil
}

func (d *demo) ocspGood(ctx context.Context) (string, error) { return d.ocsp(ctx, ocsp.Good, "good") }

func (d *demo) ocspRevoked(ctx context.Context) (string, error) {
	return d.ocsp(ctx, ocsp.Revoked, "revoked")
}

// ocsp waits until the responder that the certificate names gives the status.
func (d *demo) ocsp(ctx context.Context, want int, word string) (string, error) {
	if len(d.leaf.OCSPServer) == 0 {
		return "", errors.New("the certificate names no OCSP responder")
	}
	request, err := ocsp.CreateRequest(d.leaf, d.issuer, &ocsp.RequestOptions{Hash: crypto.SHA256})
	if err != nil {
		return "", err
	}
	url := d.leaf.OCSPServer[0]
	err = await(ctx, func() error {
		der, err := d.fetch(ctx, http.MethodPost, url, request)
		if err != nil {
			return err
		}
		answer, err := ocsp.ParseResponseForCert(der, d.leaf, d.issuer)
		if err != nil {
			return err
		}
		if answer.Status != want {
			return fmt.Errorf("%s has status %d, wanted %s", url, answer.Status, word)
		}
		return nil
	})
	return url + " says " + word, err
}

// listed waits until the CRL that the certificate names has it.
func (d *demo) listed(ctx context.Context) (string, error) {
	if len(d.leaf.CRLDistributionPoints) == 0 {
		return "", errors.New("the certificate names no CRL")
	}
	url := d.leaf.CRLDistributionPoints[0]
	var seen string
	err := await(ctx, func() error {
		der, err := d.fetch(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		if err := list.CheckSignatureFrom(d.issuer); err != nil {
			return err
		}
		if !slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(d.leaf.SerialNumber) == 0
		}) {
			return fmt.Errorf("%s, number %v, does not list it", url, list.Number)
		}
		seen = fmt.Sprintf("%s, number %v", url, list.Number)
		return nil
	})
	return seen, err
}

// await tries until it works or demoAwait is over.
func await(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, demoAwait)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", demoAwait, err)
		case <-time.After(demoPoll):
		}
	}
}

func (d *demo) fetch(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/ocsp-request")
	}
	answer, err := d.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxDemoCRL))
}

// bundle takes leaf and issuer out of what lego obtained.
func bundle(r *certificate.Resource) (leaf, issuer *x509.Certificate, err error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(r.Certificate); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) < 2 {
		return nil, nil, fmt.Errorf("got a chain of %d certificates, wanted at least 2", len(chain))
	}
	return chain[0], chain[1], nil
}

type demoUser struct {
	key     crypto.PrivateKey
	account *registration.Resource
}

func (u *demoUser) GetEmail() string                        { return "" }
func (u *demoUser) GetRegistration() *registration.Resource { return u.account }
func (u *demoUser) GetPrivateKey() crypto.PrivateKey        { return u.key }

// demoWeb is the web server that answers http-01. It keeps its port for the
// whole demonstration, so that no other program can get it in between.
type demoWeb struct {
	port   int
	server *http.Server
	mu     sync.Mutex
	tokens map[string]string
}

func newDemoWeb() (*demoWeb, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &demoWeb{tokens: map[string]string{}}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok { // as every TCP listener's
		w.port = tcp.Port
	}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: readHeaderTime}
	go w.server.Serve(l) //nolint:errcheck // ends with Close
	return w, nil
}

// Present implements lego's challenge.Provider.
func (w *demoWeb) Present(_, token, keyAuthorization string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens["/.well-known/acme-challenge/"+token] = keyAuthorization
	return nil
}

// CleanUp implements lego's challenge.Provider.
func (w *demoWeb) CleanUp(_, token, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.tokens, "/.well-known/acme-challenge/"+token)
	return nil
}

func (w *demoWeb) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	text, ok := w.tokens[r.URL.Path]
	w.mu.Unlock()
	if !ok {
		http.NotFound(answer, r)
		return
	}
	_, _ = io.WriteString(answer, text) // who hung up does not need it
}
