package ca

// ActorKind says what sort of party did something.
type ActorKind string

// The kinds of actors that audit events name.
const (
	ActorAccount        ActorKind = "account"         // an ACME account, by its key
	ActorCertificateKey ActorKind = "certificate-key" // whoever holds a certificate's key (RFC 8555 section 7.6)
	ActorOperator       ActorKind = "operator"        // a person or script at the admin door
	ActorSystem         ActorKind = "system"          // Chancery itself: recovery, renewal of its own certificate
)

// Actor is who did something. Each mutation takes one, and the audit event of
// the same transaction names it.
type Actor struct {
	Kind ActorKind
	ID   string // account ID, certificate serial, operator's name, or part of Chancery
	Addr string // client's IP address, empty when there is none
}

// System is Chancery itself, acting in the named part.
func System(part string) Actor { return Actor{Kind: ActorSystem, ID: part} }
