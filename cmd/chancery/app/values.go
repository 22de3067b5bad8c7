package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"chancery/acme/validate"
	"chancery/ca"

	"github.com/goccy/go-yaml/parser"
)

// This file has one parser for each kind of value a key can have. A parser
// says what was found and what would do; the caller adds place and key.

// Bounds of values.
const (
	maxText = 2000 // characters of one value; the longest sensible one is a URL
	maxList = 100  // entries of one list
	day     = 24 * time.Hour
)

// one takes a single value out of v.
func (v value) one() (string, error) {
	switch {
	case v.kind != scalar:
		return "", fmt.Errorf("wants a single value, found %s", v.kind)
	case len(v.text) > maxText:
		return "", fmt.Errorf("is longer than %d characters", maxText)
	case strings.ContainsFunc(v.text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("has control characters in it")
	}
	return v.text, nil
}

// many takes a list out of v. From a flag or the environment it is either
// YAML, "[a, b]", or words between commas.
func (v value) many() ([]string, error) {
	switch v.kind {
	case list:
	case nothing:
		return nil, nil
	case scalar:
		if !v.at.outside() {
			return nil, fmt.Errorf("wants a list, found a single value; write [%s]", v.text)
		}
		return v.words()
	case mapping, refused:
		return nil, fmt.Errorf("wants a list, found %s", v.kind)
	}
	if len(v.list) > maxList {
		return nil, fmt.Errorf("has more than %d entries", maxList)
	}
	out := make([]string, 0, len(v.list))
	for i, e := range v.list {
		s, err := e.one()
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		if s == "" {
			return nil, fmt.Errorf("entry %d is empty", i+1)
		}
		if slices.Contains(out, s) {
			return nil, fmt.Errorf("entry %d, %q, stands there twice", i+1, s)
		}
		out = append(out, s)
	}
	return out, nil
}

// words reads a list as it comes from a flag or the environment.
func (v value) words() ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(v.text), "[") {
		inner, err := v.inner()
		if err != nil {
			return nil, err
		}
		return inner.many()
	}
	split := value{at: v.at, kind: list}
	for w := range strings.SplitSeq(v.text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			split.list = append(split.list, value{at: v.at, kind: scalar, text: w})
		}
	}
	return split.many()
}

// inner reads the text of a flag or variable as YAML, for lists and maps.
func (v value) inner() (value, error) {
	file, err := parser.ParseBytes([]byte(v.text), 0)
	if err != nil || len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return value{}, fmt.Errorf("%q is neither a plain value nor YAML", v.text)
	}
	var m Mistakes
	y := yamlReader{source: v.at.source, mistakes: &m}
	inner := y.read(file.Docs[0].Body, "", 1)
	if len(m.list) > 0 {
		return value{}, errors.New(m.list[0].reason)
	}
	return inner, nil
}

// outside says whether the value came from a flag or a variable.
func (p place) outside() bool { return p.source == sourceEnv || p.source == sourceFlag }

func parseText(v value) (string, error) { return v.one() }

func parseBool(v value) (bool, error) {
	s, err := v.one()
	if err != nil {
		return false, err
	}
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is not true or false", s)
}

func parsePort(v value) (int, error) {
	s, err := v.one()
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is not a port, 1 to 65535", s)
	}
	return n, nil
}

// parseCount makes a parser for whole numbers in a range.
func parseCount(low, high int) func(value) (int, error) {
	return func(v value) (int, error) {
		s, err := v.one()
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", s)
		}
		if n < low || n > high {
			return 0, fmt.Errorf("%d is outside of %d to %d", n, low, high)
		}
		return n, nil
	}
}

// parseDuration makes a parser for durations in a range. Beside Go's own
// syntax it knows days, "90d"; a bare number has no unit and is refused.
func parseDuration(low, high time.Duration) func(value) (time.Duration, error) {
	return func(v value) (time.Duration, error) {
		s, err := v.one()
		if err != nil {
			return 0, err
		}
		d, err := duration(s)
		if err != nil {
			return 0, err
		}
		if d < low || d > high {
			return 0, fmt.Errorf("%s is outside of %s to %s", s, words(low), words(high))
		}
		return d, nil
	}
}

func duration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return 0, fmt.Errorf("%q has no unit; write for example %ss, %sh or %sd", s, s, s, s)
	}
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.Atoi(days)
		const century = 36500 // keeps the product far from overflow
		if err != nil || n < 0 || n > century {
			return 0, fmt.Errorf("%q is not a duration; write for example 90d, 12h or 1m30s", s)
		}
		d := time.Duration(n) * day
		if rest == "" {
			return d, nil
		}
		more, err := time.ParseDuration(rest)
		if err != nil || more < 0 {
			return 0, fmt.Errorf("%q is not a duration; write for example 90d, 12h or 1d12h", s)
		}
		return d + more, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration; write for example 90d, 12h or 1m30s", s)
	}
	return d, nil
}

// words writes a duration the way it may be configured.
func words(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	s = strings.TrimSuffix(s, "m0s")
	if len(s) < len(d.String()) {
		s += "m"
	}
	return strings.Replace(s, "h0m", "h", 1)
}

// parseChoice makes a parser for one of some words.
func parseChoice(choices ...string) func(value) (string, error) {
	return func(v value) (string, error) {
		s, err := v.one()
		if err != nil {
			return "", err
		}
		if !slices.Contains(choices, s) {
			return "", fmt.Errorf("%q is not one of %s", s, strings.Join(choices, ", "))
		}
		return s, nil
	}
}

// parseChoices makes a parser for a list of some words, at least one.
func parseChoices(choices ...string) func(value) ([]string, error) {
	return func(v value) ([]string, error) {
		in, err := v.many()
		if err != nil {
			return nil, err
		}
		if len(in) == 0 { // an empty list must not mean "all" (SAFETY A24)
			return nil, fmt.Errorf("is empty; name at least one of %s", strings.Join(choices, ", "))
		}
		for _, s := range in {
			if !slices.Contains(choices, s) {
				return nil, fmt.Errorf("%q is not one of %s", s, strings.Join(choices, ", "))
			}
		}
		return in, nil
	}
}

func parseListen(v value) (string, error) {
	s, err := v.one()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is no address to listen on; write HOST:PORT, for example 127.0.0.1:14000, or :14000 for all addresses", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("%q has no port from 0 (any that is free) to 65535", s)
	}
	return s, nil
}

// parseBase makes a parser for a base URL: scheme and host, no path. It is
// compared and put together with paths as text, so it has one form only.
func parseBase(scheme, why string) func(value) (string, error) {
	return func(v value) (string, error) {
		s, err := v.one()
		if err != nil {
			return "", err
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("%q is not a URL; write for example %s://ca.example:14000", s, scheme)
		}
		if u.Scheme != scheme {
			return "", fmt.Errorf("%q must begin with %s:// (%s)", s, scheme, why)
		}
		if u.Path == "/" {
			u.Path = "" // what people write; the form without is the one that is kept
		}
		if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.ForceQuery {
			return "", fmt.Errorf("%q must be scheme, host and port only, without path, query or user", s)
		}
		if u.Host != strings.ToLower(u.Host) {
			return "", fmt.Errorf("%q has upper-case letters in its host; write it in lower case", s)
		}
		return scheme + "://" + u.Host, nil
	}
}

// parseLink takes a URL for people to open, or nothing.
func parseLink(v value) (string, error) {
	if v.kind == nothing {
		return "", nil
	}
	s, err := v.one()
	if err != nil || s == "" {
		return "", err
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("%q is not an http or https URL", s)
	}
	return s, nil
}

// parseResolvers takes addresses of DNS servers.
func parseResolvers(v value) ([]string, error) {
	in, err := v.many()
	if err != nil {
		return nil, err
	}
	for i, s := range in {
		host, err := validate.ParseResolver(s)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return nil, fmt.Errorf("entry %d, %q, is no IP address with or without a port; a resolver's name can't be looked up before there is a resolver", i+1, s)
		}
	}
	return in, nil
}

// parseZones takes a map of zones to addresses of DNS servers.
func parseZones(v value) (map[string][]string, error) {
	if v.kind == scalar && v.at.outside() {
		inner, err := v.inner()
		if err != nil {
			return nil, err
		}
		v = inner
	}
	if v.kind == nothing || v.kind == mapping && len(v.fields) == 0 {
		return nil, nil
	}
	if v.kind != mapping {
		return nil, fmt.Errorf("wants a map of zones to DNS servers, found %s", v.kind)
	}
	zones := make(map[string][]string, len(v.fields))
	for _, f := range v.fields {
		id, err := ca.ParseIdentifier(string(ca.DNS), f.name)
		if err != nil || id.IsWildcard() || id.Value() != f.name {
			return nil, fmt.Errorf("%q is no zone; write a domain name in lower case", f.name)
		}
		servers, err := parseResolvers(f.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if len(servers) == 0 {
			return nil, fmt.Errorf("%s has no DNS server", f.name)
		}
		zones[f.name] = servers
	}
	return zones, nil
}

func parseCAAMode(v value) (ca.CAAMode, error) {
	s, err := parseChoice(string(ca.CAAEnforce), string(ca.CAAReport), string(ca.CAAOff))(v)
	return ca.CAAMode(s), err
}

// parseNetworks takes prefixes or single addresses, "10.0.0.0/8".
func parseNetworks(v value) ([]netip.Prefix, error) {
	in, err := v.many()
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, s := range in {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil || a.Zone() != "" {
				return nil, fmt.Errorf("%q is no network; write for example 10.0.0.0/8 or 2001:db8::/32", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("%q has bits set behind its prefix; write %s", s, p.Masked())
		}
		out = append(out, p)
	}
	return out, nil
}

func parseList(v value) ([]string, error) { return v.many() }

// parseSecret takes {file: PATH} or {env: NAME}.
func parseSecret(v value) (Secret, error) {
	if v.kind == scalar && v.at.outside() && strings.HasPrefix(strings.TrimSpace(v.text), "{") {
		inner, err := v.inner()
		if err != nil {
			return Secret{}, err
		}
		v = inner
	}
	const how = "write {file: PATH} or {env: NAME}"
	if v.kind != mapping || len(v.fields) != 1 {
		return Secret{}, errors.New("is a secret and must be a reference; " + how)
	}
	f := v.fields[0]
	s, err := f.one()
	if err != nil || s == "" {
		return Secret{}, fmt.Errorf("%s says nothing; %s", f.name, how)
	}
	switch f.name {
	case "file":
		return Secret{File: s}, nil
	case "env":
		return Secret{Env: s}, nil
	}
	return Secret{}, fmt.Errorf("knows no %q; %s", f.name, how)
}
