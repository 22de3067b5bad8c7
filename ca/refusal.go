package ca

// Code says which rule turned something down.
type Code int

// The codes of a Refusal. acme/problem.go gives each its error type of
// RFC 8555 section 6.7.
const (
	MalformedIdentifier   Code = iota // not a name at all
	UnsupportedIdentifier             // a type that is not served
	RejectedIdentifier                // a name that policy does not allow
	BadCSR                            // a CSR that can't be used
	BadPublicKey                      // a key that must not be certified or used
	InvalidProfile                    // no such profile, or not for this order
	BadValidity                       // notBefore/notAfter outside the profile's limits
	LintFailed                        // the certificate would break a rule that applies here
	BadRevocationReason               // a reason that may not be asked for
	CAAForbids                        // CAA records don't let this CA certify a name
	NotProven                         // the evidence for a name is missing, stale or of the wrong kind
)

// A Refusal says why something from outside was turned down, in words that
// its sender can act on. It never holds internals.
type Refusal struct {
	Code       Code
	Detail     string
	Identifier *Identifier // the name it is about, nil when it is about none or about an unparsable one
	Parts      []*Refusal  // one for each name, when several are at fault
}

func (r *Refusal) Error() string { return r.Detail }
