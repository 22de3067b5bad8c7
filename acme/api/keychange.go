package api

import (
	"chancery/acme"
	"chancery/acme/strict"
)

// keyChange gives the account another key (RFC 8555 section 7.3.5). The outer
// JWS is signed by the account's key, which authenticate saw to; the inner one
// by the new key. The checks stand in the sequence of the section.
func (a *API) keyChange(r *signed) (*reply, error) {
	v, err := r.payload.object()
	if err != nil {
		return nil, err
	}
	to, in, err := readInner(v, r.url)
	if err != nil {
		return nil, err
	}
	account, err := in.StringOf("account")
	if err != nil {
		return nil, badInner(err)
	}
	if account != a.url(accountRoute, r.account.ID) {
		return nil, malformed("Inner JWS: its account is %.200q, the request is signed by %.200q; they must be the same.", account, a.url(accountRoute, r.account.ID))
	}
	old, err := in.OptionalObject("oldKey")
	if err != nil {
		return nil, badInner(err)
	}
	if old == nil {
		return nil, malformed("Inner JWS: member \"oldKey\" is missing.")
	}
	oldKey, err := acme.RestoreKey(old.Raw()) // its strength is not the question, only which one it is
	if err != nil {
		return nil, within("Inner JWS: oldKey", err)
	}
	if oldKey.SPKI() != r.account.Key.SPKI() {
		return nil, malformed("Inner JWS: oldKey is not the account's key.")
	}
	changed, err := a.service.ChangeKey(r.ctx(), r.caller(), to)
	if err != nil {
		return nil, err
	}
	return ok(a.accountObject(changed)), nil
}

// readInner reads the inner JWS and verifies it with the key that it brings.
func readInner(v *strict.Value, outerURL string) (acme.Key, *strict.Value, error) {
	m, err := readJWS(v)
	if err != nil {
		return acme.Key{}, nil, within("Inner JWS", err)
	}
	switch {
	case m.header.jwk == "":
		return acme.Key{}, nil, malformed("Inner JWS: its protected header must have the new key as \"jwk\", not a \"kid\".")
	case m.header.hasNonce:
		return acme.Key{}, nil, malformed("Inner JWS: its protected header must not have a nonce.")
	case m.header.url != outerURL:
		return acme.Key{}, nil, malformed("Inner JWS: its url is %.200q, the request's is %.200q; they must be the same.", m.header.url, outerURL)
	}
	if err := checkAlgorithm(m.header.alg); err != nil {
		return acme.Key{}, nil, within("Inner JWS", err)
	}
	key, err := acme.ParseKey([]byte(m.header.jwk))
	if err != nil {
		return acme.Key{}, nil, within("Inner JWS", err)
	}
	if err := m.verify(key.Public()); err != nil {
		return acme.Key{}, nil, within("Inner JWS", err)
	}
	in, err := strict.ParseObject(m.payload)
	if err != nil {
		return acme.Key{}, nil, badInner(err)
	}
	return key, &in, nil
}

func badInner(err error) error { return malformed("Inner JWS: its payload is not usable: %v.", err) }
