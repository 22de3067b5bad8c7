package validate

import (
	"context"
	"crypto/rand"
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
)

// resolver asks recursive DNS servers. It keeps no cache, so that a
// validation sees the zone as it is, and it never decides on a truncated
// answer (SAFETY I15).
type resolver struct {
	fixed  []string // host:port; empty: the system's
	system *system
	try    time.Duration // how long to wait for one answer
}

func newResolver(servers []string, timeout time.Duration, now func() time.Time) *resolver {
	return &resolver{fixed: servers, system: newSystem("/etc/resolv.conf", "/etc/hosts", now), try: timeout / triesOfTime}
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

// local answers what no server is to be asked: localhost (RFC 6761 section
// 6.3) and, with the system's resolvers, what /etc/hosts holds.
func (r *resolver) local(t *trace, a *answer, qtype uint16) bool {
	var addrs []netip.Addr
	from := "(built in, RFC 6761)"
	if a.name == "localhost" || strings.HasSuffix(a.name, ".localhost") {
		addrs = []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	} else if len(r.fixed) == 0 && (qtype == dns.TypeA || qtype == dns.TypeAAAA) {
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
	servers := r.fixed
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
		if err == nil {
			return reply{msg, server}, nil
		}
		t.step("dns", question(name, qtype), server, err.Error())
		said = append(said, fmt.Sprintf("resolver %s %v", server, err))
	}
	if len(said) == 0 {
		said = append(said, "no time was left to ask")
	}
	return reply{}, acme.Problemf(acme.DNS, "%s: %s; make the name's zone answer and try again", question(name, qtype), strings.Join(said, "; "))
}

// Two ways in which UDP gives nothing to decide on.
var (
	errTruncated = errors.New("sent a truncated answer")
	errJunk      = errors.New("sent answers to other questions")
)

// exchange asks one server once, over UDP and, should that be truncated or
// look like guesswork, over TCP. Its errors continue "resolver x ...".
func (r *resolver) exchange(ctx context.Context, server, name string, qtype uint16) (*dns.Msg, error) {
	msg, err := r.roundTrip(ctx, "udp", server, newQuery(name, qtype))
	if errors.Is(err, errTruncated) || errors.Is(err, errJunk) {
		overUDP := err
		msg, err = r.roundTrip(ctx, "tcp", server, newQuery(name, qtype))
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

// newQuery makes a query with a random ID (RFC 5452 section 4.2); the socket's
// random port is the kernel's.
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

// roundTrip sends the query over network ("udp" or "tcp") and reads until its
// answer comes.
func (r *resolver) roundTrip(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	wire, err := q.Pack()
	if err != nil {
		return nil, errors.New("was not asked: the name can't be written as a question")
	}
	ctx, cancel := context.WithTimeout(ctx, r.try)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, errors.New(explain(err))
	}
	defer hangUp(conn)
	defer follow(ctx, conn)()
	if network == "tcp" {
		return overTCP(conn, q, wire)
	}
	return overUDP(conn, q, wire)
}

// overUDP drops what does not answer the question (SAFETY row 156): the
// socket is connected, so the kernel has dropped other senders' already.
func overUDP(conn net.Conn, q *dns.Msg, wire []byte) (*dns.Msg, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, errors.New(explain(err))
	}
	buf := make([]byte, maxUDP)
	for range maxJunk {
		n, err := conn.Read(buf)
		if err != nil {
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
