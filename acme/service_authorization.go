package acme

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"chancery/ca"
)

// newAuthorization offers the challenges that can prove control of a name:
// a wildcard only by DNS (RFC 8555 section 8.4), an IP address never by DNS
// (RFC 8738 section 3).
func newAuthorization(account string, name ca.Identifier, now, expires time.Time) *Authorization {
	a := &Authorization{
		ID: newID(now), Account: account, Identifier: name.Base(), Wildcard: name.IsWildcard(),
		CreatedAt: now, ExpiresAt: expires,
	}
	switch {
	case a.Wildcard:
		a.Types = []ChallengeType{DNS01}
	case name.Type() == ca.IP:
		a.Types = []ChallengeType{HTTP01, TLSALPN01}
	default:
		a.Types = []ChallengeType{HTTP01, DNS01, TLSALPN01}
	}
	_, _ = rand.Read(a.Seed[:]) // never fails: crypto/rand aborts the process instead
	return a
}

// NewAuthorization is the pre-authorization of one name (RFC 8555 section
// 7.4.1). A valid authorization that the account has is returned again.
func (s *Service) NewAuthorization(ctx context.Context, c Caller, name ca.Identifier) (a *Authorization, created bool, err error) {
	now := s.now()
	if name.IsWildcard() {
		return nil, false, Problemf(Malformed, "A wildcard can't be authorized in advance (RFC 8555 section 7.4.1); order it.")
	}
	if _, err := s.Issuer.Permit("", []ca.Identifier{name}, time.Time{}, time.Time{}, now); err != nil {
		return nil, false, s.refusal(ctx, "checking the name", err)
	}
	valid, err := s.Store.ValidAuthorizations(ctx, c.Account.ID, []ca.Identifier{name}, now.Add(reuseMargin))
	if err != nil {
		return nil, false, s.internal(ctx, "looking for valid authorizations", err)
	}
	if valid = s.corroborated(valid); len(valid) > 0 {
		return valid[0], false, nil
	}
	a = newAuthorization(c.Account.ID, name, now, now.Add(orDefault(s.Settings.OrderLife, defaultOrderLife)))
	spend, err := s.authorizationSpend(ctx, c, a)
	if err != nil {
		return nil, false, err
	}
	if err := s.Store.CreateAuthorization(ctx, c.actor(), now, a, spend...); err != nil {
		return nil, false, s.limited(ctx, "storing the authorization", err)
	}
	return a, true, nil
}

// Authorization returns one of the caller's authorizations.
func (s *Service) Authorization(ctx context.Context, c Caller, id string) (*Authorization, error) {
	if !ValidID(id) {
		return nil, notFound("authorization")
	}
	a, err := s.Store.Authorization(ctx, id)
	switch {
	case errors.Is(err, ca.ErrNotFound) || err == nil && a.Account != c.Account.ID:
		return nil, notFound("authorization")
	case err != nil:
		return nil, s.internal(ctx, "looking up the authorization", err)
	}
	return a, nil
}

// DeactivateAuthorization gives up an authorization (RFC 8555 section 7.5.2).
func (s *Service) DeactivateAuthorization(ctx context.Context, c Caller, id string) (*Authorization, error) {
	a, err := s.Authorization(ctx, c, id)
	if err != nil {
		return nil, err
	}
	now := s.now()
	err = s.Store.DeactivateAuthorization(ctx, c.actor(), now, id)
	if errors.Is(err, ca.ErrConflict) {
		return nil, Problemf(Malformed, "The authorization is %s; only a pending or valid one can be deactivated.", a.StatusAt(now))
	}
	if err != nil {
		return nil, s.internal(ctx, "deactivating the authorization", err)
	}
	return s.Authorization(ctx, c, id)
}

// Challenge returns the authorization that the challenge of type t belongs to.
func (s *Service) Challenge(ctx context.Context, c Caller, id string, t ChallengeType) (*Authorization, error) {
	a, err := s.Authorization(ctx, c, id)
	if err != nil || !slices.Contains(a.Types, t) {
		return nil, orDefault[error](err, notFound("challenge"))
	}
	return a, nil
}

// Respond begins the validation of a challenge (RFC 8555 section 7.5.1) and
// waits a moment for its verdict. A challenge that cannot be attempted (any
// more) comes back as it is.
func (s *Service) Respond(ctx context.Context, c Caller, id string, t ChallengeType) (*Authorization, error) {
	a, err := s.Challenge(ctx, c, id, t)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if a.StatusAt(now) != StatusPending || a.Attempt != "" {
		return a, nil
	}
	lease := now.Add(s.validationLease())
	err = s.beginValidation(ctx, c, a, t, now, lease)
	switch {
	case errors.Is(err, ca.ErrConflict): // another request was first
		return s.Challenge(ctx, c, id, t)
	case err != nil:
		return nil, s.refusal(ctx, "beginning the validation", err)
	}
	begun := *a
	begun.Attempt, begun.AttemptedAt, begun.LeaseUntil = t, now, lease
	waitFor(ctx, s.startValidation(ctx, &begun), orDefault(s.Settings.Wait, defaultWait))
	return s.Challenge(ctx, c, id, t)
}

func (s *Service) validationTime() time.Duration {
	return orDefault(s.Settings.ValidationTime, defaultValidationTime)
}

// A lease also covers the wait for a free place in the validator.
func (s *Service) validationLease() time.Duration { return 2*s.validationTime() + leaseMargin }

// startValidation validates a begun attempt in the background and stores its
// one verdict.
func (s *Service) startValidation(ctx context.Context, a *Authorization) <-chan struct{} {
	return s.work.start(ctx, 2*s.validationTime(), func(ctx context.Context) {
		defer s.crowd.leave(a.ID)
		if !s.crowd.sit(ctx, a.ID) {
			return // too long in line: no verdict, the lease hands the work on
		}
		began := time.Now()
		v, ok := s.validate(ctx, a)
		if !ok {
			return // stopping: no verdict, the lease hands the work on
		}
		outcome := string(StatusValid)
		if v.Problem != nil {
			outcome = v.Problem.Kind.String()
		}
		if s.Hooks.Validated != nil {
			s.Hooks.Validated(a.Attempt, outcome, time.Since(began))
		}
		now := s.now()
		v.ExpiresAt = now.Add(orDefault(s.Settings.AuthorizationTTL, defaultAuthorizationTTL))
		// The verdict is stored even when the time for looking was all used up.
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin)
		defer done()
		err := s.Store.CompleteValidation(ctx, ca.System("validation"), now, a.ID, v)
		if errors.Is(err, ca.ErrConflict) {
			s.countGivenUp(ctx, a.ID, v)
		} else if err != nil {
			s.log().ErrorContext(ctx, "the verdict was not stored; the validation will be made again", "authorization", a.ID, "error", err)
		}
	})
}

// validate makes one attempt. ok is false when it was cut short by a stop.
func (s *Service) validate(ctx context.Context, a *Authorization) (v Verdict, ok bool) {
	account, err := s.Store.Account(ctx, a.Account)
	if err != nil {
		s.log().ErrorContext(ctx, "looking up the account of a validation", "authorization", a.ID, "error", err)
		return Verdict{}, false
	}
	token := a.Token(a.Attempt)
	attempt := Attempt{
		Type: a.Attempt, Identifier: a.Identifier, Wildcard: a.Wildcard,
		Token: token, KeyAuthorization: token + "." + account.Key.Thumbprint(),
	}
	attempt.AccountURL = s.accountURL(account.ID)
	policy, err := s.Issuer.CAAPolicy("") // which profile will want the name is not known yet
	if err != nil {
		s.log().ErrorContext(ctx, "what profiles ask of CAA records", "authorization", a.ID, "error", err)
		return Verdict{}, false
	}
	attempt.CAA = policy.Mode
	evidence, problem := s.Validator.Validate(ctx, attempt)
	if problem != nil && errors.Is(context.Cause(ctx), errStopping) {
		return Verdict{}, false
	}
	if evidence.CAA != nil {
		s.sawCAA(ctx, policy.Mode, a.Identifier, evidence.CAA)
	}
	v = Verdict{Problem: problem, Tally: s.tally(a, account, problem)}
	if v.Evidence, err = json.Marshal(evidence); err != nil {
		s.log().ErrorContext(ctx, "evidence can't be written as JSON", "authorization", a.ID, "error", err)
		return Verdict{}, false // no verdict without evidence (invariant 5)
	}
	return v, true
}
