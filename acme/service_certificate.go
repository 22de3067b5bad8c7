package acme

import (
	"context"
	"errors"
	"time"

	"chancery/ca"
)

// Certificate returns a chain of one of the caller's certificates in PEM, and
// how many chains there are (RFC 8555 section 7.4.2). chain 0 is the default.
func (s *Service) Certificate(ctx context.Context, c Caller, serial string, chain int) (pem []byte, chains int, err error) {
	parsed, err := ca.ParseSerial(serial)
	if err != nil {
		return nil, 0, notFound("certificate")
	}
	cert, err := s.Store.Certificate(ctx, parsed)
	switch {
	case errors.Is(err, ca.ErrNotFound) || err == nil && (cert.Account != c.Account.ID || cert.DER == nil):
		return nil, 0, notFound("certificate")
	case err != nil:
		return nil, 0, s.internal(ctx, "looking up the certificate", err)
	}
	all, err := s.Issuer.Chains(cert)
	if err != nil {
		return nil, 0, s.internal(ctx, "building the chain", err)
	}
	if chain < 0 || chain >= len(all) {
		return nil, 0, notFound("certificate chain")
	}
	return all[chain], len(all), nil
}

// RevokeCertificate revokes a certificate (RFC 8555 section 7.6). The request
// was signed either by an account (c.Account) or, when that is nil, by key,
// which must be the certificate's own.
func (s *Service) RevokeCertificate(ctx context.Context, c Caller, key Key, der []byte, reason ca.Reason) error {
	now := s.now()
	cert, err := s.Issuer.Own(ctx, der)
	if errors.Is(err, ca.ErrNotFound) {
		return &Problem{Kind: Malformed, Status: 404, Detail: "This certificate was not issued here; ask the CA that its issuer field names."}
	}
	if err != nil {
		return s.refusal(ctx, "looking up the certificate", err)
	}
	by, err := s.mayRevoke(ctx, c, key, cert, reason, now)
	if err != nil {
		return err
	}
	if now.After(cert.NotAfter.Add(time.Second)) { // its last second is inclusive
		return Problemf(Unauthorized, "The certificate expired on %s; an expired certificate can't be revoked.", cert.NotAfter.Format(time.RFC3339))
	}
	r := ca.Revocation{By: by, Serial: cert.Serial, Reason: reason, At: now.Truncate(time.Second)}
	if by.Kind == ca.ActorCertificateKey && reason == ca.KeyCompromise {
		return s.compromised(ctx, cert, r)
	}
	return s.revoke(ctx, cert, r)
}

// Revoke revokes a certificate by an operator's word. A serial that was never
// reserved is ca.ErrNotFound, one that is revoked a *Problem alreadyRevoked.
func (s *Service) Revoke(ctx context.Context, r ca.Revocation) error {
	cert, err := s.Store.Certificate(ctx, r.Serial)
	if errors.Is(err, ca.ErrNotFound) {
		return err
	}
	if err != nil {
		return s.internal(ctx, "looking up the certificate", err)
	}
	if r.At.IsZero() {
		r.At = s.now()
	}
	r.At = r.At.UTC().Truncate(time.Second)
	return s.revoke(ctx, cert, r)
}

func (s *Service) revoke(ctx context.Context, cert *ca.Certificate, r ca.Revocation) error {
	err := s.Issuer.Revoke(ctx, r)
	if errors.Is(err, ca.ErrAlreadyRevoked) {
		return Problemf(AlreadyRevoked, "The certificate is revoked already.")
	}
	if err != nil {
		return s.refusal(ctx, "revoking the certificate", err)
	}
	if s.Hooks.Revoked != nil {
		s.Hooks.Revoked(cert, r.Reason)
	}
	return nil
}

// mayRevoke says who asks for the revocation, or why they may not:
// the account that ordered the certificate, an account that holds valid
// authorizations for all its names, or the certificate's own key (RFC 8555
// section 7.6). Control of names proves nothing about a key, so an account
// that did not order the certificate can't claim keyCompromise (SAFETY I46).
func (s *Service) mayRevoke(ctx context.Context, c Caller, key Key, cert *ca.Certificate, reason ca.Reason, now time.Time) (ca.Actor, error) {
	if c.Account == nil {
		if key.IsZero() || key.SPKI() != cert.SPKI {
			return ca.Actor{}, Problemf(Unauthorized, "The request is signed by a key that is neither an account's nor the certificate's.")
		}
		return ca.Actor{Kind: ca.ActorCertificateKey, ID: cert.Serial.String(), Addr: c.Addr}, nil
	}
	if cert.Account == c.Account.ID {
		return c.actor(), nil
	}
	authorized, err := s.Store.Authorized(ctx, c.Account.ID, cert.Names, now)
	switch {
	case err != nil:
		return ca.Actor{}, s.internal(ctx, "looking for authorizations", err)
	case !authorized:
		return ca.Actor{}, Problemf(Unauthorized, "This account neither ordered the certificate nor holds valid authorizations for all its names.")
	case reason == ca.KeyCompromise:
		return ca.Actor{}, Problemf(BadRevocationReason, "keyCompromise must be shown by signing the request with the certificate's own key, or asked for by the account that ordered it; with authorizations for the names alone give another reason.")
	}
	return c.actor(), nil
}

// RenewalInfo is when a certificate should be renewed (RFC 9773 section 4.2).
type RenewalInfo struct {
	Start, End time.Time     // suggestedWindow
	RetryAfter time.Duration // when to ask again
}

// Bounds of Retry-After for renewal information (RFC 9773 section 4.3.2).
const (
	maxRenewalRetry = 6 * time.Hour
	minRenewalRetry = time.Minute
)

// RenewalInfo says when the certificate with this certID should be renewed.
// While it is good: from the last third of its life on, spread over a
// twelfth of it, so that what was issued together is not renewed together.
// Once revoked: now.
func (s *Service) RenewalInfo(ctx context.Context, certID string) (RenewalInfo, error) {
	now := s.now().Truncate(time.Second)
	cert, err := s.Issuer.ByCertID(ctx, certID)
	if errors.Is(err, ca.ErrNotFound) {
		return RenewalInfo{}, &Problem{Kind: Malformed, Status: 404, Detail: "No certificate with this certID was issued here."}
	}
	if err != nil {
		return RenewalInfo{}, s.refusal(ctx, "looking up the certificate", err)
	}
	life := cert.NotAfter.Sub(cert.NotBefore)
	info := RenewalInfo{RetryAfter: min(max(life/20, minRenewalRetry), maxRenewalRetry).Truncate(time.Second)}
	if cert.Revocation != nil {
		info.Start, info.End = now.Add(-time.Hour), now.Add(-time.Minute)
		return info, nil
	}
	info.Start = cert.NotAfter.Add(-life / 3).Truncate(time.Second)
	info.End = info.Start.Add(max(life/12, time.Second)).Truncate(time.Second)
	return info, nil
}
