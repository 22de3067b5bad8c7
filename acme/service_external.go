package acme

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"time"

	"chancery/ca"
)

// ExternalBinding is an external account binding whose inner JWS was parsed
// and found to have the right url, payload and shape; only its MAC is left to
// be checked (RFC 8555 section 7.3.4).
type ExternalBinding struct {
	KeyID        string
	Algorithm    string // HS256, HS384 or HS512
	SigningInput []byte
	MAC          []byte
	Key          Key // the payload: must be the account's
}

// badBinding is the one answer for every binding that does not hold, so that
// key IDs can't be probed.
func badBinding() *Problem {
	return Problemf(Unauthorized, "The external account binding is not accepted: its key is unknown, expired, revoked or used, or the MAC is wrong. Ask the CA's operator for a new key.")
}

// macs are the MAC algorithms of RFC 7518 section 3.2.
var macs = map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

// checkBinding checks the binding of a new account against policy and key and
// returns the key's ID, empty if no binding counts.
func (s *Service) checkBinding(ctx context.Context, r NewAccount, now time.Time) (string, error) {
	policy := orDefault(s.Settings.ExternalAccount, BindingOff)
	switch {
	case policy == BindingOff:
		return "", nil // a binding that the server does not support is ignored (section 7.3.4)
	case r.Binding == nil && policy == BindingRequired:
		return "", Problemf(ExternalAccountRequired, "New accounts need an external account binding here; ask the CA's operator for a key ID and MAC key.")
	case r.Binding == nil:
		return "", nil
	}
	b := r.Binding
	if b.Key.SPKI() != r.Key.SPKI() {
		return "", Problemf(Unauthorized, "The external account binding is for another account key than the one that signs the request.")
	}
	newMAC := macs[b.Algorithm]
	if newMAC == nil {
		return "", Problemf(Malformed, "The external account binding is signed with %.20q; it must be HS256, HS384 or HS512.", b.Algorithm)
	}
	k, err := s.Store.ExternalKey(ctx, b.KeyID)
	found := err == nil
	switch {
	case found:
	case errors.Is(err, ca.ErrNotFound):
		k = &ExternalKey{} // go on with a secret nobody knows: same work, same answer
	default:
		return "", s.internal(ctx, "looking up the external account key", err)
	}
	secret := make([]byte, externalKeySize)
	if found {
		if secret, err = s.Sealer.Open(k.Sealed, sealContext(k.ID)); err != nil {
			return "", s.internal(ctx, "opening the external account key", err)
		}
	}
	mac := hmac.New(newMAC, secret)
	mac.Write(b.SigningInput)
	if !hmac.Equal(mac.Sum(nil), b.MAC) || !found || !k.UsableAt(now) {
		return "", badBinding()
	}
	return k.ID, nil
}

const (
	externalKeySize  = 32 // octets, SAFETY A25
	maxExternalLabel = 200
)

func sealContext(id string) string { return "external-account-key:" + id }

// NewExternalKey is the wish for an external account key.
type NewExternalKey struct {
	Label    string
	Reusable bool
	Expires  time.Time // zero: never
}

// CreateExternalKey makes a key for external account binding. The secret is
// returned this once and stored sealed.
func (s *Service) CreateExternalKey(ctx context.Context, by ca.Actor, w NewExternalKey) (k *ExternalKey, secret []byte, err error) {
	now := s.now()
	if len(w.Label) > maxExternalLabel {
		return nil, nil, Problemf(Malformed, "The label has %d octets, at most %d are kept.", len(w.Label), maxExternalLabel)
	}
	if !w.Expires.IsZero() && !w.Expires.After(now) {
		return nil, nil, Problemf(Malformed, "The key would have expired already, at %s.", w.Expires.UTC().Format(time.RFC3339))
	}
	secret = newExternalSecret()
	k = &ExternalKey{ID: newID(now), Label: w.Label, Reusable: w.Reusable, CreatedAt: now, ExpiresAt: w.Expires.UTC().Truncate(time.Millisecond)}
	if w.Expires.IsZero() {
		k.ExpiresAt = time.Time{}
	}
	if k.Sealed, err = s.Sealer.Seal(secret, sealContext(k.ID)); err != nil {
		return nil, nil, s.internal(ctx, "sealing the external account key", err)
	}
	if err := s.Store.CreateExternalKey(ctx, by, now, k); err != nil {
		return nil, nil, s.internal(ctx, "storing the external account key", err)
	}
	return k, secret, nil
}

// newExternalSecret makes a MAC key whose base64url does not begin with "-":
// certbot and others would take it for an option. That costs 0.02 of 256 bits.
func newExternalSecret() []byte {
	secret := make([]byte, externalKeySize)
	for {
		_, _ = rand.Read(secret) // never fails: crypto/rand aborts the process instead
		if base64.RawURLEncoding.EncodeToString(secret)[0] != '-' {
			return secret
		}
	}
}

// ExternalKeys lists the external account keys, newest first.
func (s *Service) ExternalKeys(ctx context.Context) ([]*ExternalKey, error) {
	keys, err := s.Store.ExternalKeys(ctx)
	if err != nil {
		return nil, s.internal(ctx, "listing the external account keys", err)
	}
	return keys, nil
}

// RevokeExternalKey ends a key: it binds no more accounts. Accounts that it
// bound stay.
func (s *Service) RevokeExternalKey(ctx context.Context, by ca.Actor, id string) error {
	err := s.Store.RevokeExternalKey(ctx, by, s.now(), id)
	if errors.Is(err, ca.ErrNotFound) {
		return &Problem{Kind: Malformed, Status: 404, Detail: "There is no external account key with this ID."}
	}
	if err != nil {
		return s.internal(ctx, "revoking the external account key", err)
	}
	return nil
}
