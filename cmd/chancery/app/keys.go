package app

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"chancery/acme/validate"
	"chancery/ca"
)

// key is one key of the configuration: its full name, what it means, and how
// a value gets into a Config. This is the one table of keys: the file, the
// environment, --set and the reference all come from it.
type key struct {
	name string
	doc  string
	set  func(*Config, value) error
}

// into makes a set function out of a parser and the field that it fills.
func into[T any](parse func(value) (T, error), field func(*Config) *T) func(*Config, value) error {
	return func(c *Config, v value) error {
		x, err := parse(v)
		if err == nil {
			*field(c) = x
		}
		return err
	}
}

// Ranges of the numbers (invariant 8).
var (
	parseWait        = parseDuration(0, 10*time.Second) // clients' own timeouts are not much longer
	parseTimeout     = parseDuration(100*time.Millisecond, time.Minute)
	parseReuse       = parseDuration(0, 398*day)          // BR 4.2.1: validation data is at most 398 days old
	parseCRLValidity = parseDuration(time.Hour, 10*day)   // BR 4.9.7: at most 10 days
	parseCRLRefresh  = parseDuration(time.Minute, 10*day) // and a quarter of the validity, see check
	parseOCSPTime    = parseDuration(8*time.Hour, 10*day) // BR 4.9.10: 8 hours to 10 days
	parseValidity    = parseDuration(time.Minute, 10*365*day)
	parseBackdate    = parseDuration(0, time.Hour)
	parseLead        = parseDuration(0, 30*day)
	parseRSABits     = parseCount(2048, 8192)
	parseConnections = parseCount(16, 1_000_000)
	parseConcurrent  = parseCount(1, 10_000) // each holds a few file descriptors
)

var keys = slices.Concat([]key{
	{"acme.listen", "where ACME is served (HTTPS), HOST:PORT", into(parseListen, func(c *Config) *string { return &c.ACME.Listen })},
	{"acme.url", "the URL under which clients reach it; the directory is at <url>/acme/directory", into(parseBase("https", "RFC 8555 section 6.1"), func(c *Config) *string { return &c.ACME.URL })},
	{"acme.hostnames", "more names and IP addresses in Chancery's own TLS certificate", into(parseList, func(c *Config) *[]string { return &c.ACME.Hostnames })},
	{"acme.terms_of_service", "URL of the terms; when set, new accounts must agree", into(parseLink, func(c *Config) *string { return &c.ACME.TermsOfService })},
	{"acme.website", "URL shown in the directory", into(parseLink, func(c *Config) *string { return &c.ACME.Website })},
	{"acme.caa_identities", "names by which CAA records mean this CA; empty: the host of acme.url", into(parseList, func(c *Config) *[]string { return &c.ACME.CAAIdentities })},
	{"acme.external_account", "external account binding: off, optional or required", into(parseChoice("off", "optional", "required"), func(c *Config) *string { return &c.ACME.ExternalAccount })},
	{"acme.wait", "how long an answer waits for the work that its request started", into(parseWait, func(c *Config) *time.Duration { return &c.ACME.Wait })},
	{"acme.max_connections", "connections open at once", into(parseConnections, func(c *Config) *int { return &c.ACME.MaxConnections })},
	{"acme.max_connections_per_ip", "of them from one IPv4 address or IPv6 /48; 0: no bound", into(parsePerIP, func(c *Config) *int { return &c.ACME.PerIP })},

	{"publish.listen", "where CRLs, OCSP and CA certificates are served (plain HTTP), HOST:PORT", into(parseListen, func(c *Config) *string { return &c.Publish.Listen })},
	{"publish.url", "the URL under which relying parties reach it; it stands in every certificate", into(parseBase("http", "RFC 5280 section 8: https there would need a certificate to check a certificate"), func(c *Config) *string { return &c.Publish.URL })},
	{"publish.max_connections", "connections open at once", into(parseConnections, func(c *Config) *int { return &c.Publish.MaxConnections })},
	{"publish.max_connections_per_ip", "of them from one IPv4 address or IPv6 /48; 0: no bound", into(parsePerIP, func(c *Config) *int { return &c.Publish.PerIP })},

	{"admin.listen", "where the operator's API, /metrics, /healthz and /readyz are served (plain HTTP), HOST:PORT", into(parseListen, func(c *Config) *string { return &c.Admin.Listen })},
	{"admin.token", "file with the token that the API asks for", into(parsePath, func(c *Config) *string { return &c.Admin.Token })},

	{"storage.dsn", "sqlite:PATH, or postgres://…; {file: …} or {env: …} when it has a password in it", setDSN},

	{"validation.resolvers", "DNS servers to ask: IP or IP:PORT, tcp://IP:PORT, tls://IP:PORT#NAME; empty: the system's", into(parseResolvers, func(c *Config) *[]string { return &c.Validation.Resolvers })},
	{"validation.zones", "zones with DNS servers of their own, {corp.internal: [10.0.0.53]}", into(parseZones, func(c *Config) *map[string][]string { return &c.Validation.Zones })},
	{"validation.resolver_ca", "PEM file of the CAs that verify tls:// resolvers; empty: the system's", into(parseText, func(c *Config) *string { return &c.Validation.ResolverCA })},
	{"validation.dns_0x20", "names are asked for in mixed case, and answers must repeat it", into(parseBool, func(c *Config) *bool { return &c.Validation.DNS0x20 })},
	{"validation.dnssec", "off, or require-ad: believe validation.resolvers only with the AD bit", into(parseChoice(validate.DNSSECOff, validate.DNSSECRequireAD), func(c *Config) *string { return &c.Validation.DNSSEC })},
	{"validation.http_port", "port for http-01", into(parsePort, func(c *Config) *int { return &c.Validation.HTTPPort })},
	{"validation.tls_port", "port for tls-alpn-01, and for redirects to https", into(parsePort, func(c *Config) *int { return &c.Validation.TLSPort })},
	{"validation.timeout", "bound of one validation", into(parseTimeout, func(c *Config) *time.Duration { return &c.Validation.Timeout })},
	{"validation.max_concurrent", "validations at once", into(parseConcurrent, func(c *Config) *int { return &c.Validation.MaxConcurrent })},
	{"validation.reuse", "how long a proven name needs no new proof by the same account", into(parseReuse, func(c *Config) *time.Duration { return &c.Validation.Reuse })},
	{"validation.denied_networks", "networks that validation never connects to, beside link-local, multicast and unspecified ones", into(parseNetworks, func(c *Config) *[]netip.Prefix { return &c.Validation.DeniedNetworks })},
	{"validation.allowed_networks", "when not empty: the only networks that validation connects to", into(parseNetworks, func(c *Config) *[]netip.Prefix { return &c.Validation.AllowedNetworks })},
	{"validation.perspectives", "remote network perspectives that must see what this CA sees, [{name: …, url: https://HOST:PORT, pin: sha256:…}]; empty: this CA alone", into(parsePerspectives, func(c *Config) *[]validate.RemoteConfig { return &c.Validation.Perspectives })},
	{"validation.quorum", "how many of the perspectives must corroborate; 0: by the table of BR 3.2.2.9", into(parseCount(0, ca.MaxRemotes), func(c *Config) *int { return &c.Validation.Quorum })},

	{"keystore.issuer", "the issuer's key, file:PATH", into(parseKeyURI, func(c *Config) *string { return &c.Keystore.Issuer })},
	{"keystore.certificate", "PEM file: the issuer's certificate, then its parents without the root", into(parsePath, func(c *Config) *string { return &c.Keystore.Certificate })},
	{"keystore.chains", "PEM files with alternate chains above the issuer", into(parseList, func(c *Config) *[]string { return &c.Keystore.Chains })},
	{"keystore.passphrase", "the passphrase of the key files, {file: …} or {env: …}", into(parseSecret, func(c *Config) *Secret { return &c.Keystore.Passphrase })},
	{"keystore.tls", "key of Chancery's own TLS certificate, file:PATH; made when missing", into(parseKeyURI, func(c *Config) *string { return &c.Keystore.TLS })},

	{"crl.validity", "from thisUpdate to nextUpdate", into(parseCRLValidity, func(c *Config) *time.Duration { return &c.CRL.Validity })},
	{"crl.refresh", "age at which an unchanged list is made anew", into(parseCRLRefresh, func(c *Config) *time.Duration { return &c.CRL.Refresh })},
	{"ocsp.validity", "from thisUpdate to nextUpdate", into(parseOCSPTime, func(c *Config) *time.Duration { return &c.OCSP.Validity })},
	{"default_profile", "the profile of orders that name none", into(parseText, func(c *Config) *string { return &c.DefaultProfile })},
	{"policy.rules", "the rule set: private-strict, public-tls or lab; `chancery policy print` shows them", into(parseChoice(ca.PrivateStrict, ca.PublicTLS, ca.Lab), func(c *Config) *string { return &c.Policy.Rules })},
	{"policy.weak_keys", "files that list keys which are known to be weak or compromised", into(parseList, func(c *Config) *[]string { return &c.Policy.WeakKeys })},
	{"policy.denied_names", "files that list names which no profile certifies", into(parseList, func(c *Config) *[]string { return &c.Policy.DeniedNames })},
	{"log.level", "debug, info, warn or error", into(parseChoice("debug", "info", "warn", "error"), func(c *Config) *string { return &c.Log.Level })},
	{"log.format", "text or json, on standard error", into(parseChoice("text", "json"), func(c *Config) *string { return &c.Log.Format })},
}, limitKeys())

// profileKey is one key below profiles.NAME.
type profileKey struct {
	name string
	doc  string
	set  func(*ca.Profile, value) error
}

func intoProfile[T any](parse func(value) (T, error), field func(*ca.Profile) *T) func(*ca.Profile, value) error {
	return func(p *ca.Profile, v value) error {
		x, err := parse(v)
		if err == nil {
			*field(p) = x
		}
		return err
	}
}

// What a value must be beyond its form (known key types, usages, OIDs), the
// profile's own Check says. max_validity stands before validity, because a
// variable's name is matched by its end, and the longer one must come first.
var profileKeys = []profileKey{
	{"description", "what clients read in the directory", intoProfile(parseText, func(p *ca.Profile) *string { return &p.Description })},
	{"max_validity", "the longest validity that an order may ask for", intoProfile(parseValidity, func(p *ca.Profile) *time.Duration { return &p.MaxValidity })},
	{"validity", "validity when the order asks for none", intoProfile(parseValidity, func(p *ca.Profile) *time.Duration { return &p.Validity })},
	{"backdate", "how far before now a certificate begins, for clients whose clock is slow", intoProfile(parseBackdate, func(p *ca.Profile) *time.Duration { return &p.Backdate })},
	{"max_lead", "how far after now an order may ask a certificate to begin", intoProfile(parseLead, func(p *ca.Profile) *time.Duration { return &p.MaxLead })},
	{"key_types", "keys that are certified: rsa, ec256, ec384, ec521, ed25519", intoProfile(parseChoices("rsa", "ec256", "ec384", "ec521", "ed25519"), func(p *ca.Profile) *[]string { return &p.Keys })},
	{"min_rsa_bits", "the smallest RSA key that is certified", intoProfile(parseRSABits, func(p *ca.Profile) *int { return &p.MinRSABits })},
	{"key_encipherment", "keyEncipherment in the key usage of RSA keys", intoProfile(parseBool, func(p *ca.Profile) *bool { return &p.KeyEncipherment })},
	{"extended_key_usage", "serverAuth, clientAuth", intoProfile(parseChoices(ca.ServerAuth, ca.ClientAuth), func(p *ca.Profile) *[]string { return &p.ExtKeyUsages })},
	{"common_name", "none, or first: the first dns name that fits", intoProfile(parseChoice(ca.CommonNameNone, ca.CommonNameFirst), func(p *ca.Profile) *string { return &p.CommonName })},
	{"ocsp", "a pointer to the OCSP responder", intoProfile(parseBool, func(p *ca.Profile) *bool { return &p.OCSP })},
	{"ca_issuers", "a pointer to the issuer's certificate", intoProfile(parseBool, func(p *ca.Profile) *bool { return &p.CAIssuers })},
	{"crl", "a pointer to the CRL", intoProfile(parseBool, func(p *ca.Profile) *bool { return &p.CRL })},
	{"caa_require", "parameters, tag=value, that CAA records must have to allow a name", intoProfile(parseList, func(p *ca.Profile) *[]string { return &p.CAARequire })},
	{"caa", "what CAA records mean: enforce, report or off", intoProfile(parseCAAMode, func(p *ca.Profile) *ca.CAAMode { return &p.CAA })},
	{"policies", "certificate policy OIDs, dotted", intoProfile(parseList, func(p *ca.Profile) *[]string { return &p.Policies })},
	{"allowed_names", "the only names that are certified: a domain and all below it, =NAME that one alone, an address or a network", intoProfile(parseAllowed, func(p *ca.Profile) **ca.NameList { return &p.AllowedNames })},
	{"denied_names", "names that are not certified, written in the same way", intoProfile(parseNames, func(p *ca.Profile) **ca.NameList { return &p.DeniedNames })},
}

var keysByName, keysByEnv = index()

func index() (map[string]key, map[string]string) {
	byName, byEnv := make(map[string]key, len(keys)), make(map[string]string, len(keys))
	for _, k := range keys {
		byName[k.name] = k
		byEnv[envName(k.name)] = k.name
	}
	return byName, byEnv
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// profileKeyOfEnv reads PROFILES_<NAME>_<KEY>.
func profileKeyOfEnv(rest string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(rest), "profiles_")
	if !ok {
		return "", false
	}
	for _, k := range profileKeys {
		if name, ok := strings.CutSuffix(rest, "_"+k.name); ok && name != "" {
			return "profiles." + name + "." + k.name, true
		}
	}
	return "", false
}

func profileKeyNames() string {
	names := make([]string, 0, len(profileKeys))
	for _, k := range profileKeys {
		names = append(names, k.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// isSection says whether keys begin with this word.
func isSection(name string) bool {
	return slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

// suggest names the keys of the section, or the sections, for a key that does
// not exist.
func suggest(name string) string {
	section, _, deep := strings.Cut(name, ".")
	if !deep || !isSection(section) {
		var sections []string
		for _, k := range keys {
			s, _, _ := strings.Cut(k.name, ".")
			if !slices.Contains(sections, s) {
				sections = append(sections, s)
			}
		}
		return "; there are " + strings.Join(append(sections, "profiles"), ", ")
	}
	var in []string
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(k.name, section+"."); ok {
			in = append(in, rest)
		}
	}
	return "; " + section + " has " + strings.Join(in, ", ")
}

// setDSN takes a plain DSN or a reference to one.
func setDSN(c *Config, v value) error {
	if v.kind == mapping || v.kind == scalar && strings.HasPrefix(v.text, "{") {
		s, err := parseSecret(v)
		if err == nil {
			c.Storage.DSN, c.Storage.DSNFrom = "", s
		}
		return err
	}
	s, err := v.one()
	if err != nil {
		return err
	}
	if err := checkDSN(s); err != nil {
		return err
	}
	c.Storage.DSN, c.Storage.DSNFrom = s, Secret{}
	return nil
}

// checkDSN never repeats the DSN: it may have a password in it.
func checkDSN(s string) error {
	switch {
	case s == "sqlite:" || s == "":
		return errors.New("names no database; write sqlite:PATH or postgres://…")
	case strings.HasPrefix(s, "sqlite:"), strings.HasPrefix(s, "postgres://"), strings.HasPrefix(s, "postgresql://"):
		return nil
	}
	return errors.New("is no database that is known; write sqlite:PATH or postgres://USER@HOST/DATABASE")
}

func parsePath(v value) (string, error) {
	s, err := v.one()
	if err == nil && s == "" {
		err = errors.New("is empty; write a path")
	}
	return s, err
}

func parseKeyURI(v value) (string, error) {
	s, err := v.one()
	if err != nil {
		return "", err
	}
	if path, ok := strings.CutPrefix(s, "file:"); !ok || path == "" {
		return "", errors.New("is no key that is known; write file:PATH")
	}
	return s, nil
}
