package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"chancery/ca"
)

// problemJSON is a problem document as it is sent and stored
// (RFC 8555 sections 6.7 and 6.7.1).
type problemJSON struct {
	Type        string         `json:"type"`
	Detail      string         `json:"detail,omitempty"`
	Status      int            `json:"status,omitempty"`
	Instance    string         `json:"instance,omitempty"`
	Identifier  *ca.Identifier `json:"identifier,omitempty"`
	Algorithms  []string       `json:"algorithms,omitempty"`
	Subproblems []*Problem     `json:"subproblems,omitempty"`
}

const urnPrefix = "urn:ietf:params:acme:error:"

// MarshalJSON writes the problem document. The status is always in it, so
// that a stored problem reads the same later.
func (p *Problem) MarshalJSON() ([]byte, error) {
	return json.Marshal(problemJSON{
		Type: p.Kind.URN(), Detail: p.Detail, Status: p.HTTPStatus(), Instance: p.Instance,
		Identifier: p.Identifier, Algorithms: p.Algorithms, Subproblems: p.Subproblems,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote. A type that is not in the table
// is an error.
func (p *Problem) UnmarshalJSON(b []byte) error {
	var in problemJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	kind, ok := parseKind(in.Type)
	if !ok {
		return fmt.Errorf("unknown problem type %q", in.Type)
	}
	*p = Problem{Kind: kind, Detail: in.Detail, Instance: in.Instance, Identifier: in.Identifier, Algorithms: in.Algorithms, Subproblems: in.Subproblems}
	if in.Status != problemTypes[kind].status {
		p.Status = in.Status
	}
	return nil
}

func parseKind(urn string) (Kind, bool) {
	name, ok := strings.CutPrefix(urn, urnPrefix)
	if !ok {
		return 0, false
	}
	for _, t := range problemTypes {
		if t.name == name {
			return t.kind, true
		}
	}
	return 0, false
}

// refusalKinds translates the codes of package ca.
var refusalKinds = [...]struct {
	code ca.Code
	kind Kind
}{
	{ca.MalformedIdentifier, Malformed},
	{ca.UnsupportedIdentifier, UnsupportedIdentifier},
	{ca.RejectedIdentifier, RejectedIdentifier},
	{ca.BadCSR, BadCSR},
	{ca.BadPublicKey, BadPublicKey},
	{ca.InvalidProfile, InvalidProfile},
	{ca.BadValidity, Malformed},
	{ca.LintFailed, BadCSR},
	{ca.BadRevocationReason, BadRevocationReason},
	{ca.CAAForbids, CAA},
	{ca.NotProven, Unauthorized},
}

// AsProblem finds the problem that an error is for a client: a *Problem, or a
// *ca.Refusal with its parts as subproblems. Anything else is nil: internal.
func AsProblem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*ca.Refusal](err); ok {
		return refused(r)
	}
	return nil
}

func refused(r *ca.Refusal) *Problem {
	p := &Problem{Kind: refusalKinds[r.Code].kind, Detail: r.Detail, Identifier: r.Identifier}
	for _, part := range r.Parts {
		p.Subproblems = append(p.Subproblems, refused(part))
	}
	return p
}
