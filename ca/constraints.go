package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// constraints are the name constraints of all certificates of a chain (RFC
// 5280 section 4.2.1.10). Each certificate's are kept apart: a name must
// satisfy every one.
type constraints []nameConstraints

type nameConstraints struct {
	permittedDNS, excludedDNS []string
	permittedIP, excludedIP   []netip.Prefix
}

func newConstraints(chain []*x509.Certificate) (constraints, error) {
	var all constraints
	for _, cert := range chain {
		c := nameConstraints{permittedDNS: cert.PermittedDNSDomains, excludedDNS: cert.ExcludedDNSDomains}
		for _, n := range cert.PermittedIPRanges {
			prefix, err := netip.ParsePrefix(n.String())
			if err != nil {
				return nil, fmt.Errorf("name constraint %s: %w", n, err)
			}
			c.permittedIP = append(c.permittedIP, prefix)
		}
		for _, n := range cert.ExcludedIPRanges {
			prefix, err := netip.ParsePrefix(n.String())
			if err != nil {
				return nil, fmt.Errorf("name constraint %s: %w", n, err)
			}
			c.excludedIP = append(c.excludedIP, prefix)
		}
		if len(c.permittedDNS)+len(c.excludedDNS)+len(c.permittedIP)+len(c.excludedIP) > 0 {
			all = append(all, c)
		}
	}
	return all, nil
}

// allow says whether a certificate with this name would be valid below the chain.
func (c constraints) allow(id Identifier) bool {
	for _, one := range c {
		if id.typ == IP && !one.allowIP(id.Addr()) || id.typ == DNS && !one.allowDNS(id) {
			return false
		}
	}
	return true
}

func (c nameConstraints) allowIP(addr netip.Addr) bool {
	for _, p := range c.excludedIP {
		if p.Contains(addr) {
			return false
		}
	}
	if len(c.permittedIP) == 0 {
		return true
	}
	for _, p := range c.permittedIP {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func (c nameConstraints) allowDNS(id Identifier) bool {
	name := id.Base().Value()
	for _, domain := range c.excludedDNS {
		// A wildcard also stands for names below an excluded domain that lies
		// deeper than the wildcard's base.
		domain = lowerASCII(domain)
		if within(name, domain) || id.IsWildcard() && within(strings.TrimPrefix(domain, "."), name) {
			return false
		}
	}
	if len(c.permittedDNS) == 0 {
		return true
	}
	for _, domain := range c.permittedDNS {
		if domain = lowerASCII(domain); within(name, domain) || id.IsWildcard() && domain == "."+name {
			return true
		}
	}
	return false
}

// within says whether a name equals the domain or has labels in front of it.
// The form with a leading dot, which some CAs write, leaves the domain itself
// out; an empty domain holds everything.
func within(name, domain string) bool {
	if domain == "" {
		return true
	}
	if strings.HasPrefix(domain, ".") {
		return strings.HasSuffix(name, domain)
	}
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// sample is a name that the constraints allow, to try profiles with.
func (c constraints) sample() ([]Identifier, error) {
	candidates := []Identifier{{DNS, "sample.localhost"}, {IP, "127.0.0.1"}, {IP, "::1"}}
	for _, one := range c {
		for _, domain := range one.permittedDNS {
			domain = lowerASCII(strings.TrimPrefix(domain, "."))
			candidates = append(candidates, Identifier{DNS, "sample." + domain}, Identifier{DNS, domain})
		}
		for _, prefix := range one.permittedIP {
			candidates = append(candidates, Identifier{IP, prefix.Addr().String()})
		}
	}
	for _, id := range candidates {
		if c.allow(id) {
			return []Identifier{id}, nil
		}
	}
	return nil, errors.New("the issuer's name constraints leave no name that could be certified")
}
