package catest_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"chancery/cmd/chancery/catest"
)

// goClient is golang.org/x/crypto/acme, the client of Go's own world.
type goClient struct {
	t   *testing.T
	c   *catest.CA
	key crypto.Signer
}

func (g goClient) client() *acme.Client {
	return &acme.Client{Key: g.key, HTTPClient: g.c.HTTP(), DirectoryURL: g.c.DirectoryURL}
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, text []byte) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM in the key file")
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (g goClient) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), programTimeout)
	g.t.Cleanup(cancel)
	return ctx
}

// prove answers one challenge of the type on the pretend Internet.
func (g goClient) prove(ctx context.Context, client *acme.Client, authorization *acme.Authorization, kind string) error {
	i := slices.IndexFunc(authorization.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
	if i < 0 {
		return errors.New("the authorization offers no " + kind)
	}
	challenge, name := authorization.Challenges[i], authorization.Identifier.Value
	switch kind {
	case "http-01":
		answer, err := client.HTTP01ChallengeResponse(challenge.Token)
		if err != nil {
			return err
		}
		g.c.Net.AnswerHTTP(name, challenge.Token, answer)
	case "dns-01":
		value, err := client.DNS01ChallengeRecord(challenge.Token)
		if err != nil {
			return err
		}
		g.c.Net.AddTXT("_acme-challenge."+name, value)
		g.t.Cleanup(func() { g.c.Net.RemoveTXT("_acme-challenge."+name, value) })
	case "tls-alpn-01":
		cert, err := client.TLSALPN01ChallengeCert(challenge.Token, name)
		if err != nil {
			return err
		}
		g.c.Net.AnswerTLS(catest.ServerName(name), &cert)
	}
	if _, err := client.Accept(ctx, challenge); err != nil {
		return err
	}
	_, err := client.WaitAuthorization(ctx, authorization.URI)
	return err
}

// try runs one order to its certificate, and returns the chain in PEM.
func (g goClient) try(ctx context.Context, kind string, key crypto.Signer, names ...string) ([]byte, error) {
	client := g.client()
	if _, err := client.Register(ctx, &acme.Account{}, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, err
	}
	template := &x509.CertificateRequest{}
	var ids []acme.AuthzID
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			ids = append(ids, acme.AuthzID{Type: "ip", Value: n})
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			ids = append(ids, acme.AuthzID{Type: "dns", Value: n})
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	order, err := client.AuthorizeOrder(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, url := range order.AuthzURLs {
		authorization, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return nil, err
		}
		if authorization.Status != acme.StatusPending {
			continue // reused (RFC 8555 section 7.1.3)
		}
		if err := g.prove(ctx, client, authorization, kind); err != nil {
			return nil, fmt.Errorf("%s for %s: %w", kind, authorization.Identifier.Value, err)
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, err
	}
	ders, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	var chain []byte
	for _, der := range ders {
		chain = append(chain, pemText("CERTIFICATE", der)...)
	}
	return chain, err
}

// obtain is try that must succeed.
func (g goClient) obtain(kind string, key crypto.Signer, names ...string) *x509.Certificate {
	g.t.Helper()
	chain, err := g.try(g.context(), kind, key, names...)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.c.WantChain(chain, names...)
}

// revoke revokes by the account's key, for cessation of operation.
func (g goClient) revoke(leaf *x509.Certificate) {
	g.t.Helper()
	if err := g.client().RevokeCert(g.context(), nil, leaf.Raw, acme.CRLReasonCessationOfOperation); err != nil {
		g.t.Fatal(err)
	}
}

func TestXCryptoACME(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	for _, x := range []struct {
		kind  string
		curve elliptic.Curve // of the account's key: ES256, ES384, ES512
		names []string
	}{
		{"http-01", elliptic.P256(), []string{"http.go.example", "127.0.0.1"}},
		{"dns-01", elliptic.P384(), []string{"*.dns.go.example", "dns.go.example"}},
		{"tls-alpn-01", elliptic.P521(), []string{"tls.go.example", "127.0.0.1"}},
	} {
		g := goClient{t: t, c: c, key: ecKey(t, x.curve)}
		key := ecKey(t, elliptic.P256())
		first := g.obtain(x.kind, key, x.names...)
		c.WantGood(first)
		second := g.obtain(x.kind, ecKey(t, elliptic.P384()), x.names...)
		if second.SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Errorf("%s: renewing gave the same certificate", x.kind)
		}
		g.revoke(second)
		c.WantRevoked(second, 5)
		// The first by its own key (RFC 8555 section 7.6).
		if err := (&acme.Client{HTTPClient: c.HTTP(), DirectoryURL: c.DirectoryURL}).RevokeCert(g.context(), key, first.Raw, acme.CRLReasonKeyCompromise); err != nil {
			t.Errorf("%s: revoking by the certificate's key: %v", x.kind, err)
		}
		c.WantRevoked(first, 1)
	}
	c.Check()
}

// TestXCryptoAccount walks through an account's life.
func TestXCryptoAccount(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	g := goClient{t: t, c: c, key: ecKey(t, elliptic.P256())}
	ctx, client := g.context(), g.client()
	account, err := client.Register(ctx, &acme.Account{Contact: []string{"mailto:ops@go.example"}}, acme.AcceptTOS)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.client().Register(ctx, &acme.Account{}, acme.AcceptTOS); !errors.Is(err, acme.ErrAccountAlreadyExists) {
		t.Errorf("registering again: %v, want that the account exists", err)
	}
	if _, err := client.UpdateReg(ctx, &acme.Account{URI: account.URI, Contact: []string{"mailto:new@go.example"}}); err != nil {
		t.Errorf("new contact: %v", err)
	}
	if got, err := g.client().GetReg(ctx, ""); err != nil || !slices.Equal(got.Contact, []string{"mailto:new@go.example"}) {
		t.Errorf("the account is %+v, %v", got, err)
	}
	next := ecKey(t, elliptic.P384())
	if err := client.AccountKeyRollover(ctx, next); err != nil {
		t.Fatalf("key change: %v", err)
	}
	if got, err := (goClient{t: t, c: c, key: next}).client().GetReg(ctx, ""); err != nil || got.URI != account.URI {
		t.Errorf("by the new key the account is %+v, %v", got, err)
	}
	if _, err := g.client().GetReg(ctx, ""); !errors.Is(err, acme.ErrNoAccount) {
		t.Errorf("by the old key: %v, want no account", err)
	}
	if err := client.DeactivateReg(ctx); err != nil {
		t.Errorf("deactivation: %v", err)
	}
	if _, err := client.AuthorizeOrder(ctx, acme.DomainIDs("a.go.example")); err == nil {
		t.Error("a deactivated account may order")
	}
	c.Check()
}

// TestLego runs lego in process: each way of proof, renewal, revocation.
func TestLego(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	for _, x := range []struct {
		name  string
		way   catest.Way
		names []string
	}{
		{"http-01", catest.HTTP, []string{"http.lego.example", "www.http.lego.example"}},
		{"dns-01", catest.DNS, []string{"*.dns.lego.example", "dns.lego.example"}},
		{"tls-alpn-01", catest.TLSALPN, []string{"tls.lego.example"}},
		{"addresses", catest.HTTP, []string{"127.0.0.1"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			u := c.Client(x.way)
			first := u.Obtain(x.names...)
			c.WantGood(first.Leaf)
			second := u.Renew(first)
			u.Revoke(second, 4)
			c.WantGood(first.Leaf)
		})
	}
	c.Check()
}

// TestLegoRenewalInfo: lego asks when to renew (RFC 9773 section 4), and says
// in its order what it replaces (section 5), which is taken once.
func TestLegoRenewalInfo(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	u := c.Client(catest.HTTP)
	first := u.Obtain("ari.lego.example")
	window := u.RenewalInfo(first)
	if !window.Start.After(time.Now()) || !window.End.After(window.Start) || window.End.After(first.Leaf.NotAfter) {
		t.Errorf("suggested window of a new certificate is %s to %s, it ends %s", window.Start, window.End, first.Leaf.NotAfter)
	}
	second := u.Replace(first)
	// lego then orders without saying what is replaced, as RFC 9773 section 5 advises.
	if _, err := u.TryReplace(first); err != nil || !strings.Contains(c.Log(), "alreadyReplaced") {
		t.Errorf("replacing twice: %v, want that the second is turned down as alreadyReplaced", err)
	}
	u.Revoke(second, 1)
	if window := u.RenewalInfo(second); window.Start.After(time.Now()) {
		t.Errorf("a revoked certificate is to be renewed only from %s", window.Start)
	}
	c.Check()
}

// TestLegoIsRefused: what must not be certified is not.
func TestLegoIsRefused(t *testing.T) {
	t.Parallel()
	c := catest.Start(t)
	u := c.Client(catest.Any)
	c.Net.Fail("servfail.example", 2)
	for _, names := range [][]string{
		{"servfail.example"},      // the address does not resolve
		{"nowhere.invalid"},       // nor does this
		{"bad_name.lego.example"}, // no host name
		{"ok.lego.example", "x..lego.example"},
	} {
		if cert, err := u.TryObtain(names...); err == nil {
			t.Errorf("%v: got %v", names, cert.Leaf.DNSNames)
		}
	}
	c.Check()
}

// TestRestartKeepsAccounts: the same account, certificates and addresses are
// there after a restart, in a process that was killed.
func TestRestartKeepsAccounts(t *testing.T) {
	t.Parallel()
	c := catest.StartProcess(t)
	u := c.Client(catest.HTTP)
	first := u.Obtain("restart.example")
	c.Kill()
	c.Restart()
	second := u.Renew(first)
	u.Revoke(first, 4)
	c.Restart()
	c.WantRevoked(first.Leaf, 4)
	c.WantGood(second.Leaf)
	c.Check()
}
