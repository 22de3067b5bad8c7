package catest

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Internet is a pretend Internet on loopback. Every name below the suffixes
// test, example and example.{com,net,org} has the address 127.0.0.1 until a
// test points it elsewhere; everything else does not exist.
type Internet struct {
	DNSAddr  string // host:port, UDP and TCP
	HTTPPort int    // on 127.0.0.1, answers http-01
	TLSPort  int    // on 127.0.0.1, answers tls-alpn-01

	zone *zone

	mu      sync.Mutex
	answers map[string]string           // host "/" token to key authorization
	certs   map[string]*tls.Certificate // SNI to challenge certificate
	lookup  func(string) (*tls.Certificate, error)
	hits    []string // requests of the web server, "host path"
}

// NewInternet starts one; it ends with the test.
func NewInternet(t testing.TB) *Internet {
	t.Helper()
	n := &Internet{zone: newZone(), answers: map[string]string{}, certs: map[string]*tls.Certificate{}}
	n.DNSAddr = serveDNS(t, n.zone)
	n.HTTPPort = n.serveHTTP(t)
	n.TLSPort = n.serveTLS(t)
	return n
}

// Point gives a name these addresses and no others.
func (n *Internet) Point(name string, addresses ...string) {
	n.zone.remove(name, dns.TypeA, nil)
	n.zone.remove(name, dns.TypeAAAA, nil)
	for _, a := range addresses {
		n.zone.add(name, address(name, netip.MustParseAddr(a)))
	}
}

// AddTXT adds a TXT record; a value longer than 255 octets is split.
func (n *Internet) AddTXT(name, value string) {
	const most = 255 // octets in a character-string (RFC 1035 section 3.3)
	var parts []string
	for len(value) > most {
		parts, value = append(parts, value[:most]), value[most:]
	}
	n.zone.add(name, &dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: append(parts, value)})
}

// RemoveTXT removes the TXT records of that value, all of them when it is empty.
func (n *Internet) RemoveTXT(name, value string) {
	n.zone.remove(name, dns.TypeTXT, func(rr dns.RR) bool {
		return value != "" && strings.Join(rr.(*dns.TXT).Txt, "") != value
	})
}

// AddCAA adds a CAA record.
func (n *Internet) AddCAA(name string, flags uint8, tag, value string) {
	n.zone.add(name, &dns.CAA{Hdr: header(name, dns.TypeCAA), Flag: flags, Tag: tag, Value: value})
}

// RemoveCAA removes the CAA records of a name.
func (n *Internet) RemoveCAA(name string) { n.zone.remove(name, dns.TypeCAA, nil) }

// Alias makes name a CNAME of target.
func (n *Internet) Alias(name, target string) {
	n.zone.add(name, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: fqdn(target)})
}

// Fail makes every question about name end with this response code, for
// example dns.RcodeServerFailure.
func (n *Internet) Fail(name string, code int) {
	n.zone.mu.Lock()
	defer n.zone.mu.Unlock()
	n.zone.failures[fqdn(name)] = code
}

// Forward sends every question below the zone to another DNS server.
func (n *Internet) Forward(zone, upstream string) {
	n.zone.mu.Lock()
	defer n.zone.mu.Unlock()
	n.zone.forwards[fqdn(zone)] = upstream
}

// Questions are those that came so far, each "TYPE name".
func (n *Internet) Questions() []string {
	n.zone.mu.Lock()
	defer n.zone.mu.Unlock()
	return append([]string(nil), n.zone.log...)
}

// Hits are the requests that the web server got so far, each "host path".
func (n *Internet) Hits() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.hits...)
}

// AnswerHTTP makes http://host/.well-known/acme-challenge/token answer with
// the key authorization (RFC 8555 section 8.3); an empty one takes it away.
func (n *Internet) AnswerHTTP(host, token, keyAuthorization string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := strings.ToLower(host) + "/" + token
	if keyAuthorization == "" {
		delete(n.answers, key)
		return
	}
	n.answers[key] = keyAuthorization
}

// AnswerTLS makes the TLS server present the certificate to whoever asks for
// this server name with the protocol acme-tls/1 (RFC 8737 section 3); nil
// takes it away.
func (n *Internet) AnswerTLS(serverName string, cert *tls.Certificate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if cert == nil {
		delete(n.certs, strings.ToLower(serverName))
		return
	}
	n.certs[strings.ToLower(serverName)] = cert
}

// AnswerTLSBy asks lookup for the challenge certificate of a server name that
// AnswerTLS was not told of.
func (n *Internet) AnswerTLSBy(lookup func(serverName string) (*tls.Certificate, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookup = lookup
}

const challengePath = "/.well-known/acme-challenge/"

// ServeHTTP answers http-01 by Host and token.
func (n *Internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	token, ok := strings.CutPrefix(r.URL.Path, challengePath)
	n.mu.Lock()
	answer := n.answers[strings.ToLower(host)+"/"+token]
	n.hits = append(n.hits, host+" "+r.URL.Path)
	n.mu.Unlock()
	if !ok || answer == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.WriteString(w, answer) // a client that went away is its own business
}

// headerTimeout and the like: a test that hangs should say so itself.
const headerTimeout = 10 * time.Second

func (n *Internet) serveHTTP(t testing.TB) int {
	t.Helper()
	l := listen(t)
	s := &http.Server{Handler: n, ReadHeaderTimeout: headerTimeout, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.Serve(l) }() // ends by Close
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

var errNoChallenge = errors.New("no challenge certificate for this server name")

func (n *Internet) serveTLS(t testing.TB) int {
	t.Helper()
	l := listen(t)
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"acme-tls/1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := strings.ToLower(hello.ServerName)
			n.mu.Lock()
			cert, lookup := n.certs[name], n.lookup
			n.mu.Unlock()
			switch {
			case cert != nil:
				return cert, nil
			case lookup != nil:
				return lookup(name)
			}
			return nil, errNoChallenge
		},
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed by the cleanup
			}
			go handshake(tls.Server(conn, config))
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// handshake is all that tls-alpn-01 needs: the validator closes right after it.
func handshake(conn *tls.Conn) {
	_ = conn.SetDeadline(time.Now().Add(headerTimeout))
	_ = conn.Handshake()
	_ = conn.Close()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("catest: %v", err)
	}
	return l
}

// FreePort finds a TCP port that nobody listens on, for a program that must
// be told its port before it starts.
func FreePort(t testing.TB) int {
	t.Helper()
	l := listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	return port
}
