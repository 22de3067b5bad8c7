package catest_test

import (
	"crypto/elliptic"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/crypto/acme"

	"chancery/cmd/chancery/catest"
)

// proxy stands between Chancery and the DNS of the pretend Internet, and can
// be stopped and started again at its address.
type proxy struct {
	t        *testing.T
	upstream string
	addr     string
	servers  []*dns.Server
}

func (r *proxy) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	answer, err := dns.Exchange(q, r.upstream)
	if err != nil {
		answer = new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	_ = w.WriteMsg(answer)
}

func (r *proxy) start() {
	r.t.Helper()
	address := r.addr
	if address == "" {
		address = "127.0.0.1:0"
	}
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = udp.LocalAddr().String()
	tcp, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: r}, {Listener: tcp, Handler: r}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		r.servers = append(r.servers, s)
	}
}

func (r *proxy) stop() {
	for _, s := range r.servers {
		_ = s.Shutdown()
	}
	r.servers = nil
}

// TestIncident_I92: an upgrade of the resolvers took all of a CA down for
// hours. Without resolvers everything but validation goes on: it even starts.
// What is asked for meanwhile fails with a reason, and what is asked for after
// they are back is issued at once.
func TestIncident_I92(t *testing.T) {
	t.Parallel()
	n := catest.NewInternet(t)
	r := &proxy{t: t, upstream: n.DNSAddr}
	r.start()
	defer func() { r.stop() }()
	c := catest.Start(t, catest.On(n), catest.Set("validation.resolvers="+r.addr, "validation.timeout=2s"))
	g := goClient{t: t, c: c, key: ecKey(t, elliptic.P256())}
	leaf := g.obtain("http-01", ecKey(t, elliptic.P256()), "before.example")

	r.stop()
	c.Restart()
	for _, url := range []string{c.DirectoryURL, strings.Replace(c.DirectoryURL, "directory", "new-nonce", 1), c.AdminURL + "/readyz", c.PublishURL + "/root.pem"} {
		res, err := c.HTTP().Get(url) //nolint:noctx // the client's own bound is enough
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode >= 300 {
			t.Errorf("%s: %s", url, res.Status)
		}
	}
	c.WantGood(leaf)
	ctx := g.context()
	order, err := g.client().AuthorizeOrder(ctx, acme.DomainIDs("during.example"))
	if err != nil || order.Status != acme.StatusPending {
		t.Fatalf("an order without resolvers: %+v, %v", order, err)
	}
	z, err := g.client().GetAuthorization(ctx, order.AuthzURLs[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.client().Accept(ctx, z.Challenges[0]); err != nil {
		t.Errorf("answering a challenge without resolvers: %v", err)
	}
	if _, err := g.client().WaitAuthorization(ctx, z.URI); err == nil || !strings.Contains(err.Error(), "dns") {
		t.Errorf("a validation without resolvers: %v", err)
	}
	if err := g.client().RevokeCert(ctx, nil, leaf.Raw, acme.CRLReasonSuperseded); err != nil {
		t.Errorf("a revocation without resolvers: %v", err)
	}
	c.WantRevoked(leaf, int(acme.CRLReasonSuperseded))

	r.start()
	began := time.Now()
	g.obtain("http-01", ecKey(t, elliptic.P256()), "after.example")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("after the resolvers were back, a certificate took %s", took)
	}
	c.Check()
	res, err := http.Get(c.AdminURL + "/healthz") //nolint:noctx // as above
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %s", res.Status)
	}
}
