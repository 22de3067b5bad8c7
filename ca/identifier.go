package ca

// IdentifierType is an entry of the ACME Identifier Types registry
// (RFC 8555 section 9.7.7, RFC 8738 section 7).
type IdentifierType string

// The identifier types that are served.
const (
	DNS IdentifierType = "dns"
	IP  IdentifierType = "ip"
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
