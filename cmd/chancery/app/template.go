package app

import (
	"bytes"
	"strings"
	"text/template"
)

// configTemplate is the chancery.yaml that a new directory gets: every key
// with its default, so that nothing has to be looked up to be changed.
var configTemplate = template.Must(template.New(configFile).Funcs(template.FuncMap{"list": yamlList}).Parse(`# Chancery's configuration. What stands here are the defaults.
# Check it with:  chancery config check --dir DIR
# Any key can be given as  --set acme.listen=0.0.0.0:14000  or as a variable  CHANCERY_ACME_LISTEN=…
# A flag goes before a variable, a variable before this file. Relative paths start in this directory.

acme:                               # ACME (RFC 8555), over HTTPS
  listen: "127.0.0.1:14000"         # "0.0.0.0:14000" for clients on other machines
  url: "https://localhost:14000"    # what clients use; the directory is at <url>/acme/directory
  hostnames: {{list .Hostnames}}    # more names of this host, for Chancery's own TLS certificate
  terms_of_service: ""              # a URL; when set, new accounts must agree
  website: ""
  caa_identities: []                # names by which CAA records mean this CA; empty: the host of url
  external_account: off             # off, optional or required (chancery eab create)
  wait: 1s                          # how long an answer waits for the work it started
  max_connections: 4096
  max_connections_per_ip: 1024      # 0: no bound; for a proxy in front of it

publish:                            # CRLs, OCSP and CA certificates, over plain HTTP
  listen: "127.0.0.1:14080"
  url: "http://localhost:14080"     # stands in every certificate: choose it before the first one
  max_connections: 4096
  max_connections_per_ip: 1024

admin:                              # operator's API, /metrics, /healthz, /readyz, over plain HTTP
  listen: "127.0.0.1:14090"
  token: admin.token

storage:
  dsn: "sqlite:chancery.db"         # or postgres://…, or {file: …} or {env: …} with that in it

validation:
  resolvers: []                     # ["10.0.0.53", "tls://10.0.1.53#dns.internal"]; empty: the system's
  zones: {}                         # {corp.internal: [10.0.0.53]}: zones with resolvers of their own
  resolver_ca: ""                   # PEM file of the CAs that verify tls:// resolvers; empty: the system's
  dns_0x20: true                    # ask for names in mixed case: harder to forge answers to
  dnssec: off                       # require-ad: believe resolvers only what they proved by DNSSEC
  http_port: 80
  tls_port: 443
  timeout: 10s
  max_concurrent: 100
  reuse: 10d                        # how long a proven name needs no new proof
  denied_networks: []               # link-local (cloud metadata), multicast and 0.0.0.0 are always denied
  allowed_networks: []              # when not empty: only these
  perspectives: []                  # remote ones that must see the same: chancery perspective pin
  quorum: 0                         # how many of them must; 0: by the table of BR 3.2.2.9

keystore:
  issuer: "file:keys/issuer.pem"
  certificate: issuer.pem
  chains: []                        # PEM files with alternate chains
  passphrase: {{.Passphrase}}
  tls: "file:keys/tls.pem"          # the key of Chancery's own TLS certificate

limits:                             # 20/1h is twenty at once and as many again over an hour; or off
  enabled: true                     # false for load and conformance runs
  new_accounts_per_ip: 1000/1h
  new_orders_per_account: 5000/1h
  new_orders_per_domain: off
  duplicate_certificates: 1000/1d
  failed_validations_per_account: 1000/1h
  failed_validations_per_name: 20/1h
  failed_validations_per_identifier: 200/1h
  failed_validations_per_domain: 5000/1h
  concurrent_validations_per_account: 50
  concurrent_retries: 25
  connections_per_target: 20
  pause_after: 100                  # failures in a row on one name …
  pause_over: 1d                    # … over so long; chancery account unpause ends it
  overrides: {}                     # for example: {"account:ID": {new_orders_per_account: 50000/1h}}

crl:
  validity: 1d
  refresh: 6h

ocsp:
  validity: 1d

default_profile: server
profiles: {}                        # for example: {short: {validity: 6d, max_validity: 7d}}
policy:                             # what may be certified; chancery policy print shows it
  rules: private-strict             # or public-tls, or lab
  weak_keys: []                     # files with keys that are known to be weak
  denied_names: []                  # files with names that are never certified

log:
  level: info                       # debug, info, warn or error
  format: text                      # text or json
`))

// newConfigFile writes the configuration file of a new directory.
func newConfigFile(hostnames []string, passphrase Secret) ([]byte, error) {
	var b bytes.Buffer
	err := configTemplate.Execute(&b, struct {
		Hostnames  []string
		Passphrase string
	}{hostnames, yamlSecret(passphrase)})
	return b.Bytes(), err
}

// withSettings writes KEY=VALUE flags into a file that newConfigFile made, in
// the place of the defaults. The keys and values were checked before.
func withSettings(file []byte, set []string) ([]byte, error) {
	lines := strings.Split(string(file), "\n")
	for _, s := range set {
		name, text, _ := strings.Cut(s, "=")
		i := lineOf(lines, strings.TrimSpace(name))
		if i < 0 {
			return nil, usageMistake(s, "has no line of its own in a new chancery.yaml; write it there after init")
		}
		head, rest, _ := strings.Cut(lines[i], ":")
		_, comment, commented := strings.Cut(rest, "  #")
		lines[i] = head + ": " + yamlFlag(strings.TrimSpace(name), text)
		if commented {
			lines[i] += "  #" + comment
		}
	}
	return []byte(strings.Join(lines, "\n")), nil
}

func usageMistake(flag, reason string) error {
	var m Mistakes
	m.add(place{source: sourceFlag}, flag, "%s", reason)
	return &m
}

// lineOf finds the line of a key, -1 if it has none.
func lineOf(lines []string, name string) int {
	section, leaf, deep := strings.Cut(name, ".")
	at := ""
	for i, line := range lines {
		key, _, ok := strings.Cut(line, ":")
		switch {
		case !ok || strings.HasPrefix(line, "#"):
		case !strings.HasPrefix(key, " "):
			at = key
			if key == section && !deep {
				return i
			}
		case deep && at == section && strings.TrimSpace(key) == leaf:
			return i
		}
	}
	return -1
}

// yamlFlag writes a flag's text so that the file means the same by it.
func yamlFlag(name, text string) string {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
		return text
	}
	quoted := yamlText(text)
	fromFile := value{at: place{source: configFile}, kind: scalar, text: text}
	if keysByName[name].set(defaultConfig("/"), fromFile) == nil {
		return quoted
	}
	items, err := value{at: place{source: sourceFlag}, kind: scalar, text: text}.many()
	if err != nil {
		return quoted
	}
	return yamlList(items)
}

func yamlSecret(s Secret) string {
	if s.Env != "" {
		return "{env: " + yamlText(s.Env) + "}"
	}
	return "{file: " + yamlText(s.File) + "}"
}

func yamlList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = yamlText(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// yamlText writes a scalar in single quotes, in which only the quote itself
// needs care. Control characters never get here: values refuse them.
func yamlText(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
