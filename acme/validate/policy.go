package validate

import (
	"fmt"
	"net/netip"
	"slices"
)

// A target is an address that may be connected to. Only policy.permit makes
// one, and only a target can be dialed (SAFETY I67).
type target struct{ addr netip.Addr }

// policy says where connections may go. Private and loopback addresses are
// allowed unless denied: Chancery serves networks that have no others.
type policy struct {
	denied  []netip.Prefix
	allowed []netip.Prefix // empty: all that is not denied
	hook    func(netip.Addr) error
}

// always is never connected to, whatever the configuration says: nothing that
// could want a certificate lives there, and much that must not be asked does.
var always = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"}, // RFC 1122 section 3.2.1.3; Linux takes 0.0.0.0 for loopback
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"}, // RFC 3927; cloud metadata services
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"}, // deprecated by RFC 3879
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "a cloud metadata service"},  // AWS
	{netip.MustParsePrefix("fd20:ce::254/128"), "a cloud metadata service"},   // Google
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud metadata service"},   // Azure
	{netip.MustParsePrefix("100.100.100.200/32"), "a cloud metadata service"}, // Alibaba
	{netip.MustParsePrefix("192.0.0.192/32"), "a cloud metadata service"},     // Oracle
}

var (
	compatible = netip.MustParsePrefix("::/96")          // IPv4-compatible, deprecated by RFC 4291 section 2.5.5.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052 section 2.1
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")      // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")      // RFC 4380
)

// permit makes a target of an address, or says why not, in words for the
// client's owner. An IPv4-mapped address is judged, and dialed, as IPv4
// (SAFETY I69); one that carries an IPv4 address to a translator is judged by
// both.
func (p *policy) permit(addr netip.Addr) (target, error) {
	if !addr.IsValid() || addr.Zone() != "" {
		return target{}, fmt.Errorf("%s has a zone", addr)
	}
	addr = addr.Unmap()
	if err := p.judge(addr); err != nil {
		return target{}, err
	}
	inner, global := embedded(addr)
	for _, in := range inner {
		err := p.judge(in)
		if err == nil && global && (in.IsPrivate() || in.IsLoopback()) {
			err = fmt.Errorf("%s is not global", in) // RFC 6052 section 3.1 and its like
		}
		if err != nil {
			return target{}, fmt.Errorf("%s leads to %w", addr, err)
		}
	}
	if len(p.allowed) > 0 && !within(p.allowed, addr) {
		return target{}, fmt.Errorf("%s is in no allowed network", addr)
	}
	if p.hook != nil {
		if err := p.hook(addr); err != nil {
			return target{}, fmt.Errorf("%s: %s", addr, words(err.Error()))
		}
	}
	return target{addr}, nil
}

// judge holds one unmapped address against what is always denied and what is
// configured to be.
func (p *policy) judge(addr netip.Addr) error {
	for _, a := range always {
		if a.prefix.Contains(addr) {
			return fmt.Errorf("%s is %s", addr, a.why)
		}
	}
	if compatible.Contains(addr) && addr != netip.IPv6Loopback() {
		return fmt.Errorf("%s is IPv4-compatible", addr)
	}
	if within(p.denied, addr) {
		return fmt.Errorf("%s is in a denied network", addr)
	}
	return nil
}

func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// embedded lists the IPv4 addresses that an IPv6 address may lead to, and
// says whether they must be global.
func embedded(addr netip.Addr) (inner []netip.Addr, global bool) {
	if !addr.Is6() {
		return nil, false
	}
	b := addr.As16()
	v4 := func(i, j, k, l int) netip.Addr { return netip.AddrFrom4([4]byte{b[i], b[j], b[k], b[l]}) }
	switch {
	case nat64.Contains(addr):
		return []netip.Addr{v4(12, 13, 14, 15)}, true
	case sixToFour.Contains(addr):
		return []netip.Addr{v4(2, 3, 4, 5)}, true
	case teredo.Contains(addr):
		// The server in clear, the client inverted (RFC 4380 section 4).
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{v4(4, 5, 6, 7), client}, true
	case nat64Local.Contains(addr):
		// Networks choose how much of it is prefix. The IPv4 address follows
		// it, skipping byte 8, and zeros follow that (RFC 6052 section 2.2).
		// Each reading that fits counts, but for those in 0.0.0.0/8, which
		// come of reading another form wrongly. Here it may be private.
		add := func(zeroFrom int, in netip.Addr) {
			fits := zeroFrom > 15 || b[8] == 0 && !slices.ContainsFunc(b[zeroFrom:], func(c byte) bool { return c != 0 })
			if fits && in.As4()[0] != 0 {
				inner = append(inner, in)
			}
		}
		add(11, v4(6, 7, 9, 10))    // /48
		add(12, v4(7, 9, 10, 11))   // /56
		add(13, v4(9, 10, 11, 12))  // /64
		add(16, v4(12, 13, 14, 15)) // /96
		return inner, false
	}
	return nil, false
}

// unmapAll gives prefixes of IPv4-mapped addresses their IPv4 form, which is
// the one that addresses are compared in.
func unmapAll(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out
}
