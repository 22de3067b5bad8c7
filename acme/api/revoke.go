package api

import (
	"net/http"

	"chancery/acme"
	"chancery/acme/strict"
	"chancery/ca"
)

// revokeByAccount and revokeByKey are the two ways to sign a revocation
// request (RFC 8555 section 7.6). Who may revoke what is the engine's decision.
func (a *API) revokeByAccount(r *signed) (*reply, error) {
	return a.revoke(r.request, r.payload, r.caller(), acme.Key{})
}

func (a *API) revokeByKey(r *keyed) (*reply, error) {
	return a.revoke(r.request, r.payload, acme.Caller{Addr: r.addr}, r.key)
}

func (a *API) revoke(r *request, p payload, by acme.Caller, key acme.Key) (*reply, error) {
	in, err := p.object()
	if err != nil {
		return nil, err
	}
	text, err := in.StringOf("certificate")
	if err != nil {
		return nil, badPayload(err)
	}
	der, err := strict.Base64URL(text)
	if err != nil {
		return nil, malformed("Member \"certificate\" is %v; it must be the certificate's DER, not PEM.", err)
	}
	n, err := in.OptionalInt("reason")
	if err != nil {
		return nil, badPayload(err)
	}
	reason := ca.Unspecified
	if n != nil {
		// RFC 5280 section 5.3.1 has 0 to 10; the conversion must not fold
		// another number into them.
		if *n < 0 || *n > 10 {
			return nil, acme.Problemf(acme.BadRevocationReason, "Reason %d is not one of RFC 5280 section 5.3.1.", *n)
		}
		reason = ca.Reason(*n)
	}
	if err := a.service.RevokeCertificate(r.ctx(), by, key, der, reason); err != nil {
		return nil, err
	}
	return &reply{status: http.StatusOK}, nil
}
