package validate

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"chancery/acme"
)

func prefixes(in ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestPolicy is SAFETY I67, I69 and row 162, on the rules without a network.
func TestPolicy(t *testing.T) {
	open := &policy{}
	inner := &policy{denied: unmapAll(prefixes("10.0.0.0/8", "::ffff:172.16.0.0/108", "127.0.0.0/8", "::1/128", "fd00::/8"))}
	listed := &policy{allowed: unmapAll(prefixes("192.0.2.0/24", "2001:db8::/32")), denied: unmapAll(prefixes("192.0.2.128/25"))}
	hooked := &policy{hook: func(a netip.Addr) error {
		if !a.Is4() {
			return errors.New("not\ntoday")
		}
		return nil
	}}
	for _, row := range []struct {
		p    *policy
		addr string
		no   string // empty: permitted
	}{
		{open, "8.8.8.8", ""},
		{open, "2001:4860:4860::8888", ""},
		{open, "10.1.2.3", ""},
		{open, "127.0.0.1", ""},
		{open, "::1", ""},
		{open, "fd00::1", ""},
		{open, "100.64.0.1", ""},
		{open, "::ffff:10.1.2.3", ""},
		{open, "0.0.0.0", "unspecified"},
		{open, "0.1.2.3", "unspecified"},
		{open, "::", "unspecified"},
		{open, "::ffff:0.0.0.0", "unspecified"},
		{open, "169.254.169.254", "link-local"},
		{open, "169.254.0.1", "link-local"},
		{open, "::ffff:169.254.169.254", "link-local"},
		{open, "fe80::1", "link-local"},
		{open, "febf::1", "link-local"},
		{open, "fe80::1%eth0", "zone"},
		{open, "2001:db8::1%eth0", "zone"},
		{open, "fec0::1", "site-local"},
		{open, "224.0.0.1", "multicast"},
		{open, "239.255.255.255", "multicast"},
		{open, "ff02::1", "multicast"},
		{open, "255.255.255.255", "broadcast"},
		{open, "fd00:ec2::254", "metadata"},
		{open, "fd20:ce::254", "metadata"},
		{open, "168.63.129.16", "metadata"},
		{open, "100.100.100.200", "metadata"},
		{open, "192.0.0.192", "metadata"},
		{open, "::127.0.0.1", "IPv4-compatible"},
		{open, "::8.8.8.8", "IPv4-compatible"},
		{open, "64:ff9b::8.8.8.8", ""},
		{open, "64:ff9b::10.0.0.1", "not global"},
		{open, "64:ff9b::127.0.0.1", "not global"},
		{open, "64:ff9b::169.254.169.254", "link-local"},
		{open, "64:ff9b:1::10.0.0.1", ""}, // a network's own translator may lead inside
		{open, "64:ff9b:1::169.254.169.254", "link-local"},
		{open, "64:ff9b:1:fffe::169.254.169.254", "link-local"},
		{open, "64:ff9b:1:a9fe:a9:fe00::", "link-local"},      // /48
		{open, "64:ff9b:1:12a9:fe:a9fe::", "link-local"},      // /56
		{open, "64:ff9b:1:1234:a9:fea9:fe00:0", "link-local"}, // /64
		{open, "2002:808:808::1", ""},
		{open, "2002:a9fe:a9fe::1", "link-local"},
		{open, "2002:a00:1::1", "not global"},
		{open, "2002:7f00:1::1", "not global"},
		{open, "2001:0:808:808:0:0:f7f7:f7f7", ""},
		{open, "2001:0:808:808:0:0:5601:5601", "link-local"},
		{open, "2001:0:a00:1:0:0:f7f7:f7f7", "not global"},
		{inner, "8.8.8.8", ""},
		{inner, "10.255.255.255", "denied network"},
		{inner, "::ffff:10.0.0.1", "denied network"},
		{inner, "64:ff9b:1::10.0.0.1", "denied network"},
		{inner, "172.20.0.1", "denied network"},
		{inner, "172.32.0.1", ""},
		{inner, "127.0.0.1", "denied network"},
		{inner, "::1", "denied network"},
		{inner, "fd12::1", "denied network"},
		{listed, "192.0.2.1", ""},
		{listed, "::ffff:192.0.2.1", ""},
		{listed, "192.0.2.129", "denied network"}, // denied wins
		{listed, "8.8.8.8", "no allowed network"},
		{listed, "127.0.0.1", "no allowed network"},
		{listed, "2001:db8::1", ""},
		{hooked, "::ffff:8.8.8.8", ""},
		{hooked, "2001:db8::1", `not\ntoday`},
		{hooked, "169.254.1.1", "link-local"},
	} {
		got, err := row.p.permit(netip.MustParseAddr(row.addr))
		switch {
		case row.no == "" && err != nil:
			t.Errorf("%s: %v", row.addr, err)
		case row.no == "" && got.addr != netip.MustParseAddr(row.addr).Unmap():
			t.Errorf("%s: would dial %s", row.addr, got.addr)
		case row.no != "" && (err == nil || !strings.Contains(err.Error(), row.no)):
			t.Errorf("%s: got %v, want %s", row.addr, err, row.no)
		case row.no != "" && got.addr.IsValid():
			t.Errorf("%s: refused and yet a target", row.addr)
		}
	}
	if _, err := open.permit(netip.Addr{}); err == nil {
		t.Error("the zero address is permitted")
	}
}

// TestPolicyHoldsEverywhere: each method, each kind of identifier, no packet.
func TestPolicyHoldsEverywhere(t *testing.T) {
	port := serveRaw(t, "127.0.0.9:0", func(net.Conn) { t.Error("connected to a denied address") })
	z := startZone(t, "a.example. A 127.0.0.9", "a.example. AAAA ::ffff:127.0.0.9", "b.example. A 0.0.0.0", "b.example. AAAA fe80::1", "b.example. AAAA ::")
	v := validator(t, Config{Resolvers: []string{z.addr}, HTTPPort: port, TLSPort: port, DeniedNetworks: prefixes("127.0.0.9/32")})
	for _, typ := range []acme.ChallengeType{acme.HTTP01, acme.TLSALPN01} {
		refused(acme.Connection, "a.example has no address that this CA connects to: 127.0.0.9 is in a denied network").check(t, v, attemptAt(typ, dnsName(t, "a.example")))
		refused(acme.Connection, "unspecified").check(t, v, attemptAt(typ, dnsName(t, "b.example")))
		for _, addr := range []string{"127.0.0.9", "169.254.169.254", "fe80::1", "::"} {
			evidence := refused(acme.RejectedIdentifier, "this CA does not connect there").check(t, v, attemptAt(typ, ipName(t, addr)))
			if !strings.Contains(steps(evidence), "policy | "+addr) {
				t.Errorf("evidence:\n%s", steps(evidence))
			}
		}
	}
}
