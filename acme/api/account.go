package api

import (
	"encoding/json"
	"net/http"
	"slices"

	"chancery/acme"
	"chancery/acme/strict"
)

// ordersPage is how many orders one page of the list has.
const ordersPage = 100

// accountObject is an account (RFC 8555 section 7.1.2).
type accountObject struct {
	Status      acme.Status     `json:"status"`
	Contact     []string        `json:"contact,omitempty"`
	TermsAgreed bool            `json:"termsOfServiceAgreed,omitempty"`
	Binding     json.RawMessage `json:"externalAccountBinding,omitempty"`
	Orders      string          `json:"orders"`
}

func (a *API) accountObject(account *acme.Account) *accountObject {
	return &accountObject{
		Status: account.Status(), Contact: account.Contact, TermsAgreed: !account.TermsAgreedAt.IsZero(),
		Orders: a.url(ordersRoute, account.ID),
	}
}

// newAccount creates an account, or finds the one that has the key (RFC 8555
// sections 7.3 and 7.3.1).
func (a *API) newAccount(r *keyed) (*reply, error) {
	in, err := r.payload.object()
	if err != nil {
		return nil, err
	}
	wish := acme.NewAccount{Key: r.key, Addr: r.addr}
	if wish.Contact, err = in.OptionalStrings("contact"); err != nil {
		return nil, badPayload(err)
	}
	if wish.TermsAgreed, err = in.OptionalBool("termsOfServiceAgreed"); err != nil {
		return nil, badPayload(err)
	}
	if wish.OnlyReturnExisting, err = in.OptionalBool("onlyReturnExisting"); err != nil {
		return nil, badPayload(err)
	}
	binding, err := a.binding(r, in, &wish)
	if err != nil {
		return nil, err
	}
	account, created, err := a.service.NewAccount(r.ctx(), wish)
	if err != nil {
		return nil, err
	}
	r.seen.account = account.ID
	out := a.accountObject(account)
	re := &reply{status: http.StatusOK, location: a.url(accountRoute, account.ID), body: out}
	if created {
		re.status = http.StatusCreated
		// With the same value as in the request (section 7.3.4).
		out.Binding = binding
	}
	return re, nil
}

// binding reads the external account binding of a newAccount, and returns it
// as it was sent. A server that does not support it ignores it (section
// 7.3.4), whatever it is, and does not reflect it.
func (a *API) binding(r *keyed, in *strict.Value, wish *acme.NewAccount) (json.RawMessage, error) {
	policy := a.service.Settings.ExternalAccount
	if policy != acme.BindingOptional && policy != acme.BindingRequired {
		return nil, nil
	}
	v, err := in.OptionalObject("externalAccountBinding")
	if err != nil {
		return nil, badPayload(err)
	}
	if v == nil {
		return nil, nil
	}
	if wish.Binding, err = readBinding(v, r.url); err != nil {
		return nil, err
	}
	return json.RawMessage(v.Raw()), nil
}

// readBinding reads the inner JWS of an external account binding and makes
// every check of RFC 8555 section 7.3.4 that needs no secret. The engine
// checks the MAC, and that the payload is the account's key.
func readBinding(v *strict.Value, outerURL string) (*acme.ExternalBinding, error) {
	m, err := readJWS(v)
	if err != nil {
		return nil, within("externalAccountBinding", err)
	}
	switch {
	case !slices.Contains(macAlgorithms, m.header.alg):
		return nil, malformed("externalAccountBinding: its alg is %.20q; it must be a MAC algorithm, one of %q (RFC 8555 section 7.3.4).", m.header.alg, macAlgorithms)
	case m.header.kid == "":
		return nil, malformed("externalAccountBinding: its protected header must have the key identifier as \"kid\", not a \"jwk\" (RFC 8555 section 7.3.4).")
	case len(m.header.kid) > maxKid:
		return nil, malformed("externalAccountBinding: its kid has %d characters; no key here has such an identifier.", len(m.header.kid))
	case m.header.hasNonce:
		return nil, malformed("externalAccountBinding: its protected header must not have a nonce (RFC 8555 section 7.3.4).")
	case m.header.url != outerURL:
		return nil, malformed("externalAccountBinding: its url is %.200q, the request's is %.200q; they must be the same (RFC 8555 section 7.3.4).", m.header.url, outerURL)
	}
	key, err := acme.ParseKey([]byte(m.payload))
	if err != nil {
		return nil, within("externalAccountBinding", err)
	}
	return &acme.ExternalBinding{
		KeyID: m.header.kid, Algorithm: m.header.alg, SigningInput: m.input, MAC: m.signature, Key: key,
	}, nil
}

// macAlgorithms are those of external account bindings (RFC 7518 section 3.2).
var macAlgorithms = []string{"HS256", "HS384", "HS512"}

// accountResource reads, updates or deactivates the account (RFC 8555
// sections 7.3.2 and 7.3.6).
func (a *API) accountResource(r *signed) (*reply, error) {
	if err := r.ownAccount(); err != nil {
		return nil, err
	}
	if r.payload.isGet() {
		return ok(a.accountObject(r.account)), nil
	}
	change, err := r.accountChange()
	if err != nil {
		return nil, err
	}
	account, err := a.service.UpdateAccount(r.ctx(), r.caller(), change)
	if err != nil {
		return nil, err
	}
	return ok(a.accountObject(account)), nil
}

// accountChange reads an account update. Members that a client may not change
// are ignored; a status is, too, if it is the one that the account has.
func (r *signed) accountChange() (change acme.AccountChange, err error) {
	in, err := r.payload.object()
	if err != nil {
		return change, err
	}
	contact, err := in.OptionalStrings("contact")
	if err != nil {
		return change, badPayload(err)
	}
	if contact != nil {
		change.Contact = &contact
	}
	if change.TermsAgreed, err = in.OptionalBool("termsOfServiceAgreed"); err != nil {
		return change, badPayload(err)
	}
	status, err := in.OptionalString("status")
	if err != nil {
		return change, badPayload(err)
	}
	if m := in.Member("status"); m == nil || m.Kind() == strict.Null {
		return change, nil
	}
	switch acme.Status(status) {
	case r.account.Status():
	case acme.StatusDeactivated:
		change.Deactivate = true
	default:
		return change, malformed("The status of an account can be changed to \"deactivated\" only, not to %.40q (RFC 8555 section 7.3.6).", status)
	}
	return change, nil
}

// ownAccount refuses requests to another account's URLs, in the same words
// whether there is such an account or not (RFC 8555 section 10.5).
func (r *signed) ownAccount() error {
	if r.vars["account"] != r.account.ID {
		return acme.Problemf(acme.Unauthorized, "This URL is not of the account that signed the request.")
	}
	return nil
}

type ordersObject struct {
	Orders []string `json:"orders"`
}

// orders lists the account's orders, oldest first (RFC 8555 section 7.1.2.1).
func (a *API) orders(r *signed) (*reply, error) {
	if err := r.ownAccount(); err != nil {
		return nil, err
	}
	ids, next, err := a.service.Orders(r.ctx(), r.caller(), r.vars["after"], ordersPage)
	if err != nil {
		return nil, err
	}
	urls := make([]string, 0, len(ids))
	for _, id := range ids {
		urls = append(urls, a.url(orderRoute, id))
	}
	re := ok(ordersObject{urls})
	if next != "" {
		re.links = append(re.links, link(a.url(ordersPageRoute, r.account.ID, next), "next"))
	}
	return re, nil
}

// badPayload says that the payload's members are not of the right shape.
func badPayload(err error) error { return malformed("The payload is not usable: %v.", err) }

// within says in which inner object a problem was found.
func within(where string, err error) error {
	p := acme.AsProblem(err)
	if p == nil {
		return err
	}
	inner := *p
	inner.Detail = where + ": " + p.Detail
	return &inner
}
