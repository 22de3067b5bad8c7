package api_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/registration"
	xacme "golang.org/x/crypto/acme"

	"chancery/acme"
	"chancery/acme/api"
	"chancery/ca"
)

// onNetwork is a world behind a real TLS server, whose URLs are the server's.
func onNetwork(t *testing.T, settings ...func(*acme.Settings, *api.Config)) (*world, *httptest.Server) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	url := "https://" + s.Listener.Addr().String()
	w := newWorld(t, append(settings, func(_ *acme.Settings, c *api.Config) { c.BaseURL = url })...)
	s.Config.Handler = w
	s.StartTLS()
	t.Cleanup(s.Close)
	return w, s
}

// golang.org/x/crypto/acme does everything that it can do.
func TestCryptoACME(t *testing.T) {
	w, s := onNetwork(t, func(set *acme.Settings, _ *api.Config) { set.ExternalAccount = acme.BindingRequired })
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	k, secret, err := w.service.CreateExternalKey(ctx, ca.System("test"), acme.NewExternalKey{})
	must(t, err)
	c := &xacme.Client{Key: ecKey(t), DirectoryURL: s.URL + "/acme/directory", HTTPClient: s.Client()}
	account, err := c.Register(ctx, &xacme.Account{
		Contact: []string{"mailto:a@a.example"}, ExternalAccountBinding: &xacme.ExternalAccountBinding{KID: k.ID, Key: secret},
	}, xacme.AcceptTOS)
	must(t, err)
	if account.Status != xacme.StatusValid {
		t.Errorf("account %+v", account)
	}
	account.Contact = []string{"mailto:b@a.example"}
	if account, err = c.UpdateReg(ctx, account); err != nil || account.Contact[0] != "mailto:b@a.example" {
		t.Errorf("UpdateReg: %+v, %v", account, err)
	}
	order, err := c.AuthorizeOrder(ctx, xacme.DomainIDs("a.example", "*.a.example"))
	must(t, err)
	for _, url := range order.AuthzURLs {
		z, err := c.GetAuthorization(ctx, url)
		must(t, err)
		_, err = c.Accept(ctx, z.Challenges[0])
		must(t, err)
		_, err = c.WaitAuthorization(ctx, url)
		must(t, err)
	}
	order, err = c.WaitOrder(ctx, order.URI)
	must(t, err)
	key := ecKey(t)
	request, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{DNSNames: []string{"a.example", "*.a.example"}}, key)
	must(t, err)
	chain, url, err := c.CreateOrderCert(ctx, order.FinalizeURL, request, true)
	must(t, err)
	if alternates, err := c.ListCertAlternates(ctx, url); err != nil || len(alternates) != 0 {
		t.Errorf("alternates %q, %v", alternates, err)
	}
	must(t, c.AccountKeyRollover(ctx, ecKey(t)))
	if _, err := c.GetReg(ctx, ""); err != nil {
		t.Errorf("GetReg with the new key: %v", err)
	}
	must(t, c.RevokeCert(ctx, key, chain[0], xacme.CRLReasonKeyCompromise))
	z, err := c.Authorize(ctx, "b.example") // newAuthz
	must(t, err)
	must(t, c.RevokeAuthorization(ctx, z.URI))
	must(t, c.DeactivateReg(ctx))
	if _, err := c.GetReg(ctx, ""); err == nil {
		t.Error("a deactivated account is served")
	}
}

type legoUser struct {
	key      crypto.Signer
	resource *registration.Resource
}

func (u *legoUser) GetEmail() string                        { return "a@a.example" }
func (u *legoUser) GetRegistration() *registration.Resource { return u.resource }
func (u *legoUser) GetPrivateKey() crypto.PrivateKey        { return u.key }

// nothing is a challenge provider for a validator that is played.
type nothing struct{}

func (nothing) Present(string, string, string) error { return nil }
func (nothing) CleanUp(string, string, string) error { return nil }

func TestLego(t *testing.T) {
	_, s := onNetwork(t)
	user := &legoUser{key: ecKey(t)}
	config := lego.NewConfig(user)
	config.CADirURL, config.HTTPClient, config.Certificate.KeyType = s.URL+"/acme/directory", s.Client(), certcrypto.EC256
	c, err := lego.NewClient(config)
	must(t, err)
	must(t, c.Challenge.SetHTTP01Provider(nothing{}))
	user.resource, err = c.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	must(t, err)
	got, err := c.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"a.example", "b.example"}, Bundle: true})
	must(t, err)
	leaf, err := certcrypto.ParsePEMCertificate(got.Certificate)
	must(t, err)
	info, err := c.Certificate.GetRenewalInfo(certificate.RenewalInfoRequest{Cert: leaf})
	must(t, err)
	if !info.SuggestedWindow.Start.After(leaf.NotBefore) || info.RetryAfter <= 0 {
		t.Errorf("renewal information %+v", info)
	}
	id, err := certificate.MakeARICertID(leaf)
	must(t, err)
	again, err := c.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"a.example"}, Bundle: true, ReplacesCertID: id})
	must(t, err)
	must(t, c.Certificate.Revoke(got.Certificate))
	if err := c.Certificate.Revoke(got.Certificate); err == nil {
		t.Error("a second revocation is accepted")
	}
	must(t, c.Certificate.Revoke(again.Certificate))
	must(t, c.Registration.DeleteRegistration())
}

// BenchmarkPostAsGet is one POST-as-GET of an order in process: routing, JWS,
// store, nonce, JSON. The client's signing is done before.
func BenchmarkPostAsGet(b *testing.B) {
	w := newWorld(b)
	c := w.registered()
	o := c.order("a.example")
	path := o.url[len(base):]
	var bodies []string
	b.ReportAllocs()
	for b.Loop() {
		if len(bodies) == 0 {
			b.StopTimer()
			for range 2000 {
				h := map[string]any{"alg": "ES256", "nonce": w.nonce(), "url": o.url, "kid": c.kid}
				bodies = append(bodies, c.jws(h, ""))
			}
			b.StartTimer()
		}
		body := bodies[len(bodies)-1]
		bodies = bodies[:len(bodies)-1]
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/jose+json")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != 200 {
			b.Fatalf("%d %s", rec.Code, rec.Body)
		}
	}
}
