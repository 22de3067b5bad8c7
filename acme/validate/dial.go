package validate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"chancery/acme"
	"chancery/ca"

	"github.com/miekg/dns"
)

// maxWire bounds what one connection may send us in all, TLS included: twice
// what the largest honest handshake, header and body come to (SAFETY A8).
const maxWire = 64 << 10

var errFlood = errors.New("sent more than is read")

// targets looks the identifier's addresses up and lets the policy choose: the
// first IPv6 and the first IPv4 address that it permits, in this sequence. An
// identifier of type ip is its own address (RFC 8738 section 4).
func (v *Validator) targets(ctx context.Context, t *trace, id ca.Identifier) ([]target, error) {
	if id.Type() == ca.IP {
		chosen, err := v.policy.permit(id.Addr())
		if err != nil {
			t.step("policy", id.Value(), "", "refused: "+err.Error())
			return nil, acme.Problemf(acme.Connection, "this CA does not connect to %s (%v); lead it elsewhere, or ask the CA's operator", id.Value(), err)
		}
		return []target{chosen}, nil
	}
	six, four := v.lookupBoth(ctx, t, id.Value())
	var out []target
	var refused []string
	for _, found := range []found{six, four} {
		chosen, no := v.choose(found.addrs)
		out = append(out, chosen...)
		refused = append(refused, no...)
	}
	if len(refused) > 0 {
		t.step("policy", id.Value(), "", "refused: "+list(4, refused))
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(refused) > 0:
		return nil, acme.Problemf(acme.Connection, "%s has no address that this CA connects to: %s; point the name elsewhere, or ask the CA's operator", id.Value(), list(4, refused))
	case four.err != nil:
		return nil, four.err
	case six.err != nil:
		return nil, six.err
	case four.nx:
		return nil, acme.Problemf(acme.DNS, "A and AAAA %s: resolver %s said NXDOMAIN, the name does not exist; add an A or AAAA record and try again", id.Value(), four.from)
	}
	return nil, acme.Problemf(acme.DNS, "A and AAAA %s: resolver %s said that the name has neither; add an A or AAAA record and try again", id.Value(), four.from)
}

// found is what one of the two address lookups brought.
type found struct {
	addrs []netip.Addr
	nx    bool
	from  string
	err   error
}

// lookupBoth asks for AAAA and A side by side, so that one that is not
// answered takes no time from the other (SAFETY row 166).
func (v *Validator) lookupBoth(ctx context.Context, t *trace, name string) (six, four found) {
	var wg sync.WaitGroup
	wg.Go(func() { six = v.lookupAddrs(ctx, t, name, dns.TypeAAAA) })
	four = v.lookupAddrs(ctx, t, name, dns.TypeA)
	wg.Wait()
	return six, four
}

func (v *Validator) lookupAddrs(ctx context.Context, t *trace, name string, qtype uint16) found {
	a, err := v.resolver.lookup(ctx, t, name, qtype)
	if err != nil {
		return found{err: err}
	}
	out := found{nx: a.nx, from: a.from}
	for _, rr := range a.records {
		if addr, ok := address(rr); ok {
			out.addrs = append(out.addrs, addr)
		}
	}
	return out
}

// choose returns the first address that the policy permits, if there is one,
// and in words those before it that it doesn't.
func (v *Validator) choose(addrs []netip.Addr) (chosen []target, refused []string) {
	for _, addr := range addrs {
		c, err := v.policy.permit(addr)
		if err == nil {
			return []target{c}, refused
		}
		refused = append(refused, err.Error())
	}
	return nil, refused
}

// connect dials the targets in turn until one takes the connection; what
// stands first in its problem, for the client to know what was tried. The
// connection reads at most maxWire bytes, and ends with ctx when the caller
// follows that.
func (v *Validator) connect(ctx context.Context, t *trace, what string, targets []target, port uint16) (net.Conn, netip.AddrPort, error) {
	var said []string
	for i, to := range targets {
		at := netip.AddrPortFrom(to.addr, port)
		// Time is left for the addresses still to be tried, and for talking.
		conn, err := v.dial(ctx, at, v.timeout/time.Duration(len(targets)-i+1))
		if err == nil {
			t.step("connect", what, at.String(), "connected")
			return &metered{Conn: conn, left: maxWire}, at, nil
		}
		if errors.Is(err, errCrowded) {
			return nil, netip.AddrPort{}, t.crowded(what, at)
		}
		t.step("connect", what, at.String(), explain(err))
		said = append(said, fmt.Sprintf("%s %s", at, explain(err)))
	}
	return nil, netip.AddrPort{}, acme.Problemf(acme.Connection, "%s: %s; open the port to this CA and try again", what, strings.Join(said, "; "))
}

// dialOne connects to exactly this address.
func dialOne(ctx context.Context, at netip.AddrPort, most time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	d := net.Dialer{KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return nil, err
	}
	if got, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || got.AddrPort().Addr().Unmap() != at.Addr() {
		hangUp(conn)
		return nil, errors.New("connected to another address")
	}
	return conn, nil
}

// metered is a connection that stops reading after so many bytes.
type metered struct {
	net.Conn
	left int
}

func (m *metered) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errFlood
	}
	n, err := m.Conn.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}

// faults are the ways in which a connection breaks, in words that continue
// "192.0.2.7:80 ...".
var faults = []struct {
	err  error
	text string
}{
	{context.Canceled, "was not waited for"},
	{context.DeadlineExceeded, "did not answer in time"},
	{os.ErrDeadlineExceeded, "did not answer in time"},
	{errFlood, fmt.Sprintf("sent more than %d bytes", maxWire)},
	{syscall.ECONNREFUSED, "refused the connection"},
	{syscall.ECONNRESET, "reset the connection"},
	{syscall.EPIPE, "reset the connection"},
	{syscall.EHOSTUNREACH, "can't be reached from here"},
	{syscall.ENETUNREACH, "can't be reached from here"},
	{syscall.EADDRNOTAVAIL, "can't be reached from here"},
	{io.EOF, "closed the connection too early"},
	{io.ErrUnexpectedEOF, "closed the connection too early"},
}

// explain says what a failed dial, read, write or handshake means. It shows
// nothing of our own side.
func explain(err error) string {
	for _, f := range faults {
		if errors.Is(err, f.err) {
			return f.text
		}
	}
	var op *net.OpError
	var timeout net.Error
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		return "did not speak TLS"
	case errors.As(err, &op) && op.Op == "remote error":
		return "sent the TLS alert " + excerpt(strings.TrimPrefix(op.Err.Error(), "tls: "))
	case errors.As(err, &op) && op.Op == "local error":
		return "failed the TLS handshake: " + excerpt(strings.TrimPrefix(op.Err.Error(), "tls: "))
	case errors.As(err, &timeout) && timeout.Timeout():
		return "did not answer in time"
	}
	// What crypto/tls found wrong with the peer, e.g. an unsupported version.
	if text, ok := strings.CutPrefix(err.Error(), "tls: "); ok {
		return "failed the TLS handshake: " + cut(words(strings.ReplaceAll(text, "x509: ", "")), maxExcerpt)
	}
	return "could not be talked to"
}
