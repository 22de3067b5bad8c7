package validate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// upstream is a DNS server and the way it is asked.
type upstream struct {
	network string // "udp" (and TCP for what UDP can't carry), "tcp" or "tls"
	addr    string // host:port
	name    string // what its certificate must be for, with "tls"
}

// String is how evidence and problems name it.
func (u upstream) String() string {
	if u.network == "udp" {
		return u.addr
	}
	return u.network + "://" + u.addr
}

// Bounds of the configuration of resolvers.
const (
	maxServers = 16  // of one zone; not more than maxTries are asked for one question
	maxZones   = 100 // with servers of their own
)

// schemes are the ways to ask, and their ports: RFC 1035 section 4.2, RFC 7858
// section 3.1.
var schemes = map[string]string{"udp": "53", "tcp": "53", "tls": "853"}

// ParseResolver reads a resolver's address and returns its host: host[:port]
// (UDP, and TCP for long answers), tcp://host[:port], or
// tls://host[:port][#name], whose certificate is for the name, or for the host.
func ParseResolver(s string) (host string, err error) {
	u, err := parseUpstream(s)
	if err != nil {
		return "", err
	}
	host, _, err = net.SplitHostPort(u.addr)
	return host, err
}

func parseUpstream(s string) (upstream, error) {
	u := upstream{network: "udp"}
	rest := s
	if scheme, after, ok := strings.Cut(s, "://"); ok {
		if schemes[scheme] == "" || scheme == "udp" {
			return u, fmt.Errorf("resolver %s: want host, host:port, tcp://host:port or tls://host:port#name", excerpt(s))
		}
		u.network, rest = scheme, after
	}
	rest, name, named := strings.Cut(rest, "#")
	if named && u.network != "tls" {
		return u, fmt.Errorf("resolver %s: only tls:// has a name behind #", excerpt(s))
	}
	host, port := splitHost(rest, schemes[u.network])
	if !isHost(host) {
		return u, fmt.Errorf("resolver %s: want host or host:port, with tcp:// or tls:// in front or without", excerpt(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return u, fmt.Errorf("resolver %s: port %s is not 1 to 65535", excerpt(s), excerpt(port))
	}
	u.addr = net.JoinHostPort(host, port)
	if u.network == "tls" {
		if u.name = host; named {
			u.name = name
		}
		if !isHost(u.name) {
			return u, fmt.Errorf("resolver %s: %s is no name that a certificate can be for", excerpt(s), excerpt(u.name))
		}
	}
	return u, nil
}

// splitHost takes host:port apart; port is what it is without one.
func splitHost(s, port string) (host, _ string) {
	if _, err := netip.ParseAddr(s); err == nil { // an IPv6 address has colons of its own
		return s, port
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]"), port
	}
	return s, port
}

// isHost says whether s is an IP address or a host name.
func isHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == ""
	}
	_, ok := dns.IsDomainName(s)
	return ok && s != "" && !strings.ContainsAny(s, ":[]/ \\#@") && printable(s)
}

func parseUpstreams(in []string) ([]upstream, error) {
	var out []upstream
	var faults []error
	if len(in) > maxServers {
		faults = append(faults, fmt.Errorf("%d resolvers: at most %d are possible", len(in), maxServers))
	}
	for _, s := range in {
		u, err := parseUpstream(s)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out = append(out, u)
	}
	return out, errors.Join(faults...)
}

// route is a zone and the servers that are asked for names in it.
type route struct {
	zone    string // lower case, no final dot; empty for all that is in no other
	servers []upstream
}

// parseRoutes reads zones with servers of their own, the longest first.
func parseRoutes(zones map[string][]string) ([]route, error) {
	var out []route
	var faults []error
	if len(zones) > maxZones {
		faults = append(faults, fmt.Errorf("%d zones: at most %d are possible", len(zones), maxZones))
	}
	for zone, specs := range zones {
		r := route{zone: canonical(zone)}
		servers, err := parseUpstreams(specs)
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("zone %s: %w", excerpt(zone), err))
		case len(servers) == 0:
			faults = append(faults, fmt.Errorf("zone %s: has no resolver", excerpt(zone)))
		case r.zone == "" || !isHost(r.zone) || strings.HasPrefix(r.zone, "*"):
			faults = append(faults, fmt.Errorf("zone %s: is no domain name", excerpt(zone)))
		case slices.ContainsFunc(out, func(o route) bool { return o.zone == r.zone }):
			faults = append(faults, fmt.Errorf("zone %s: is there twice", excerpt(zone)))
		}
		r.servers = servers
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b route) int {
		if d := len(b.zone) - len(a.zone); d != 0 {
			return d
		}
		return strings.Compare(a.zone, b.zone)
	})
	return out, errors.Join(faults...)
}

// below says whether name is the zone or lies in it; both canonical.
func below(zone, name string) bool {
	return zone == "" || name == zone || strings.HasSuffix(name, "."+zone)
}

// tlsConfig is for one server of DNS over TLS. TLS 1.2 is what RFC 7858
// section 3.2 (by BCP 195) asks for at least.
func tlsConfig(u upstream, roots *x509.CertPool, sessions tls.ClientSessionCache) *tls.Config {
	return &tls.Config{ServerName: u.name, RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: sessions, NextProtos: []string{"dot"}}
}
