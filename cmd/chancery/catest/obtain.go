package catest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/registration"
)

// Client is an ACME account in lego, whose challenges the pretend Internet
// answers: http-01 for names and addresses, dns-01 for wildcards unless the
// test chose one way for all.
type Client struct {
	*lego.Client
	Registration *registration.Resource

	c   *CA
	key crypto.Signer
}

// GetEmail and the two next make a Client what lego calls a user.
func (u *Client) GetEmail() string { return "" }

// GetRegistration is the account's URL, once there is one.
func (u *Client) GetRegistration() *registration.Resource { return u.Registration }

// GetPrivateKey is the account's key.
func (u *Client) GetPrivateKey() crypto.PrivateKey { return u.key }

// Way is how a client proves control of names.
type Way int

// The ways. Any is http-01 where it can, dns-01 for wildcards.
const (
	Any Way = iota
	HTTP
	DNS
	TLSALPN
)

// Client registers a new account.
func (c *CA) Client(way Way) *Client {
	c.t.Helper()
	u, err := c.newClient(way)
	if err != nil {
		c.t.Fatalf("catest: a new account: %v", err)
	}
	return u
}

func (c *CA) newClient(way Way) (*Client, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	u := &Client{c: c, key: key}
	config := lego.NewConfig(u)
	config.CADirURL = c.DirectoryURL
	own := *c.client // lego puts a transport of its own into the client that it is given
	config.HTTPClient = &own
	if u.Client, err = lego.NewClient(config); err != nil {
		return nil, err
	}
	if err := u.solve(way); err != nil {
		return nil, err
	}
	u.Registration, err = u.Client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	return u, err
}

func (u *Client) solve(way Way) error {
	var err error
	if way == HTTP || way == Any {
		err = u.Challenge.SetHTTP01Provider(httpAnswers{u.c.Net})
	}
	if way == TLSALPN {
		err = u.Challenge.SetTLSALPN01Provider(tlsAnswers{u.c.Net})
	}
	if way == DNS || way == Any {
		// The zone is the only server that there is: nothing to wait for.
		err = u.Challenge.SetDNS01Provider(dnsAnswers{u.c.Net}, dns01.AddRecursiveNameservers([]string{u.c.Net.DNSAddr}),
			dns01.WrapPreCheck(func(_, _, _ string, _ dns01.PreCheckFunc) (bool, error) { return true, nil }))
	}
	return err
}

// httpAnswers, dnsAnswers and tlsAnswers are lego's challenge providers.
type (
	httpAnswers struct{ n *Internet }
	dnsAnswers  struct{ n *Internet }
	tlsAnswers  struct{ n *Internet }
)

func (a httpAnswers) Present(domain, token, keyAuthorization string) error {
	a.n.AnswerHTTP(domain, token, keyAuthorization)
	return nil
}

func (a httpAnswers) CleanUp(domain, token, _ string) error {
	a.n.AnswerHTTP(domain, token, "")
	return nil
}

func (a dnsAnswers) Present(domain, _, keyAuthorization string) error {
	r := dns01.GetChallengeInfo(domain, keyAuthorization)
	a.n.AddTXT(r.FQDN, r.Value)
	return nil
}

func (a dnsAnswers) CleanUp(domain, _, keyAuthorization string) error {
	r := dns01.GetChallengeInfo(domain, keyAuthorization)
	a.n.RemoveTXT(r.FQDN, r.Value)
	return nil
}

func (a tlsAnswers) Present(domain, _, keyAuthorization string) error {
	cert, err := ChallengeCertificate(domain, keyAuthorization)
	if err != nil {
		return err
	}
	a.n.AnswerTLS(ServerName(domain), cert)
	return nil
}

func (a tlsAnswers) CleanUp(domain, _, _ string) error {
	a.n.AnswerTLS(ServerName(domain), nil)
	return nil
}

// Certificate is what a client obtained.
type Certificate struct {
	Leaf     *x509.Certificate
	PEM      []byte // leaf first, then its issuers
	Resource *certificate.Resource
}

// Obtain gets a certificate and checks its chain and its names.
func (u *Client) Obtain(names ...string) *Certificate {
	u.c.t.Helper()
	cert, err := u.TryObtain(names...)
	if err != nil {
		u.c.t.Fatalf("catest: obtaining %v: %v", names, err)
	}
	u.c.WantChain(cert.PEM, names...)
	return cert
}

// TryObtain is Obtain without an opinion.
func (u *Client) TryObtain(names ...string) (*Certificate, error) {
	resource, err := u.Certificate.Obtain(certificate.ObtainRequest{Domains: names, Bundle: true})
	if err != nil {
		return nil, err
	}
	return newCertificate(resource)
}

// Renew gets a new certificate with the same names and the same key.
func (u *Client) Renew(old *Certificate) *Certificate {
	u.c.t.Helper()
	resource, err := u.Certificate.RenewWithOptions(*old.Resource, &certificate.RenewOptions{Bundle: true})
	if err != nil {
		u.c.t.Fatalf("catest: renewing %v: %v", old.Leaf.DNSNames, err)
	}
	cert, err := newCertificate(resource)
	if err != nil {
		u.c.t.Fatal(err)
	}
	u.c.WantChain(cert.PEM, sortedNames(old.Leaf)...)
	if cert.Leaf.SerialNumber.Cmp(old.Leaf.SerialNumber) == 0 {
		u.c.t.Errorf("renewing %v gave the same certificate", old.Leaf.DNSNames)
	}
	return cert
}

// Revoke revokes for a reason and waits until relying parties see it.
func (u *Client) Revoke(cert *Certificate, reason uint) {
	u.c.t.Helper()
	if err := u.Certificate.RevokeWithReason(cert.PEM, &reason); err != nil {
		u.c.t.Fatalf("catest: revoking %v: %v", cert.Leaf.DNSNames, err)
	}
	u.c.WantRevoked(cert.Leaf, int(reason))
}

func newCertificate(r *certificate.Resource) (*Certificate, error) {
	certs, err := ParseChain(r.Certificate)
	if err != nil {
		return nil, fmt.Errorf("the chain that was downloaded: %w", err)
	}
	return &Certificate{Leaf: certs[0], PEM: r.Certificate, Resource: r}, nil
}

// Replace gets a new certificate by an order that names the old one
// (RFC 9773 section 5).
func (u *Client) Replace(old *Certificate) *Certificate {
	u.c.t.Helper()
	cert, err := u.TryReplace(old)
	if err != nil {
		u.c.t.Fatalf("catest: replacing %v: %v", old.Leaf.DNSNames, err)
	}
	u.c.WantChain(cert.PEM, sortedNames(old.Leaf)...)
	return cert
}

// TryReplace is Replace without an opinion.
func (u *Client) TryReplace(old *Certificate) (*Certificate, error) {
	id, err := certificate.MakeARICertID(old.Leaf)
	if err != nil {
		return nil, err
	}
	resource, err := u.Certificate.Obtain(certificate.ObtainRequest{Domains: sortedNames(old.Leaf), Bundle: true, ReplacesCertID: id})
	if err != nil {
		return nil, err
	}
	return newCertificate(resource)
}

// RenewalInfo asks when the certificate should be renewed (RFC 9773 section 4).
func (u *Client) RenewalInfo(cert *Certificate) acme.Window {
	u.c.t.Helper()
	answer, err := u.Certificate.GetRenewalInfo(certificate.RenewalInfoRequest{Cert: cert.Leaf})
	if err != nil {
		u.c.t.Fatalf("catest: renewal information of %v: %v", cert.Leaf.DNSNames, err)
	}
	if answer.RetryAfter <= 0 {
		u.c.t.Errorf("renewal information of %v comes without Retry-After", cert.Leaf.DNSNames)
	}
	return answer.SuggestedWindow
}
