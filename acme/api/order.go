package api

import (
	"net/http"
	"time"

	"chancery/acme"
	"chancery/acme/strict"
	"chancery/ca"
)

// pollAfter is what clients are told to wait while something is processing.
// The request that began the work has waited for it already.
const pollAfter = time.Second

// orderObject is an order (RFC 8555 section 7.1.3; profile:
// draft-ietf-acme-profiles; replaces: RFC 9773 section 5).
type orderObject struct {
	Status         acme.Status     `json:"status"`
	Expires        string          `json:"expires"`
	Identifiers    []ca.Identifier `json:"identifiers"`
	Profile        string          `json:"profile,omitempty"`
	NotBefore      string          `json:"notBefore,omitempty"`
	NotAfter       string          `json:"notAfter,omitempty"`
	Replaces       string          `json:"replaces,omitempty"`
	Error          *acme.Problem   `json:"error,omitempty"`
	Authorizations []string        `json:"authorizations"`
	Finalize       string          `json:"finalize"`
	Certificate    string          `json:"certificate,omitempty"`
}

// orderReply answers with an order as it is now.
func (a *API) orderReply(status int, o *acme.Order) *reply {
	out := &orderObject{
		Status: o.StatusAt(a.now()), Expires: timestamp(o.ExpiresAt), Identifiers: o.Identifiers,
		NotBefore: timestamp(o.NotBefore), NotAfter: timestamp(o.NotAfter), Replaces: o.Replaces, Error: o.Error,
		Authorizations: make([]string, 0, len(o.Authorizations)), Finalize: a.url(finalizeRoute, o.ID),
	}
	if len(a.meta.Profiles) > 0 { // who was not told of profiles is not shown one
		out.Profile = o.Profile
	}
	for _, authorization := range o.Authorizations {
		out.Authorizations = append(out.Authorizations, a.url(authorizationRoute, authorization.ID))
	}
	re := &reply{status: status, location: a.url(orderRoute, o.ID), body: out}
	if out.Status == acme.StatusValid {
		out.Certificate = a.url(certificateRoute, o.Certificate.String())
	}
	if out.Status == acme.StatusProcessing {
		re.retryAfter = pollAfter
	}
	return re
}

// timestamp is a time as RFC 3339 section 5.6 writes it, empty for none.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// newOrder is RFC 8555 section 7.4.
func (a *API) newOrder(r *signed) (*reply, error) {
	in, err := r.payload.object()
	if err != nil {
		return nil, err
	}
	var wish acme.NewOrder
	if wish.Identifiers, err = readIdentifiers(in); err != nil {
		return nil, err
	}
	if wish.NotBefore, err = optionalTime(in, "notBefore"); err != nil {
		return nil, badPayload(err)
	}
	if wish.NotAfter, err = optionalTime(in, "notAfter"); err != nil {
		return nil, badPayload(err)
	}
	if wish.Profile, err = in.OptionalString("profile"); err != nil {
		return nil, badPayload(err)
	}
	if wish.Replaces, err = in.OptionalString("replaces"); err != nil {
		return nil, badPayload(err)
	}
	o, err := a.service.NewOrder(r.ctx(), r.caller(), wish)
	if err != nil {
		return nil, err
	}
	return a.orderReply(http.StatusCreated, o), nil
}

// readIdentifiers reads all identifiers of an order and names every one that
// can't be served in one answer, as subproblems (RFC 8555 section 6.7.1).
func readIdentifiers(in *strict.Value) ([]ca.Identifier, error) {
	list, err := in.OptionalArray("identifiers")
	if err != nil {
		return nil, badPayload(err)
	}
	if list == nil {
		return nil, malformed("The payload is not usable: member \"identifiers\" is missing.")
	}
	items := list.Items()
	ids := make([]ca.Identifier, 0, len(items))
	var bad []*acme.Problem
	for i := range items {
		id, err := readIdentifier(&items[i])
		if err == nil {
			ids = append(ids, id)
			continue
		}
		p := acme.AsProblem(err)
		if p == nil {
			return nil, err
		}
		bad = append(bad, p)
	}
	switch {
	case len(bad) == 0:
		return ids, nil
	case len(items) == 1:
		return nil, bad[0]
	}
	return nil, together(bad)
}

// maxSubproblems bounds how many bad names one answer lists.
const maxSubproblems = 100

// together makes one problem of several: of their kind if it is the same.
func together(parts []*acme.Problem) *acme.Problem {
	p := acme.Problemf(parts[0].Kind, "%d of the identifiers can't be served; see the subproblems.", len(parts))
	for _, part := range parts {
		if part.Kind != p.Kind {
			p.Kind = acme.Compound
		}
	}
	p.Subproblems = parts[:min(len(parts), maxSubproblems)]
	return p
}

func readIdentifier(v *strict.Value) (ca.Identifier, error) {
	if v.Kind() != strict.Object {
		return ca.Identifier{}, malformed("An identifier must be an object with \"type\" and \"value\", it is %s.", v.Kind())
	}
	typ, err := v.StringOf("type")
	if err != nil {
		return ca.Identifier{}, malformed("An identifier is not usable: %v.", err)
	}
	value, err := v.StringOf("value")
	if err != nil {
		return ca.Identifier{}, malformed("An identifier is not usable: %v.", err)
	}
	return ca.ParseIdentifier(typ, value)
}

// order is the order by POST-as-GET.
func (a *API) order(r *signed) (*reply, error) {
	o, err := a.service.Order(r.ctx(), r.caller(), r.vars["order"])
	if err != nil {
		return nil, err
	}
	return a.orderReply(http.StatusOK, o), nil
}

// finalize takes the CSR (RFC 8555 section 7.4).
func (a *API) finalize(r *signed) (*reply, error) {
	in, err := r.payload.object()
	if err != nil {
		return nil, err
	}
	text, err := in.StringOf("csr")
	if err != nil {
		return nil, badPayload(err)
	}
	csr, err := strict.Base64URL(text)
	if err != nil {
		return nil, malformed("Member \"csr\" is %v; it must be the CSR's DER, not PEM.", err)
	}
	o, err := a.service.Finalize(r.ctx(), r.caller(), r.vars["order"], csr)
	if err != nil {
		return nil, err
	}
	return a.orderReply(http.StatusOK, o), nil
}
