package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// noon is the instant of most tests.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// memory is a Ledger in memory, with the contract of ledger.go.
type memory struct {
	mu     sync.Mutex
	certs  map[Serial]Certificate
	orders map[string]Serial
	fail   func(method string) error // nil: nothing fails
}

func newMemory() *memory {
	return &memory{certs: map[Serial]Certificate{}, orders: map[string]Serial{}}
}

func (m *memory) failing(method string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(method)
}

func (m *memory) Reserve(_ context.Context, _ Actor, c *Certificate) (*Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Reserve"); err != nil {
		return nil, err
	}
	if c.Order != "" {
		if serial, ok := m.orders[c.Order]; ok {
			stored := m.certs[serial]
			return &stored, nil
		}
	}
	if _, ok := m.certs[c.Serial]; ok {
		return nil, ErrConflict
	}
	m.certs[c.Serial] = *c
	if c.Order != "" {
		m.orders[c.Order] = c.Serial
	}
	stored := *c
	return &stored, nil
}

func (m *memory) PutCertificate(_ context.Context, _ Actor, c *Certificate) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("PutCertificate"); err != nil {
		return err
	}
	stored, ok := m.certs[c.Serial]
	if !ok {
		return ErrNotFound
	}
	if stored.DER != nil {
		return ErrConflict
	}
	stored.DER, stored.TBS = c.DER, nil
	m.certs[c.Serial] = stored
	return nil
}

func (m *memory) Certificate(_ context.Context, serial Serial) (*Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Certificate"); err != nil {
		return nil, err
	}
	c, ok := m.certs[serial]
	if !ok {
		return nil, ErrNotFound
	}
	return &c, nil
}

func (m *memory) Revoke(_ context.Context, r Revocation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.certs[r.Serial]
	switch {
	case !ok:
		return ErrNotFound
	case c.Revocation != nil:
		return ErrAlreadyRevoked
	}
	c.Revocation = &Revoked{Serial: r.Serial, At: r.At, Reason: r.Reason, NotAfter: c.NotAfter}
	m.certs[r.Serial] = c
	return nil
}

var kinds = []string{"ec256", "ec384", "ec521", "rsa", "ed25519"}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// newTestKey makes a key. All RSA keys of one test run are the same two, for speed.
func newTestKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	curves := map[string]elliptic.Curve{"ec256": elliptic.P256(), "ec384": elliptic.P384(), "ec521": elliptic.P521()}
	switch kind {
	case "rsa":
		return rsaKey()
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		return key
	}
	key, err := ecdsa.GenerateKey(curves[kind], rand.Reader)
	check(t, err)
	return key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantRefusal fails unless err is a *Refusal with this code.
func wantRefusal(t testing.TB, err error, code Code) *Refusal {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("error %v, want a refusal with code %d", err, code)
	}
	if refusal.Code != code {
		t.Fatalf("refusal with code %d (%s), want %d", refusal.Code, refusal.Detail, code)
	}
	return refusal
}

// house is a whole CA in memory.
type house struct {
	root      *x509.Certificate
	rootKey   crypto.Signer
	key       crypto.Signer // of the intermediate
	issuer    *Issuer
	ledger    *memory
	authority *Authority
}

const publishURL = "http://ca.example:14080"

func newHouse(t testing.TB, kind string) *house { return newHouseAt(t, kind, noon) }

func newHouseAt(t testing.TB, kind string, now time.Time) *house {
	t.Helper()
	h := &house{rootKey: newTestKey(t, "ec256"), key: newTestKey(t, kind), ledger: newMemory()}
	var err error
	h.root, err = NewRoot(RootSpec{Name: "Example", Key: h.rootKey, Now: now})
	check(t, err)
	cert, err := NewIntermediate(IntermediateSpec{Name: "Example", Public: h.key.Public(), Root: h.root, RootKey: h.rootKey, PublishURL: publishURL, Now: now})
	check(t, err)
	h.issuer, err = NewIssuer(IssuerConfig{Chain: []*x509.Certificate{cert, h.root}, Key: h.key, PublishURL: publishURL})
	check(t, err)
	p := DefaultProfile()
	h.authority = &Authority{Issuers: []*Issuer{h.issuer}, Profiles: map[string]*Profile{p.Name: &p}, Default: p.Name, Ledger: h.ledger}
	return h
}

func ids(t testing.TB, names ...string) []Identifier {
	t.Helper()
	var all []Identifier
	for _, name := range names {
		typ := "dns"
		if net.ParseIP(name) != nil {
			typ = "ip"
		}
		id, err := ParseIdentifier(typ, name)
		check(t, err)
		all = append(all, id)
	}
	return all
}

// newCSR makes a request as clients do.
func newCSR(t testing.TB, key crypto.Signer, names ...string) []byte {
	t.Helper()
	template := &x509.CertificateRequest{}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return signCSR(t, key, template)
}

func signCSR(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	check(t, err)
	return der
}

func (h *house) request(t testing.TB, order string, key crypto.Signer, names ...string) *Request {
	t.Helper()
	csr, err := ParseCSR(newCSR(t, key, names...))
	check(t, err)
	r := &Request{By: System("test"), Order: order, Account: "a", Names: ids(t, names...), CSR: csr, Now: noon}
	return r.proven(noon)
}

// proven sets the instant of a request and gives it good evidence of then.
func (r *Request) proven(now time.Time) *Request {
	r.Now, r.Evidence = now, nil
	for _, name := range r.Names {
		r.Evidence = append(r.Evidence, proof(name, now))
	}
	return r
}

func proof(name Identifier, now time.Time) NameEvidence {
	e := NameEvidence{Name: name, Authorization: "authorization", Method: "dns-01", ValidatedAt: now}
	if name.Type() == IP {
		e.Method = "http-01"
	}
	if name.HasCAA() {
		e.CAA = &CAAEvidence{At: now, Allowed: true}
	}
	return e
}

// verify lets crypto/x509 judge a certificate of this CA.
func (h *house) verify(t testing.TB, c *Certificate, name string) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(c.DER)
	check(t, err)
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(h.root)
	middle.AddCert(h.issuer.Certificate())
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: noon, DNSName: name})
	check(t, err)
	return cert
}
