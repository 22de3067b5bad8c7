package app

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"chancery/acme/validate"
	"chancery/ca"
)

// builtinProfile is the profile that is there without being configured.
const builtinProfile = "server"

// check looks at what keys say together; each alone was checked when it was set.
func (c *Config) check(m *Mistakes) {
	if c.Policy.Rules == ca.Lab {
		c.Warnings = append(c.Warnings, "policy.rules is lab: names and addresses are certified that mean nothing outside of a laboratory")
	}
	c.checkListeners(m)
	c.checkURLs(m)
	c.checkProfiles(m)
	c.checkPerspectives(m, clock(nil))
	// So that making lists may fail three times before relying parties notice.
	if c.CRL.Refresh > c.CRL.Validity/4 {
		m.add(c.places["crl.refresh"], "crl.refresh", "%s is more than a quarter of crl.validity, %s", words(c.CRL.Refresh), words(c.CRL.Validity))
	}
	for _, h := range c.ACME.Hostnames {
		if _, err := hostIdentifier(h); err != nil {
			m.add(c.places["acme.hostnames"], "acme.hostnames", "%q can't be in a certificate: %s", h, err)
		}
	}
	for _, d := range c.ACME.CAAIdentities {
		if _, err := ca.ParseIdentifier("dns", d); err != nil {
			m.add(c.places["acme.caa_identities"], "acme.caa_identities", "%q is no domain name: %s", d, err)
		}
	}
	c.checkDNS()
	if !c.Limits.Enabled {
		c.Warnings = append(c.Warnings, "limits.enabled is false: for load and conformance runs only")
	}
	if host, _, err := net.SplitHostPort(c.Admin.Listen); err == nil && !loopback(host) {
		c.Warnings = append(c.Warnings, "admin.listen "+c.Admin.Listen+" can be reached from other machines, and what is said there, the token too, is not encrypted")
	}
}

// checkSecrets fetches each secret once. While a directory is being founded
// its passphrase does not exist yet, so this is apart from check.
func (c *Config) checkSecrets(m *Mistakes) {
	if _, err := c.Passphrase(); err != nil {
		m.add(c.places["keystore.passphrase"], "keystore.passphrase", "%s", strings.TrimPrefix(err.Error(), "keystore.passphrase "))
	}
	if dsn, err := c.DSN(); err != nil {
		m.add(c.places["storage.dsn"], "storage.dsn", "%s", strings.TrimPrefix(err.Error(), "storage.dsn "))
	} else if err := checkDSN(dsn); err != nil {
		m.add(c.places["storage.dsn"], "storage.dsn", "%s", err)
	}
}

// caaIdentities are the names by which CAA records mean this CA: those that are
// configured, or else the host of acme.url, if it is a name that others know.
func (c *Config) caaIdentities() []string {
	if len(c.ACME.CAAIdentities) > 0 {
		return c.ACME.CAAIdentities
	}
	u, err := url.Parse(c.ACME.URL)
	if err != nil {
		return nil
	}
	id, err := hostIdentifier(u.Hostname())
	if err != nil || !id.HasCAA() {
		return nil
	}
	return []string{id.Value()}
}

// checkDNS warns of what makes the answers of DNS worth less than it seems.
func (c *Config) checkDNS() {
	host, _, err := net.SplitHostPort(c.ACME.Listen)
	if err == nil && !loopback(host) && len(c.caaIdentities()) == 0 && c.looksAtCAA() {
		c.Warnings = append(c.Warnings, "acme.caa_identities is empty and acme.url has no name that CAA records could hold: names whose CAA records name any issuer are refused")
	}
	if c.Validation.DNSSEC != validate.DNSSECRequireAD {
		return
	}
	for _, s := range c.Validation.Resolvers {
		if host, err := validate.ParseResolver(s); err == nil && !loopback(host) && !strings.HasPrefix(s, "tls://") {
			c.Warnings = append(c.Warnings, "validation.dnssec is require-ad, but the AD bit of resolver "+s+" comes over the network unprotected; ask one on this machine, or by tls://")
		}
	}
	if len(c.Validation.Resolvers) == 0 {
		c.Warnings = append(c.Warnings, "validation.dnssec is require-ad, but validation.resolvers is empty: whether the system's resolvers validate, and are safe to reach, is not known")
	}
}

func (c *Config) looksAtCAA() bool {
	for _, p := range c.Profiles {
		if p.CAA != ca.CAAOff {
			return true
		}
	}
	return false
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// checkListeners finds two doors at one address.
func (c *Config) checkListeners(m *Mistakes) {
	names := []string{"acme.listen", "publish.listen", "admin.listen"}
	addrs := []string{c.ACME.Listen, c.Publish.Listen, c.Admin.Listen}
	for i, a := range addrs {
		if strings.HasSuffix(a, ":0") {
			continue
		}
		if j := slices.Index(addrs[:i], a); j >= 0 {
			m.add(c.places[names[i]], names[i], "%s is taken by %s already", a, names[j])
		}
	}
}

// checkURLs finds a port 0 in a URL whose listener has a fixed port: 0 stands
// for the port that the listener got.
func (c *Config) checkURLs(m *Mistakes) {
	for _, x := range []struct{ name, url, listen string }{
		{"acme.url", c.ACME.URL, c.ACME.Listen}, {"publish.url", c.Publish.URL, c.Publish.Listen},
	} {
		u, err := url.Parse(x.url)
		if err != nil {
			continue // said already
		}
		if u.Port() == "0" && !strings.HasSuffix(x.listen, ":0") {
			m.add(c.places[x.name], x.name, "%s has port 0, which stands for the port of a listener with port 0; this one listens on %s", x.url, x.listen)
		}
	}
}

func (c *Config) checkProfiles(m *Mistakes) {
	var err error
	if c.Policy.rules, err = ca.RulesByName(c.Policy.Rules); err != nil { // the key takes only names that there are
		m.add(c.places["policy.rules"], "policy.rules", "%s", err)
		return
	}
	if most := c.Policy.rules.ReuseAt(clock(nil)); c.Validation.Reuse > most {
		m.add(c.places["validation.reuse"], "validation.reuse", "%s is more than %s, the most of rule set %s now", words(c.Validation.Reuse), words(most), c.Policy.Rules)
	}
	if _, ok := c.Profiles[builtinProfile]; !ok {
		p := ca.DefaultProfile()
		p.Name = builtinProfile
		c.Profiles[builtinProfile] = &p
	}
	if _, ok := c.Profiles[c.DefaultProfile]; !ok {
		m.add(c.places["default_profile"], "default_profile", "there is no profile %q; there are %s", c.DefaultProfile, strings.Join(slices.Sorted(maps.Keys(c.Profiles)), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		for _, err := range []error{c.Profiles[name].Check(), c.Policy.rules.CheckProfile(c.Profiles[name])} {
			if err == nil {
				continue
			}
			for _, e := range unjoin(err) {
				m.add(c.places["profiles."+name], "profiles."+name, "%s", e)
			}
		}
	}
}

// unjoin takes errors.Join apart, so that each mistake gets a line.
func unjoin(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// hostIdentifier reads a host name or an IP address.
func hostIdentifier(host string) (ca.Identifier, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return ca.ParseIdentifier("ip", a.String())
	}
	return ca.ParseIdentifier("dns", host)
}
