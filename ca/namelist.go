package ca

import (
	"fmt"
	"net/netip"
	"strings"
)

// NamePattern is one entry of a list of names: "corp.example" is that name
// and all below it (as a name constraint, RFC 5280 section 4.2.1.10),
// "=host.corp.example" that name alone, "10.0.0.0/8" addresses, "10.0.0.1" one
// address. Only ParseNamePattern makes one.
type NamePattern struct {
	text   string
	exact  Identifier
	under  string
	prefix netip.Prefix
}

func (p NamePattern) String() string { return p.text }

// ParseNamePattern reads an entry. It takes the normal form only: who writes
// another spelling into a list of what is forbidden must hear that the entry
// would match nothing (I27).
func ParseNamePattern(text string) (NamePattern, error) {
	wrong := func(format string, args ...any) (NamePattern, error) {
		return NamePattern{}, fmt.Errorf("%s %s", quote(text), fmt.Sprintf(format, args...))
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		switch {
		case prefix != prefix.Masked():
			return wrong("has bits set behind its prefix; write %s", prefix.Masked())
		case prefix.Addr().Is4In6(): // I69: it would hold no address, since none comes in this form
			return wrong("is an IPv4 network in IPv6 form; write it as IPv4")
		case prefix.String() != text:
			return wrong("is not in its normal form; write %s", prefix)
		}
		return NamePattern{text: text, prefix: prefix}, nil
	}
	name, exact := strings.CutPrefix(text, "=")
	typ := DNS
	if _, err := netip.ParseAddr(name); err == nil {
		typ = IP
	}
	id, err := ParseIdentifier(string(typ), name)
	switch {
	case err != nil:
		return wrong("is no name, address or network: %s", err)
	case id.value != name:
		return wrong("is not in its normal form; write %s", id.value)
	case exact || typ == IP:
		return NamePattern{text: text, exact: id}, nil
	case id.IsWildcard():
		return wrong("has a wildcard; write %s for all names below it, or =%s for the wildcard alone", id.Base().value, id.value)
	}
	return NamePattern{text: text, under: id.value}, nil
}

// NameList is a list of patterns, made for looking up.
type NameList struct {
	patterns []NamePattern
	exact    map[Identifier]NamePattern
	under    map[string]NamePattern
	prefixes []NamePattern
	// parents has, for each dns entry without a wildcard, the domain whose
	// wildcard stands for the entry's name too.
	parents map[string]NamePattern
}

// NewNameList makes a list. Entries may be repeated.
func NewNameList(patterns []NamePattern) *NameList {
	l := &NameList{
		patterns: patterns,
		exact:    map[Identifier]NamePattern{}, under: map[string]NamePattern{}, parents: map[string]NamePattern{},
	}
	for _, p := range patterns {
		name := p.under
		switch {
		case p.prefix.IsValid():
			l.prefixes = append(l.prefixes, p)
		case p.under != "":
			l.under[p.under] = p
		default:
			l.exact[p.exact] = p
			if p.exact.typ == DNS && !p.exact.IsWildcard() {
				name = p.exact.value
			}
		}
		if _, parent, ok := strings.Cut(name, "."); ok {
			l.parents[parent] = p
		}
	}
	return l
}

// Patterns are the entries as they were given. The caller must not change them.
func (l *NameList) Patterns() []NamePattern {
	if l == nil {
		return nil
	}
	return l.patterns
}

// Holds says whether the name, with all that it stands for, is on the list,
// and by which entry: the question that a list of what is allowed asks. A nil
// list holds nothing.
func (l *NameList) Holds(id Identifier) (NamePattern, bool) {
	if l == nil {
		return NamePattern{}, false
	}
	if p, ok := l.exact[id]; ok {
		return p, true
	}
	if id.typ == IP {
		addr := id.Addr()
		for _, p := range l.prefixes {
			if p.prefix.Contains(addr) {
				return p, true
			}
		}
		return NamePattern{}, false
	}
	for name := id.Base().value; ; {
		if p, ok := l.under[name]; ok {
			return p, true
		}
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return NamePattern{}, false
		}
		name = rest
	}
}

// Touches says whether the name, or any that it stands for, is on the list:
// the question that a list of what is forbidden asks. "*.example" stands for
// "host.example" and not for "a.host.example".
func (l *NameList) Touches(id Identifier) (NamePattern, bool) {
	if p, ok := l.Holds(id); ok || l == nil {
		return p, ok
	}
	if !id.IsWildcard() {
		return NamePattern{}, false
	}
	p, ok := l.parents[id.Base().value]
	return p, ok
}
