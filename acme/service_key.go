package acme

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"chancery/ca"
)

// KeyStore keeps the keys that may not be used any more, and knows which are
// in use.
type KeyStore interface {
	// BlockKey blocks a key. In the same transaction it revokes the account
	// that has the key, and live certificates (reserved ones too) with it for
	// keyCompromise: all of them when they are less than a thousand, and those
	// that it returns. A key that is blocked already stays so, and what can
	// still be revoked is. From then on Reserve refuses the key.
	BlockKey(ctx context.Context, by ca.Actor, k ca.BlockedKey) (revoked []*ca.Certificate, err error)
	// UnblockKey takes an operator's block back; no revocation is. A key that
	// was proven to be compromised is ca.ErrConflict, one that is not blocked
	// ca.ErrNotFound.
	UnblockKey(ctx context.Context, by ca.Actor, now time.Time, spki [32]byte) error
	// BlockedKey finds a blocked key; ca.ErrNotFound if it is not.
	BlockedKey(ctx context.Context, spki [32]byte) (*ca.BlockedKey, error)
	// RevokeBlocked revokes live certificates with blocked keys, at most limit,
	// and returns them. There are some only when BlockKey did not come to the end.
	RevokeBlocked(ctx context.Context, by ca.Actor, now time.Time, limit int) (revoked []*ca.Certificate, err error)
	// KeyCertified says whether a certificate was ever reserved or issued for a key.
	KeyCertified(ctx context.Context, spki [32]byte) (bool, error)
}

const (
	// blockedEvery is how often certificates with blocked keys are looked for
	// (SAFETY I44: within the hour).
	blockedEvery = time.Minute
	blockedBatch = 1000
)

// checkAccountKey says whether a key may become an account's.
func (s *Service) checkAccountKey(ctx context.Context, key Key) error {
	if err := s.Issuer.CheckAccountKey(ctx, key.Public()); err != nil {
		if r, ok := errors.AsType[*ca.Refusal](err); ok {
			return badKey("%s.", r.Detail)
		}
		return s.internal(ctx, "checking the account key", err)
	}
	certified, err := s.Store.KeyCertified(ctx, key.SPKI())
	if err != nil {
		return s.internal(ctx, "comparing the account key with certificates' keys", err)
	}
	if certified { // RFC 8555 section 11.1
		return badKey("a certificate was issued for it; an account needs a key of its own (RFC 8555 section 11.1).")
	}
	return nil
}

// BlockKey blocks a key by an operator's word, and says how many certificates
// were revoked for it.
func (s *Service) BlockKey(ctx context.Context, by ca.Actor, spki [32]byte, comment string) (revoked int, err error) {
	all, err := s.blockKey(ctx, by, ca.BlockedKey{SPKI: spki, At: s.now().Truncate(time.Second), Source: ca.BlockedByOperator, Comment: comment})
	return len(all), err
}

// UnblockKey takes an operator's block back.
func (s *Service) UnblockKey(ctx context.Context, by ca.Actor, spki [32]byte) error {
	err := s.Store.UnblockKey(ctx, by, s.now(), spki)
	switch {
	case err == nil || errors.Is(err, ca.ErrNotFound):
		return err
	case errors.Is(err, ca.ErrConflict):
		return Problemf(Malformed, "Key %s was proven to be compromised, by a request that it signed; that can't be taken back.", hex.EncodeToString(spki[:]))
	}
	return s.internal(ctx, "unblocking the key", err)
}

// blockKey blocks a key and revokes every live certificate with it. Once the
// block is stored, whatever interrupts the rest, Run ends it.
func (s *Service) blockKey(ctx context.Context, by ca.Actor, k ca.BlockedKey) ([]*ca.Certificate, error) {
	revoked, err := s.Store.BlockKey(ctx, by, k)
	if err != nil {
		return nil, s.internal(ctx, "blocking the key", err)
	}
	s.tellRevoked(revoked)
	if len(revoked) < blockedBatch {
		return revoked, nil
	}
	more, err := s.revokeBlocked(ctx, by)
	return append(revoked, more...), err
}

// revokeBlocked revokes what still is live with a blocked key.
func (s *Service) revokeBlocked(ctx context.Context, by ca.Actor) (all []*ca.Certificate, err error) {
	for {
		revoked, err := s.Store.RevokeBlocked(ctx, by, s.now().Truncate(time.Second), blockedBatch)
		if err != nil {
			return all, s.internal(ctx, "revoking certificates with a blocked key", err)
		}
		s.tellRevoked(revoked)
		all = append(all, revoked...)
		if len(revoked) < blockedBatch {
			return all, nil
		}
	}
}

func (s *Service) tellRevoked(certs []*ca.Certificate) {
	if s.Hooks.Revoked == nil {
		return
	}
	for _, c := range certs {
		s.Hooks.Revoked(c, ca.KeyCompromise)
	}
}

// compromised is a revocation for keyCompromise that the certificate's own key
// signed: the proof that others may have it. It blocks the key, for
// certificates and accounts alike, and revokes every live certificate with it
// (SAFETY I44, BR 4.9.1.1 and 6.1.1.3).
func (s *Service) compromised(ctx context.Context, cert *ca.Certificate, r ca.Revocation) error {
	revoked, err := s.blockKey(ctx, r.By, ca.BlockedKey{
		SPKI: cert.SPKI, At: r.At, Source: ca.BlockedAsCompromised, Comment: "shown by a revocation of certificate " + cert.Serial.String(),
	})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(revoked, func(c *ca.Certificate) bool { return c.Serial == cert.Serial }) {
		return nil
	}
	return s.revoke(ctx, cert, r) // it was revoked before, and says so
}
