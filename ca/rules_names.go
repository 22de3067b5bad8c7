package ca

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Decision is what a rule set says to a class of names.
type Decision string

// The decisions, from mild to strict. Of several classes that a name belongs
// to, the strictest decision counts.
const (
	Permit Decision = "yes"
	Listed Decision = "if listed" // only for a name that the profile's allowed_names hold
	Refuse Decision = "no"
)

func (d Decision) rank() int {
	switch d {
	case Permit:
		return 0
	case Listed:
		return 1
	case Refuse:
	}
	return 2 // what is unknown is refused
}

// NameClass is a class of names about which the rule sets decide.
type NameClass struct {
	Name      string
	What      string                 // for people, in `chancery policy print` and in refusals
	Reference string                 // where it is defined
	Decisions [decisionSets]Decision // by Rules.column
	Why       string                 // of what private-strict says
	holds     func(nameFacts) bool   // dns
	prefixes  []netip.Prefix         // ip
	except    []netip.Prefix         // ip: holes in prefixes
}

const decisionSets = 3

// nameFacts are what the classes of dns names look at.
type nameFacts struct {
	base     string // without "*."
	wildcard bool
	single   bool   // one label
	suffix   string // the public suffix by the ICANN section of the list, "" without one
	public   bool   // the name is a suffix, or is a wildcard that stands for one or for all names below one
}

func factsOf(id Identifier) nameFacts {
	base := id.Base().value
	f := nameFacts{base: base, wildcard: id.IsWildcard(), single: !strings.Contains(base, "."), suffix: icannSuffix(base)}
	// The list has wildcards of its own: each name below kawasaki.jp is a
	// suffix. home.arpa is on it, and nobody's registry (RFC 8375).
	f.public = base != "home.arpa" && (f.suffix == base || f.wildcard && icannSuffix(id.value) == id.value)
	return f
}

// icannSuffix is the public suffix of a name by the ICANN section of the
// Public Suffix List, which says what registries delegate. Its other section
// has names below which companies let customers live, who own theirs.
func icannSuffix(name string) string {
	for {
		suffix, icann := publicsuffix.PublicSuffix(name)
		if icann {
			return suffix
		}
		_, rest, ok := strings.Cut(suffix, ".")
		if !ok { // the rule for what is not on the list
			return ""
		}
		name = rest
	}
}

// below makes a class of the domains and all names below them.
func below(domains ...string) func(nameFacts) bool {
	return func(f nameFacts) bool {
		for _, d := range domains {
			if within(f.base, d) {
				return true
			}
		}
		return false
	}
}

// nameClasses is the table of dns names. Which decision counts when several
// hold does not depend on its order.
var nameClasses = []NameClass{
	{
		Name: "public suffix", What: "a name under which registries let others register", Reference: "Public Suffix List, ICANN section",
		Decisions: [...]Decision{Listed, Refuse, Permit}, Why: "a suffix is no host, and who answers there must not speak for it by chance",
		holds: func(f nameFacts) bool { return f.public && !f.wildcard },
	},
	{
		Name: "wildcard on a public suffix", What: "a wildcard for everything that is registered under a suffix", Reference: "BR 3.2.2.6",
		Decisions: [...]Decision{Listed, Refuse, Permit}, Why: "it would stand for the names of strangers",
		holds: func(f nameFacts) bool { return f.public && f.wildcard },
	},
	{
		Name: "internal name", What: "a name outside of the top-level domains of the Internet", Reference: "BR 4.2.2",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "internal zones are what a private CA is for",
		holds: func(f nameFacts) bool { return f.suffix == "" },
	},
	{
		Name: "single label", What: "a name without a dot", Reference: "BR 4.2.2",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "container networks and host files have such names, and control is proven all the same",
		holds: func(f nameFacts) bool { return f.single },
	},
	{
		Name: "localhost", What: "localhost and the names below it", Reference: "RFC 6761 section 6.3",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "they are the CA's own host, which is all that such a certificate says",
		holds: below("localhost"),
	},
	{
		Name: ".local", What: "names of multicast DNS", Reference: "RFC 6762 section 3",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "many internal zones are called so",
		holds: below("local"),
	},
	{
		Name: ".internal", What: "the top-level domain that is reserved for private use", Reference: "ICANN board, 2024-07-29",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "it is there for this",
		holds: below("internal"),
	},
	{
		Name: "home.arpa", What: "home networks", Reference: "RFC 8375",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "it is there for this",
		holds: below("home.arpa"),
	},
	{
		Name: ".arpa", What: "reverse zones and other infrastructure, without home.arpa", Reference: "RFC 3172, BR 4.2.2",
		Decisions: [...]Decision{Listed, Refuse, Permit}, Why: "who may write into a reverse zone is often somebody else than who has the address",
		holds: func(f nameFacts) bool { return within(f.base, "arpa") && !within(f.base, "home.arpa") },
	},
	{
		Name: ".test", What: "names for testing", Reference: "RFC 6761 section 6.2",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "they never are on the Internet",
		holds: below("test"),
	},
	{
		Name: ".example", What: "names for documentation", Reference: "RFC 6761 section 6.5",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "they never are anybody's",
		holds: below("example", "example.com", "example.net", "example.org"),
	},
	{
		Name: ".invalid", What: "names that never exist", Reference: "RFC 6761 section 6.4",
		Decisions: [...]Decision{Refuse, Refuse, Permit}, Why: "control of what does not exist can't be proven",
		holds: below("invalid"),
	},
	{
		Name: ".onion", What: "names of the Tor network", Reference: "RFC 7686 section 2",
		Decisions: [...]Decision{Refuse, Refuse, Refuse}, Why: "they must not be looked up in the DNS, so nothing that is served here proves them",
		holds: below("onion"),
	},
	{
		Name: ".alt", What: "names of other systems than the DNS", Reference: "RFC 9476",
		Decisions: [...]Decision{Refuse, Refuse, Refuse}, Why: "they must not be looked up in the DNS, so nothing that is served here proves them",
		holds: below("alt"),
	},
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		list[i] = netip.MustParsePrefix(s)
	}
	return list
}

// addressClasses is the table of addresses: the IANA registries of
// special-purpose addresses (RFC 6890), and what is not given out at all. An
// IPv4 address in IPv6 form never gets here: ParseIdentifier refuses it (I69).
var addressClasses = []NameClass{
	{
		Name: "private", What: "private and unique local addresses", Reference: "RFC 1918, RFC 4193",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "they are what internal services have",
		prefixes: prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
	},
	{
		Name: "shared", What: "addresses between a provider and its customers", Reference: "RFC 6598",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "overlay networks use them as private ones",
		prefixes: prefixes("100.64.0.0/10"),
	},
	{
		Name: "loopback", What: "a machine's own addresses", Reference: "RFC 1122, RFC 4291",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "they are the CA's own host, which is all that such a certificate says",
		prefixes: prefixes("127.0.0.0/8", "::1/128"),
	},
	{
		Name: "documentation", What: "addresses for documentation", Reference: "RFC 5737, RFC 3849, RFC 9637",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "they never are anybody's",
		prefixes: prefixes("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
	},
	{
		Name: "benchmarking", What: "addresses for measuring", Reference: "RFC 2544, RFC 5180",
		Decisions: [...]Decision{Permit, Refuse, Permit}, Why: "they never are on the Internet",
		prefixes: prefixes("198.18.0.0/15", "2001:2::/48"),
	},
	{
		Name: "link-local", What: "addresses of one link; clouds serve their metadata there", Reference: "RFC 3927, RFC 4291",
		Decisions: [...]Decision{Refuse, Refuse, Permit}, Why: "they mean another host on each link, and validation never connects to them",
		prefixes: prefixes("169.254.0.0/16", "fe80::/10"),
	},
	{
		Name: "unspecified, broadcast", What: "addresses that are no host's", Reference: "RFC 1122, RFC 4291",
		Decisions: [...]Decision{Refuse, Refuse, Refuse}, Why: "they are no host's",
		prefixes: prefixes("0.0.0.0/8", "255.255.255.255/32", "::/128"),
	},
	{
		Name: "multicast", What: "addresses of groups", Reference: "RFC 5771, RFC 4291",
		Decisions: [...]Decision{Refuse, Refuse, Refuse}, Why: "they are no host's",
		prefixes: prefixes("224.0.0.0/4", "ff00::/8"),
	},
	{
		Name: "translation", What: "IPv4 addresses inside of IPv6 ones: NAT64, 6to4, Teredo, compatible", Reference: "RFC 6052, RFC 8215, RFC 3056, RFC 4380",
		Decisions: [...]Decision{Refuse, Refuse, Permit}, Why: "such an address is another one in disguise; order the IPv4 address",
		prefixes: prefixes("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"),
		except:   prefixes("::/127"), // unspecified and loopback
	},
	{
		Name: "protocol assignments", What: "addresses of protocols", Reference: "RFC 6890, RFC 7723, RFC 7535, RFC 6666, RFC 9602",
		Decisions: [...]Decision{Listed, Refuse, Permit}, Why: "hosts have others",
		prefixes: prefixes("192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24",
			"2001::/23", "100::/64", "100:0:0:1::/64", "2620:4f:8000::/48", "5f00::/16"),
		except: prefixes("2001:2::/48"), // benchmarking
	},
	{
		Name: "reserved", What: "addresses that are not given out", Reference: "RFC 1112, RFC 4291, RFC 3879",
		Decisions: [...]Decision{Listed, Refuse, Permit}, Why: "some networks use them internally; those know it and can list them",
		prefixes: prefixes("240.0.0.0/4", "::/3", "4000::/2", "8000::/1"),
		except: prefixes("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "5f00::/16",
			"fc00::/7", "fe80::/10", "ff00::/8"),
	},
}

// NameClasses is the table of dns names, AddressClasses that of addresses.
func NameClasses() []NameClass { return nameClasses }

// AddressClasses is the table of addresses.
func AddressClasses() []NameClass { return addressClasses }

// Decide is what a rule set says to a class.
func (r *Rules) Decide(c *NameClass) Decision { return c.Decisions[r.column] }

// classOf finds the class with the strictest decision that a name belongs to;
// nil if it belongs to none: a public name or address.
func (r *Rules) classOf(id Identifier) (class *NameClass, d Decision) {
	table, facts, addr := nameClasses, nameFacts{}, netip.Addr{}
	if id.typ == IP {
		table, addr = addressClasses, id.Addr()
	} else {
		facts = factsOf(id)
	}
	d = Permit
	for i := range table {
		c := &table[i]
		if id.typ == IP && !c.has(addr) || id.typ == DNS && !c.holds(facts) {
			continue
		}
		if class == nil || r.Decide(c).rank() > d.rank() {
			class, d = c, r.Decide(c)
		}
	}
	return class, d
}

func (c *NameClass) has(addr netip.Addr) bool {
	for _, hole := range c.except {
		if hole.Contains(addr) {
			return false
		}
	}
	for _, p := range c.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
