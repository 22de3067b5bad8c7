package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/acme"
	"chancery/admin"
	"chancery/ca"
)

func orderWhyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "why ID", Short: "Tell the story of an order: what was asked, seen and decided", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withDoor(cmd, func(d *door) error {
				var o admin.OrderDetail
				if err := d.get(cmd.Context(), "/orders/"+url.PathEscape(args[0]), nil, &o); err != nil {
					return fmt.Errorf("order %s: %w", args[0], err)
				}
				var c *admin.CertificateDetail
				if o.Certificate != "" {
					c = new(admin.CertificateDetail)
					if err := d.get(cmd.Context(), "/certificates/"+url.PathEscape(o.Certificate), nil, c); err != nil {
						return fmt.Errorf("certificate %s: %w", o.Certificate, err)
					}
				}
				return orderStory(cmd.OutOrStdout(), &o, c)
			})
		},
	}
}

// story writes sentences, indented by how deep they lie, until a write fails.
type story struct{ sheet }

func (s *story) tell(depth int, format string, args ...any) {
	s.line("%s%s", strings.Repeat("  ", depth), printable(fmt.Sprintf(format, args...)))
}

// orderStory tells an order from its names to its certificate or its refusal.
// c is its certificate, nil if it has none.
func orderStory(w io.Writer, o *admin.OrderDetail, c *admin.CertificateDetail) error {
	s := &story{sheet{w: w}}
	s.tell(0, "Order %s is %s.", o.ID, o.Status)
	s.tell(0, "%s  Account %s ordered a certificate (profile %s) for %s.", stamp(o.CreatedAt), o.Account, o.Profile, strings.Join(o.Names, ", "))
	if o.Replaces != "" {
		s.tell(1, "It replaces the certificate with the certID %s.", o.Replaces)
	}
	for _, a := range o.Authorizations {
		s.line("")
		s.authorizationStory(o, &a)
	}
	s.line("")
	s.outcome(o, c)
	return s.err
}

// authorizationStory tells how control of one name was proven, or not.
func (s *story) authorizationStory(o *admin.OrderDetail, a *admin.Authorization) {
	s.tell(0, "%s", a.Name)
	if a.CreatedAt.Before(o.CreatedAt) {
		s.tell(1, "The account was authorized for it before this order (authorization %s, made %s).", a.ID, stamp(a.CreatedAt))
	}
	if a.Attempted == "" {
		s.tell(1, "The client has answered none of its challenges (%s); authorization %s is %s until %s.", strings.Join(a.Offered, ", "), a.ID, a.Status, stamp(a.ExpiresAt))
		return
	}
	s.tell(1, "%s  The client said that its answer to %s was in place. Chancery looked:", stamp(a.AttemptedAt), a.Attempted)
	s.evidence(a)
	switch {
	case a.Error != nil:
		s.tell(1, "So control was not proven:")
		s.problemStory(2, a.Error)
	case !a.ValidatedAt.IsZero():
		s.tell(1, "%s  Control was proven; that counts until %s. The authorization is %s.", stamp(a.ValidatedAt), stamp(a.ExpiresAt), a.Status)
	default:
		s.tell(1, "There is no verdict yet.")
	}
}

func (s *story) evidence(a *admin.Authorization) {
	if len(a.Evidence) == 0 {
		s.tell(2, "(nothing is recorded yet)")
		return
	}
	var e acme.Evidence
	if err := json.Unmarshal(a.Evidence, &e); err != nil {
		s.tell(2, "(what is recorded can't be read: %v)", err)
		return
	}
	s.steps(2, e.Steps)
	s.caaStory(2, e.CAA)
	for _, p := range e.Perspectives {
		why := ""
		if p.Why != "" {
			why = " (" + p.Why + ")"
		}
		s.tell(2, "Perspective %s says: %s%s.", p.Name, p.Outcome, why)
		s.steps(3, p.Steps)
	}
}

func (s *story) steps(depth int, steps []acme.Step) {
	for _, step := range steps {
		from := ""
		if step.From != "" {
			from = " at " + step.From
		}
		s.tell(depth, "%s: %s%s: %s", step.Do, step.What, from, step.Got)
	}
}

func (s *story) caaStory(depth int, e *ca.CAAEvidence) {
	if e == nil {
		return
	}
	where := "there are no CAA records"
	if e.Found != "" {
		where = "the CAA records of " + e.Found + " decide"
	}
	if e.Allowed {
		s.tell(depth, "%s  CAA: allowed; %s.", stamp(e.At), where)
		return
	}
	s.tell(depth, "%s  CAA: not allowed: %s", stamp(e.At), e.Why)
}

// outcome tells how the order ended, or what it waits for.
func (s *story) outcome(o *admin.OrderDetail, c *admin.CertificateDetail) {
	if !o.FinalizedAt.IsZero() {
		s.tell(0, "%s  The client sent its CSR, and it was accepted.", stamp(o.FinalizedAt))
	}
	switch {
	case o.Error != nil:
		s.tell(0, "The order was refused:")
		s.problemStory(1, o.Error)
	case c != nil:
		s.tell(0, "Certificate %s was issued, good from %s to %s. It is %s.", c.Serial, stamp(c.NotBefore), stamp(c.NotAfter), c.Status)
		if !c.RevokedAt.IsZero() {
			s.tell(1, "%s  It was revoked (%s).", stamp(c.RevokedAt), c.Reason)
		}
	case o.Status == string(acme.StatusProcessing):
		s.tell(0, "The certificate is being made. If that lasts, see the log: issuance is tried again until %s.", stamp(o.ExpiresAt))
	case o.Status == string(acme.StatusReady):
		s.tell(0, "Everything is proven; the client has to send its CSR before %s.", stamp(o.ExpiresAt))
	case o.Status == string(acme.StatusPending):
		s.tell(0, "The order waits for the client's answers until %s.", stamp(o.ExpiresAt))
	case !s.expired(o):
		s.tell(0, "No certificate can come of it any more: an authorization failed or was given up. The client has to make a new order.")
	default:
		s.tell(0, "It ran out on %s before a CSR was accepted. The client has to make a new order.", stamp(o.ExpiresAt))
	}
}

// expired says whether time alone ended the order.
func (s *story) expired(o *admin.OrderDetail) bool {
	for _, a := range o.Authorizations {
		if a.Error != nil || a.Status == string(acme.StatusDeactivated) {
			return false
		}
	}
	return time.Now().After(o.ExpiresAt) //nolint:forbidigo // a word to a person; the status is the server's
}

func (s *story) problemStory(depth int, p *acme.Problem) {
	s.tell(depth, "%s: %s", p.Kind, p.Detail)
	for _, part := range p.Subproblems {
		about := ""
		if part.Identifier != nil {
			about = part.Identifier.Value() + ": "
		}
		s.tell(depth+1, "%s%s: %s", about, part.Kind, part.Detail)
	}
}
