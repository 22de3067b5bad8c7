package validate

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"chancery/acme"

	"github.com/miekg/dns"
)

// Limits of the resolver.
const (
	maxTries      = 4    // queries for one name and type, over all servers
	triesOfTime   = 5    // one try may take this part of a validation's time
	maxCNAMEs     = 10   // RFC 1034 section 3.6.2 names no number; SAFETY row 158: 8 to 10
	maxRecords    = 1024 // in an answer; 1,000 A records are odd, 4,000 are an attack (SAFETY rows 157, 165)
	udpSize       = 1232 // what we offer by EDNS: no fragments (RFC 9715 section 3.2)
	maxUDP        = 4096 // what we read from a server that ignores the offer
	maxJunk       = 8    // UDP answers to other questions, then we ask over TCP: somebody may be guessing our ID
	maxNameLength = 253  // RFC 1035 section 2.3.4, without the final dot

	oddWait    = 250 * time.Millisecond // for the right answer, once one came in another case
	maxOverTLS = 256 << 10              // bytes of one answer over TLS with its handshake: an answer has at most 64 KiB
)

// resolver asks recursive DNS servers. It keeps no cache, so that a
// validation sees the zone as it is, and it never decides on a truncated
// answer (SAFETY I15).
type resolver struct {
	routes []route // by zone, the longest first
	fixed  []upstream
	system *system       // instead of fixed, when that is empty
	try    time.Duration // how long to wait for one answer

	mixCase   bool // send names in random case, and believe only answers that repeat it
	requireAD bool // believe only answers that a resolver proved by DNSSEC

	roots    *x509.CertPool // for DNS over TLS; nil: the system's
	sessions tls.ClientSessionCache
}

// newResolver reads what a Config says about resolvers.
func newResolver(c Config, timeout time.Duration, now func() time.Time) (*resolver, error) {
	fixed, err := parseUpstreams(c.Resolvers)
	routes, zonesErr := parseRoutes(c.Zones)
	var dnssecErr error
	if c.DNSSEC != "" && c.DNSSEC != DNSSECOff && c.DNSSEC != DNSSECRequireAD {
		dnssecErr = fmt.Errorf("dnssec %s: want %s or %s", excerpt(c.DNSSEC), DNSSECOff, DNSSECRequireAD)
	}
	if err := errors.Join(err, zonesErr, dnssecErr); err != nil {
		return nil, err
	}
	return &resolver{
		routes: routes, fixed: fixed, system: newSystem("/etc/resolv.conf", "/etc/hosts", now), try: timeout / triesOfTime,
		mixCase: !c.PlainCase, requireAD: c.DNSSEC == DNSSECRequireAD,
		roots: c.ResolverRoots, sessions: tls.NewLRUClientSessionCache(maxServers * maxZones),
	}, nil
}

// routeOf finds the zone with servers of its own in which name lies; it is
// empty when there is none.
func (r *resolver) routeOf(name string) route {
	for _, candidate := range r.routes {
		if below(candidate.zone, name) {
			return candidate
		}
	}
	return route{servers: r.fixed}
}

// answer is what the DNS says about a name and a type.
type answer struct {
	name    string   // lower case, no final dot: where the CNAMEs led, the name itself if there were none
	chain   []string // the CNAMEs' targets, in sequence
	records []dns.RR // all of the type asked for, at name; empty: there are none
	nx      bool     // NXDOMAIN: the last name of the chain does not exist
	from    string   // who said so
}

// lookup asks for the records of one type at name, following CNAMEs. That a
// name or a type does not exist is an answer; the error, a problem of kind
// dns, means that nobody knows.
func (r *resolver) lookup(ctx context.Context, t *trace, name string, qtype uint16) (a *answer, err error) {
	defer func() {
		if p := recover(); p != nil { // runs in goroutines of its own
			a, err = nil, fmt.Errorf("panic in lookup: %v", p)
		}
	}()
	a = &answer{name: canonical(name)}
	seen := map[string]bool{a.name: true}
	for {
		if r.local(t, a, qtype) {
			return a, nil
		}
		msg, err := r.ask(ctx, t, a.name, qtype)
		if err != nil {
			return nil, err
		}
		part, err := interpret(msg.Msg, a.name, qtype)
		part = r.cutAtZone(a.name, part)
		t.step("dns", question(a.name, qtype), msg.from, part.words(err))
		for _, target := range part.chain {
			if seen[target] && err == nil {
				err = fmt.Errorf("the CNAMEs lead in a circle at %s", target)
			}
			seen[target] = true
		}
		a.chain = append(a.chain, part.chain...)
		if len(a.chain) > maxCNAMEs && err == nil {
			err = fmt.Errorf("more than %d CNAMEs in a row", maxCNAMEs)
		}
		if err != nil {
			return nil, acme.Problemf(acme.DNS, "%s: resolver %s answered, but %v; correct the zone and try again", question(name, qtype), msg.from, err)
		}
		a.name, a.records, a.nx, a.from = part.name, part.records, part.nx, msg.from
		if !part.open {
			return a, nil
		}
	}
}

// cutAtZone ends a part where its CNAMEs lead to a zone that other servers are
// asked for: what is in there is theirs to say, not those that sent this.
func (r *resolver) cutAtZone(name string, p part) part {
	zone := r.routeOf(canonical(name)).zone
	for i, target := range p.chain {
		if r.routeOf(target).zone != zone {
			return part{name: target, chain: p.chain[:i+1], open: true}
		}
	}
	return p
}

// local answers what no server is to be asked: localhost (RFC 6761 section
// 6.3) and, with the system's resolvers, what /etc/hosts holds.
func (r *resolver) local(t *trace, a *answer, qtype uint16) bool {
	var addrs []netip.Addr
	from := "(built in, RFC 6761)"
	if a.name == "localhost" || strings.HasSuffix(a.name, ".localhost") {
		addrs = []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	} else if len(r.fixed) == 0 && r.routeOf(a.name).zone == "" && (qtype == dns.TypeA || qtype == dns.TypeAAAA) {
		addrs, from = r.system.hosts(a.name), "/etc/hosts"
	}
	if len(addrs) == 0 {
		return false
	}
	for _, addr := range addrs {
		switch {
		case qtype == dns.TypeA && addr.Is4():
			a.records = append(a.records, &dns.A{A: addr.AsSlice()})
		case qtype == dns.TypeAAAA && addr.Is6():
			a.records = append(a.records, &dns.AAAA{AAAA: addr.AsSlice()})
		}
	}
	a.from = from
	t.step("dns", question(a.name, qtype), from, describe(a.records))
	return true
}

// reply is a message that answers the question asked, and who sent it.
type reply struct {
	*dns.Msg
	from string
}

// ask tries one server after the other until one of them knows: NOERROR or
// NXDOMAIN, whole.
func (r *resolver) ask(ctx context.Context, t *trace, name string, qtype uint16) (reply, error) {
	if len(name) > maxNameLength {
		return reply{}, acme.Problemf(acme.DNS, "%s: the name is longer than %d characters, so there can be no such record", cut(question(name, qtype), 300), maxNameLength)
	}
	at := r.routeOf(name)
	servers := at.servers
	if len(servers) == 0 {
		servers = r.system.servers()
	}
	said := make([]string, 0, maxTries)
	for i := range min(maxTries, 2*len(servers)) {
		if ctx.Err() != nil {
			break
		}
		server := servers[i%len(servers)]
		msg, err := r.exchange(ctx, server, name, qtype)
		if err == nil && r.requireAD && at.zone == "" && !msg.AuthenticatedData {
			// RFC 6840 section 5.8. Zones with servers of their own are the
			// operator's word already.
			err = errors.New("answered without proof by DNSSEC (no AD bit), which is required here")
		}
		if err == nil {
			return reply{msg, server.String()}, nil
		}
		t.step("dns", question(name, qtype), server.String(), err.Error())
		said = append(said, fmt.Sprintf("resolver %s %v", server, err))
	}
	if len(said) == 0 {
		said = append(said, "no time was left to ask")
	}
	return reply{}, acme.Problemf(acme.DNS, "%s: %s; make the name's zone answer and try again", question(name, qtype), strings.Join(said, "; "))
}

// Ways in which UDP gives nothing to decide on.
var (
	errTruncated = errors.New("sent a truncated answer")
	errJunk      = errors.New("sent answers to other questions")
	errOtherCase = errors.New("sent an answer that does not repeat the name's case")
)

// exchange asks one server once, over UDP and, should that be truncated or
// look like guesswork, over TCP. Its errors continue "resolver x ...".
func (r *resolver) exchange(ctx context.Context, server upstream, name string, qtype uint16) (*dns.Msg, error) {
	msg, err := r.roundTrip(ctx, server, r.query(name, qtype))
	if errors.Is(err, errTruncated) && server.network == "udp" || errors.Is(err, errJunk) || errors.Is(err, errOtherCase) {
		overUDP := err
		msg, err = r.roundTrip(ctx, upstream{network: "tcp", addr: server.addr}, r.query(name, qtype))
		if err != nil {
			return nil, fmt.Errorf("%w over UDP, and over TCP %w", overUDP, err)
		}
	}
	if err != nil {
		return nil, err
	}
	if msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
		return nil, errors.New("said " + rcode(msg))
	}
	if isReferral(msg) {
		// Taking this for "no such record" would be fail-open for CAA.
		return nil, errors.New("referred to other servers instead of answering; it is no recursive resolver")
	}
	return msg, nil
}

// newQuery makes a query with a random ID (RFC 5452 section 4.2, SAFETY I73);
// each goes out of a socket of its own, whose random port is the kernel's.
func newQuery(name string, qtype uint16) *dns.Msg {
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	q := new(dns.Msg)
	q.Id = binary.BigEndian.Uint16(id[:])
	q.RecursionDesired = true
	q.Question = []dns.Question{{Name: dns.Fqdn(name), Qtype: qtype, Qclass: dns.ClassINET}}
	q.SetEdns0(udpSize, false)
	return q
}

// query is newQuery with what the configuration adds.
func (r *resolver) query(name string, qtype uint16) *dns.Msg {
	q := newQuery(name, qtype)
	q.AuthenticatedData = r.requireAD // asks for the bit without the signatures (RFC 6840 section 5.7)
	if r.mixCase {
		q.Question[0].Name = mixCase(q.Question[0].Name)
	}
	return q
}

// mixCase gives each letter a random case: so many more bits that somebody who
// can't see the question has to guess (draft-vixie-dnsext-dns0x20, SAFETY I20).
func mixCase(name string) string {
	out := []byte(name)
	random := make([]byte, len(out))
	_, _ = rand.Read(random) // never fails since Go 1.24
	for i, c := range out {
		if random[i]&1 == 1 && 'a' <= c && c <= 'z' {
			out[i] = c - 'a' + 'A'
		}
	}
	return string(out)
}

// roundTrip sends the query and reads until its answer comes.
func (r *resolver) roundTrip(ctx context.Context, server upstream, q *dns.Msg) (*dns.Msg, error) {
	wire, err := q.Pack()
	if err != nil {
		return nil, errors.New("was not asked: the name can't be written as a question")
	}
	ctx, cancel := context.WithTimeout(ctx, r.try)
	defer cancel()
	network := server.network
	if network == "tls" {
		network = "tcp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.addr)
	if err != nil {
		return nil, errors.New(explain(err))
	}
	defer hangUp(conn)
	defer follow(ctx, conn)()
	switch server.network {
	case "udp":
		return overUDP(conn, q, wire, r.mixCase)
	case "tls": // RFC 7858
		secured := tls.Client(&metered{Conn: conn, left: maxOverTLS}, tlsConfig(server, r.roots, r.sessions))
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.New(explain(err))
		}
		return overTCP(secured, q, wire)
	}
	return overTCP(conn, q, wire)
}

// overUDP drops what does not answer the question (SAFETY row 156): the
// socket is connected, so the kernel has dropped other senders' already.
//
// An answer that says the name in another case than the question is either
// forged or from a server that does not keep the case. It is never believed; a
// moment is left for the right one, and then TCP decides, which can't be forged
// by somebody off the path.
func overUDP(conn net.Conn, q *dns.Msg, wire []byte, sameCase bool) (*dns.Msg, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, errors.New(explain(err))
	}
	buf := make([]byte, maxUDP)
	var odd *time.Timer
	for range maxJunk {
		n, err := conn.Read(buf)
		if err != nil {
			if odd != nil {
				return nil, errOtherCase
			}
			return nil, errors.New(explain(err))
		}
		if n < 12 || binary.BigEndian.Uint16(buf) != q.Id {
			continue
		}
		if n == len(buf) {
			return nil, errTruncated
		}
		msg, err := parseReply(buf[:n], q)
		if errors.Is(err, errOtherQuestion) {
			continue
		}
		if err == nil && sameCase && len(msg.Question) == 1 && msg.Question[0].Name != q.Question[0].Name {
			if odd == nil {
				odd = time.AfterFunc(oddWait, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
				defer odd.Stop()
			}
			continue
		}
		return msg, err
	}
	return nil, errJunk
}

// overTCP frames messages by their length (RFC 1035 section 4.2.2), which also
// bounds them at 65,535 bytes.
func overTCP(conn net.Conn, q *dns.Msg, wire []byte) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(wire)), uint16(len(wire))) // #nosec G115 -- a query is shorter than 600 bytes
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, errors.New(explain(err))
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, errors.New(explain(err))
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, errors.New(explain(err))
	}
	return parseReply(buf, q)
}

// hangUp closes what was only read from, or broken: its error says nothing.
func hangUp(c io.Closer) { _ = c.Close() }

// follow makes conn's reads and writes end when ctx does; the function it
// returns undoes that.
func follow(ctx context.Context, conn net.Conn) func() bool {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails only on a closed connection, and then so do the reads
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}
