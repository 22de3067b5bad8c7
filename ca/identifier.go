package ca

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// IdentifierType is an entry of the ACME Identifier Types registry
// (RFC 8555 section 9.7.7, RFC 8738 section 7).
type IdentifierType string

// The identifier types that are served.
const (
	DNS IdentifierType = "dns"
	IP  IdentifierType = "ip"
)

// Bounds of names. RFC 1035 section 2.3.4 gives 255 octets on the wire, which
// is 253 characters of text, and 63 octets for a label.
const (
	maxNameLength  = 253
	maxLabelLength = 63
	maxQuoted      = 80 // characters of outside text that an error repeats
)

// Identifier is a name in its one normal form. Only ParseIdentifier makes
// one, so whoever holds one need not check it again. It is comparable.
type Identifier struct {
	typ   IdentifierType
	value string
}

// Type is "dns" or "ip".
func (id Identifier) Type() IdentifierType { return id.typ }

// Value is the normal form: lower-case A-labels without a trailing dot
// (with "*." in front for a wildcard), or an IP address as RFC 5952 writes it.
func (id Identifier) Value() string { return id.value }

func (id Identifier) String() string { return string(id.typ) + ":" + id.value }

// IsWildcard says whether the name starts with "*." (RFC 8555 section 7.1.3).
func (id Identifier) IsWildcard() bool {
	return id.typ == DNS && strings.HasPrefix(id.value, "*.")
}

// Base is the name without "*." in front: what has to be proven for it.
func (id Identifier) Base() Identifier {
	if !id.IsWildcard() {
		return id
	}
	return Identifier{DNS, id.value[2:]}
}

// Addr is the address of an "ip" identifier, and the zero Addr for any other.
func (id Identifier) Addr() netip.Addr {
	if id.typ != IP {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(id.value)
	if err != nil {
		return netip.Addr{} // can't be: ParseIdentifier made it
	}
	return addr
}

// jsonIdentifier is the object of RFC 8555 section 7.1.3.
type jsonIdentifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// MarshalJSON writes {"type","value"}.
func (id Identifier) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonIdentifier{string(id.typ), id.value})
}

// UnmarshalJSON parses {"type","value"} by ParseIdentifier's rules.
func (id *Identifier) UnmarshalJSON(b []byte) error {
	var in jsonIdentifier
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("identifier: %w", err)
	}
	parsed, err := ParseIdentifier(in.Type, in.Value)
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseIdentifier makes the Identifier of a type and a value from outside.
// Errors are *Refusal: UnsupportedIdentifier for other types than "dns" and
// "ip", RejectedIdentifier for a reserved LDH label, else MalformedIdentifier.
// Upper-case ASCII letters are accepted and lowered; nothing else is changed.
func ParseIdentifier(typ, value string) (Identifier, error) {
	switch IdentifierType(typ) {
	case DNS:
		return parseDNS(value)
	case IP:
		return parseIP(value)
	}
	return Identifier{}, &Refusal{
		Code:   UnsupportedIdentifier,
		Detail: fmt.Sprintf("identifier type %s is not served here; use \"dns\" or \"ip\"", quote(typ)),
	}
}

func parseDNS(value string) (Identifier, error) {
	malformed := func(format string, args ...any) (Identifier, error) {
		return Identifier{}, &Refusal{
			Code:   MalformedIdentifier,
			Detail: fmt.Sprintf("dns name %s %s", quote(value), fmt.Sprintf(format, args...)),
		}
	}
	if value == "" {
		return malformed("is empty")
	}
	if len(value) > maxNameLength {
		return malformed("has %d characters, at most %d are possible", len(value), maxNameLength)
	}
	name := lowerASCII(value)
	base := name
	if strings.HasPrefix(name, "*.") { // RFC 8555 section 7.1.3: only the whole first label
		base = name[2:]
	}
	if strings.HasSuffix(base, ".") {
		return malformed("ends with a dot; leave it out")
	}
	labels := strings.Split(base, ".")
	for _, label := range labels {
		if why := checkLabel(label); why != "" {
			return malformed("%s", why)
		}
	}
	if last := labels[len(labels)-1]; allDigits(last) {
		// No top-level domain is numeric (RFC 3696 section 2), and some
		// programs would read such a name as an IPv4 address.
		return malformed("ends with the all-numeric label %s; an address is an identifier of type \"ip\"", quote(last))
	}
	for _, label := range labels {
		// RFC 5890 section 2.3.1: "??--" labels are reserved; of them only
		// A-labels have a meaning.
		if len(label) < 4 || label[2:4] != "--" {
			continue
		}
		if !strings.HasPrefix(label, "xn--") {
			return Identifier{}, &Refusal{
				Code:   RejectedIdentifier,
				Detail: fmt.Sprintf("dns name %s has the reserved label %s (RFC 5890 section 2.3.1)", quote(value), quote(label)),
			}
		}
		if !isALabel(label) {
			return malformed("has the label %s, which is no A-label: it does not round-trip (RFC 5891 section 5.4)", quote(label))
		}
	}
	return Identifier{DNS, name}, nil
}

// checkLabel says what is wrong with a lower-case label, or "".
func checkLabel(label string) string {
	switch {
	case label == "":
		return "has an empty label"
	case len(label) > maxLabelLength:
		return fmt.Sprintf("has a label of %d characters, at most %d are possible", len(label), maxLabelLength)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Sprintf("has the label %s, which begins or ends with a hyphen", quote(label))
	}
	for i := range len(label) {
		c := label[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		case c >= 0x80:
			return "has characters outside ASCII; send internationalized names as A-labels (xn--...)"
		case c == '*':
			return "has a * that is not the whole left-most label"
		default:
			return fmt.Sprintf("has the character %q; only letters, digits and hyphens are possible", rune(c))
		}
	}
	return ""
}

// aLabels are the rules of RFC 5891 section 5 for one label. Lookup's mapping
// is left out: an A-label must stand for itself.
var aLabels = idna.New(idna.BidiRule(), idna.ValidateLabels(true), idna.CheckHyphens(true),
	idna.CheckJoiners(true), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// isALabel says whether an "xn--" label decodes to something that is not
// ASCII and encodes back to itself. Without the first half, a label such as
// "xn--example-" would pass for "example" in other programs.
func isALabel(label string) bool {
	u, err := aLabels.ToUnicode(label)
	if err != nil || isASCII(u) {
		return false
	}
	back, err := aLabels.ToASCII(u)
	return err == nil && back == label
}

func parseIP(value string) (Identifier, error) {
	malformed := func(why string) (Identifier, error) {
		return Identifier{}, &Refusal{Code: MalformedIdentifier, Detail: fmt.Sprintf("ip address %s %s", quote(value), why)}
	}
	if len(value) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") {
		return malformed("is too long")
	}
	addr, err := netip.ParseAddr(value)
	switch {
	case err != nil:
		return malformed("is not an IPv4 or IPv6 address")
	case addr.Zone() != "":
		return malformed("has a zone, which means nothing outside one machine")
	case addr.Is4In6():
		return malformed("is an IPv4 address in IPv6 form; send " + addr.Unmap().String())
	case addr.String() != value: // RFC 8738 section 3
		return malformed("is not in the form of RFC 5952; send " + addr.String())
	}
	return Identifier{IP, value}, nil
}

// quote repeats outside text in an error: escaped, and cut to a bounded length.
func quote(s string) string {
	if len(s) > maxQuoted {
		return fmt.Sprintf("%+q...", s[:maxQuoted])
	}
	return fmt.Sprintf("%+q", s)
}

// lowerASCII lowers A to Z only: strings.ToLower would also turn letters such
// as the Kelvin sign into ASCII.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
