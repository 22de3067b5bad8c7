package catest_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/crypto/acme"

	engine "chancery/acme"
	"chancery/cmd/chancery/catest"
	"chancery/storage"
)

// The networks of this test are Linux network namespaces: a CA, three remote
// perspectives, a DNS server and a victim's web server on one bridge, and on
// another bridge an attacker with the victim's address. A hijack is a route:
// the way to the victim then leads over the other bridge.
const (
	caAddr     = "10.83.0.1"
	dnsAddr    = "10.83.0.53"
	victimAddr = "10.83.0.80"
	victimName = "victim.example"
)

var remoteAddrs = map[string]string{"r1": "10.83.0.11", "r2": "10.83.0.12", "r3": "10.83.0.13"}

// setns is the number of the system call, which package syscall lacks.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}

// networks are namespaces, each named after its place with a prefix of this
// test's own, so that two runs on one machine don't meet.
type networks struct {
	t      *testing.T
	prefix string
}

func newNetworks(t *testing.T) *networks {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	if setns[runtime.GOARCH] == 0 {
		t.Fatalf("setns has no number here for %s; add it", runtime.GOARCH)
	}
	n := &networks{t: t, prefix: fmt.Sprintf("cht%d-", os.Getpid())}
	n.add("net")
	for _, bridge := range []string{"br0", "br1"} {
		n.ip("net", "link", "add", bridge, "type", "bridge", "forward_delay", "0")
		n.ip("net", "link", "set", bridge, "up")
	}
	hosts := map[string]string{"ca": caAddr, "dns": dnsAddr, "web": victimAddr}
	for name, addr := range remoteAddrs {
		hosts[name] = addr
	}
	for name, addr := range hosts {
		n.add(name)
		n.plug(name, "eth0", "br0")
		n.plug(name, "eth1", "br1")
		n.ip(name, "addr", "add", addr+"/24", "dev", "eth0")
	}
	n.add("evil")
	n.plug("evil", "eth0", "br1")
	n.ip("evil", "addr", "add", victimAddr+"/24", "dev", "eth0")
	return n
}

func (n *networks) add(name string) {
	n.t.Helper()
	n.run("netns", "add", n.prefix+name)
	n.t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", n.prefix+name).CombinedOutput(); err != nil {
			n.t.Errorf("removing the namespace %s: %v %s", n.prefix+name, err, out)
		}
	})
	n.ip(name, "link", "set", "lo", "up")
}

// plug connects a namespace to a bridge.
func (n *networks) plug(name, device, bridge string) {
	n.t.Helper()
	n.run("-n", n.prefix+"net", "link", "add", name+bridge, "type", "veth", "peer", "name", device, "netns", n.prefix+name)
	n.ip("net", "link", "set", name+bridge, "master", bridge, "up")
	n.ip(name, "link", "set", device, "up")
}

func (n *networks) ip(name string, args ...string) {
	n.t.Helper()
	n.run(append([]string{"-n", n.prefix + name}, args...)...)
}

func (n *networks) run(args ...string) {
	n.t.Helper()
	if out, err := exec.Command(program(n.t, "ip", "iproute2"), args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// misled leads the way from a place to an address elsewhere until the subtest
// ends: to the victim's over the attacker's bridge, to others nowhere.
func (n *networks) misled(t *testing.T, from, addr string) {
	t.Helper()
	way := []string{addr + "/32", "via", "10.83.0.99", "dev", "eth0"} // nobody is there
	if addr == victimAddr {
		way = []string{addr + "/32", "dev", "eth1"}
	}
	n.ip(from, append([]string{"route", "replace"}, way...)...)
	t.Cleanup(func() { n.ip(from, append([]string{"route", "delete"}, way...)...) })
}

// in runs f on a thread that is in the namespace and is not used again after
// it. Sockets stay in the namespace in which they were made.
func (n *networks) in(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := os.Open("/run/netns/" + n.prefix + name)
		if err == nil {
			_, _, no := syscall.RawSyscall(setns[runtime.GOARCH], file.Fd(), syscall.CLONE_NEWNET, 0)
			_ = file.Close()
			if no == 0 {
				err = f()
			} else {
				err = no
			}
		}
		done <- err
	}()
	return <-done
}

func (n *networks) listen(name, addr string) net.Listener {
	n.t.Helper()
	var l net.Listener
	err := n.in(name, func() (err error) { l, err = net.Listen("tcp", addr); return err })
	if err != nil {
		n.t.Fatal(err)
	}
	return l
}

func (n *networks) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = n.in("dns", func() (err error) { c, err = (&net.Dialer{}).DialContext(ctx, network, addr); return err })
	return c, err
}

// start runs the binary in a namespace until the test ends; said is what it
// wrote on standard output so far.
func (n *networks) start(name string, args ...string) (said func() string) {
	n.t.Helper()
	var mu sync.Mutex
	var out, log bytes.Buffer
	cmd := exec.Command("ip", append([]string{"netns", "exec", n.prefix + name, catest.Binary(n.t)}, args...)...)
	cmd.Stdout, cmd.Stderr = locked{&mu, &out}, locked{&mu, &log}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is about the thread that started it, so that one must live on.
	started, ended := make(chan error, 1), make(chan struct{})
	var exit error
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		exit = cmd.Wait()
		close(ended)
	}()
	if err := <-started; err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		mu.Lock()
		defer mu.Unlock()
		if exit != nil || n.t.Failed() {
			n.t.Logf("%s ended with %v; its log:\n%s", name, exit, log.String())
		}
		if exit != nil {
			n.t.Fail()
		}
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return out.String()
	}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// webSite is a web server whose answers a test sets.
type webSite struct {
	mu      sync.Mutex
	answers map[string]string // path to body
}

func (s *webSite) set(path, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = map[string]string{path: body}
}

func (s *webSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if body, ok := s.answers[r.URL.Path]; ok {
		_, _ = w.Write([]byte(body))
		return
	}
	http.NotFound(w, r)
}

func (n *networks) site(name string) *webSite {
	s := &webSite{}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	l := n.listen(name, victimAddr+":80")
	go func() { _ = server.Serve(l) }()
	n.t.Cleanup(func() { _ = server.Close() })
	return s
}

// resolve serves the zone of the victim: an address, and no CAA records.
func (n *networks) resolve() {
	n.t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		if strings.EqualFold(name, victimName+".") && q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(victimAddr)}}
		} else {
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1}, Ns: "ns.example.", Mbox: "h.example.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1}}
		}
		_ = w.WriteMsg(m)
	})
	var udp net.PacketConn
	if err := n.in("dns", func() (err error) { udp, err = net.ListenPacket("udp", dnsAddr+":53"); return err }); err != nil {
		n.t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: n.listen("dns", dnsAddr+":53"), Handler: handler}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go func() { _ = s.ActivateAndServe() }()
		<-ready
		n.t.Cleanup(func() { _ = s.Shutdown() })
	}
}

// lab is a CA with three remote perspectives in those networks.
type lab struct {
	*networks
	dir           string
	victim, rogue *webSite
	client        *http.Client
}

var aPin = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{networks: newNetworks(t), dir: filepath.Join(t.TempDir(), "ca")}
	l.resolve()
	l.victim, l.rogue = l.site("web"), l.site("evil")
	base := "https://" + caAddr + ":14000"
	if out, err := exec.Command(catest.Binary(t), "init", "--dir", l.dir, "--hostname", caAddr).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	out, err := exec.Command(catest.Binary(t), "perspective", "pin", "--dir", l.dir, "--set", "acme.url="+base).CombinedOutput()
	if err != nil {
		t.Fatalf("perspective pin: %v\n%s", err, out)
	}
	own := aPin.FindString(string(out))
	identities := regexp.MustCompile(`--set acme.caa_identities=\S+`).FindString(string(out))
	var entries []string
	for name, addr := range remoteAddrs {
		args := []string{"perspective", "--dir", filepath.Join(t.TempDir(), name), "--listen", addr + ":15000", "--peer", own, "--set", "validation.resolvers=" + dnsAddr, "--set", "log.level=debug"}
		said := l.start(name, append(args, strings.Fields(identities)...)...)
		await(t, name, func() bool { return aPin.MatchString(said()) })
		entries = append(entries, fmt.Sprintf("{name: %s, url: 'https://%s:15000', pin: '%s'}", name, addr, aPin.FindString(said())))
	}
	l.start("ca", "serve", "--dir", l.dir, "--set", "acme.listen="+caAddr+":14000", "--set", "acme.url="+base,
		"--set", "publish.url=http://"+caAddr+":14080", "--set", "validation.resolvers="+dnsAddr, "--set", "validation.timeout=4s",
		"--set", "limits.enabled=false", "--set", "validation.perspectives=["+strings.Join(entries, ", ")+"]")
	root, err := os.ReadFile(filepath.Join(l.dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	transport := &http.Transport{DialContext: l.dial, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	l.client = &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	await(t, "the CA", func() bool {
		r, err := l.client.Get(base + "/acme/directory")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return l
}

// obtain orders the victim's name, with the challenge answered at these sites,
// and returns the evidence of its validation. The error is the CA's refusal.
func (l *lab) obtain(t *testing.T, sites ...*webSite) (*engine.Evidence, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := &acme.Client{Key: ecKey(t, elliptic.P256()), HTTPClient: l.client, DirectoryURL: "https://" + caAddr + ":14000/acme/directory"}
	if _, err := client.Register(ctx, &acme.Account{}, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(victimName))
	if err != nil {
		t.Fatal(err)
	}
	authorization, err := client.GetAuthorization(ctx, order.AuthzURLs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range authorization.Challenges {
		if c.Type != "http-01" {
			continue
		}
		answer, err := client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sites {
			s.set(client.HTTP01ChallengePath(c.Token), answer)
		}
		if _, err := client.Accept(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	_, refusal := client.WaitAuthorization(ctx, authorization.URI)
	evidence := l.evidence(t, path.Base(authorization.URI))
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{victimName}}, ecKey(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if (err == nil) != (refusal == nil) || (err == nil) != (len(chain) > 0) {
		t.Fatalf("%d certificates and %v after the verdict %v", len(chain), err, refusal)
	}
	return evidence, refusal
}

// evidence reads what was kept, from the store.
func (l *lab) evidence(t *testing.T, id string) *engine.Evidence {
	t.Helper()
	db, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(l.dir, "chancery.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	a, err := db.Authorization(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine.Evidence{}
	if err := json.Unmarshal(a.Evidence, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestIncident_I21: hijacked routes, in real networks, with the real programs.
func TestIncident_I21(t *testing.T) {
	l := newLab(t)
	type way struct{ from, to string }
	for _, c := range []struct {
		name     string
		misled   []way
		answers  []*webSite // where the challenge is answered
		outcomes string     // in the evidence
		refused  string     // in the problem; empty: a certificate
	}{
		{"all is well", nil, []*webSite{l.victim}, "primary=pass r1=pass r2=pass r3=pass", ""},
		{"one remote is hijacked", []way{{"r1", victimAddr}}, []*webSite{l.victim}, "primary=pass r1=fail r2=pass r3=pass", ""},
		{"two remotes are hijacked", []way{{"r1", victimAddr}, {"r3", victimAddr}}, []*webSite{l.victim}, "primary=pass r1=fail r2=pass r3=fail", "2 of 3 remote perspectives could not confirm"},
		{"the primary is hijacked", []way{{"ca", victimAddr}}, []*webSite{l.victim}, "primary=fail r1=pass r2=pass r3=pass", "victim.example"},
		{"the attacker orders, and has the primary's way", []way{{"ca", victimAddr}}, []*webSite{l.rogue}, "primary=pass r1=fail r2=fail r3=fail", "3 of 3 remote perspectives could not confirm"},
		{"the attacker orders, and has the primary's way and a remote's", []way{{"ca", victimAddr}, {"r2", victimAddr}}, []*webSite{l.rogue}, "primary=pass r1=fail r2=pass r3=fail", "2 of 3 remote perspectives could not confirm"},
		{"the attacker orders, and has all remotes' ways", []way{{"r1", victimAddr}, {"r2", victimAddr}, {"r3", victimAddr}}, []*webSite{l.rogue}, "primary=fail r1=pass r2=pass r3=pass", "victim.example"},
		{"one remote can't be reached", []way{{"ca", remoteAddrs["r2"]}}, []*webSite{l.victim}, "primary=pass r1=pass r2=error r3=pass", ""},
		{"two remotes can't be reached", []way{{"ca", remoteAddrs["r2"]}, {"ca", remoteAddrs["r3"]}}, []*webSite{l.victim}, "primary=pass r1=pass r2=error r3=error", "2 no answer"},
		{"one remote is hijacked, another can't be reached", []way{{"r1", victimAddr}, {"ca", remoteAddrs["r3"]}}, []*webSite{l.victim}, "primary=pass r1=fail r2=pass r3=error", "2 of 3 remote perspectives could not confirm"},
		{"all is well again", nil, []*webSite{l.victim}, "primary=pass r1=pass r2=pass r3=pass", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, w := range c.misled {
				l.misled(t, w.from, w.to)
			}
			l.victim.set("/", "")
			l.rogue.set("/", "")
			began := time.Now()
			e, refusal := l.obtain(t, c.answers...)
			t.Logf("%s in %v: %v", c.name, time.Since(began).Round(time.Millisecond), refusal)
			var got []string
			for _, name := range []string{"primary", "r1", "r2", "r3"} {
				for _, p := range e.Perspectives {
					if p.Name == name {
						got = append(got, fmt.Sprintf("%s=%s", p.Name, p.Outcome))
					}
				}
			}
			if strings.Join(got, " ") != c.outcomes {
				t.Errorf("the evidence says %v, want %s", got, c.outcomes)
			}
			switch {
			case c.refused == "" && refusal != nil:
				t.Errorf("refused: %v", refusal)
			case c.refused != "" && refusal == nil:
				t.Error("a certificate was issued")
			case c.refused != "" && !strings.Contains(refusal.Error(), c.refused):
				t.Errorf("refused by %v, want %q", refusal, c.refused)
			}
			if refusal != nil && regexp.MustCompile(`\br[123]\b|:15000|10\.83\.0\.1\d`).MatchString(refusal.Error()) {
				t.Errorf("the refusal names a place: %v", refusal)
			}
		})
	}
}
