package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"chancery/acme"
	"chancery/acme/limit"
	"chancery/ca"
)

const authorizationColumns = `a.id, a.account, a.identifier, a.wildcard, a.types, a.seed, a.created_at, a.expires_at,
a.attempt, a.attempted_at, a.lease_until, a.validated_at, a.error, a.deactivated_at, e.body AS evidence`

// fromAuthorizations goes with authorizationColumns.
const fromAuthorizations = ` FROM authorizations a LEFT JOIN evidence e ON e.authorization_id = a.id`

// authorizationRow is a row of authorizations with its evidence.
type authorizationRow struct {
	ID            rowID      `db:"id"`
	Account       rowID      `db:"account"`
	Identifier    string     `db:"identifier"`
	Wildcard      int        `db:"wildcard"`
	Types         typeList   `db:"types"`
	Seed          digest     `db:"seed"`
	CreatedAt     stamp      `db:"created_at"`
	ExpiresAt     stamp      `db:"expires_at"`
	Attempt       optional   `db:"attempt"`
	AttemptedAt   stamp      `db:"attempted_at"`
	LeaseUntil    stamp      `db:"lease_until"`
	ValidatedAt   stamp      `db:"validated_at"`
	Error         problemDoc `db:"error"`
	DeactivatedAt stamp      `db:"deactivated_at"`
	Evidence      []byte     `db:"evidence"`
}

func (r *authorizationRow) authorization() (*acme.Authorization, error) {
	name, err := parseName(r.Identifier)
	if err != nil {
		return nil, fmt.Errorf("storage: authorization %s: %w", r.ID.text(), err)
	}
	return &acme.Authorization{
		ID: r.ID.text(), Account: r.Account.text(), Identifier: name, Wildcard: r.Wildcard != 0,
		Types: r.Types, Seed: r.Seed, CreatedAt: r.CreatedAt.time(), ExpiresAt: r.ExpiresAt.time(),
		Attempt: acme.ChallengeType(r.Attempt), AttemptedAt: r.AttemptedAt.time(), LeaseUntil: r.LeaseUntil.time(),
		ValidatedAt: r.ValidatedAt.time(), Error: r.Error.Problem, Evidence: r.Evidence,
		DeactivatedAt: r.DeactivatedAt.time(),
	}, nil
}

const (
	insertAuthorization = `
INSERT INTO authorizations (id, account, identifier, wildcard, types, seed, created_at, expires_at,
attempt, attempted_at, lease_until, validated_at, error, deactivated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	insertEvidence = `INSERT INTO evidence (authorization_id, body) VALUES (?, ?)`
)

func (t *tx) insertAuthorization(a *acme.Authorization) error {
	key, err := parseID("authorization", a.ID)
	if err != nil {
		return err
	}
	account, err := parseID("account", a.Account)
	if err != nil {
		return err
	}
	err = t.one(insertAuthorization, key, account, a.Identifier.String(), flag(a.Wildcard), typeList(a.Types), digest(a.Seed),
		stamp(a.CreatedAt), stamp(a.ExpiresAt), optional(a.Attempt), stamp(a.AttemptedAt), stamp(a.LeaseUntil),
		stamp(a.ValidatedAt), problemDoc{a.Error}, stamp(a.DeactivatedAt))
	if err != nil || len(a.Evidence) == 0 {
		return err
	}
	return t.one(insertEvidence, key, a.Evidence)
}

// CreateAuthorization implements acme.AuthorizationStore.
func (db *DB) CreateAuthorization(ctx context.Context, by ca.Actor, now time.Time, a *acme.Authorization, spend ...limit.Spend) error {
	return db.change(ctx, happened(by, now, actionAuthorizationNew, a.ID), func(t *tx) error {
		if err := t.spend(now, spend); err != nil {
			return err
		}
		return t.insertAuthorization(a)
	})
}

const authorizationByID = `SELECT ` + authorizationColumns + fromAuthorizations + ` WHERE a.id = ?`

// Authorization implements acme.AuthorizationStore.
func (db *DB) Authorization(ctx context.Context, id string) (*acme.Authorization, error) {
	key, err := parseID("authorization", id)
	if err != nil {
		return nil, err
	}
	var a *acme.Authorization
	err = db.read(ctx, func(s *session) error {
		a, err = s.authorization(authorizationByID, key)
		return err
	})
	return a, err
}

func (s *session) authorization(query string, key rowID) (*acme.Authorization, error) {
	var row authorizationRow
	if err := s.get(&row, query, key); err != nil {
		return nil, err
	}
	if row.ID != key {
		return nil, errForeignRow("authorization")
	}
	return row.authorization()
}

const validAuthorization = `
SELECT ` + authorizationColumns + fromAuthorizations + `
WHERE a.account = ? AND a.identifier = ? AND a.wildcard = ? AND a.expires_at > ?
AND a.validated_at IS NOT NULL AND a.deactivated_at IS NULL AND a.error IS NULL
ORDER BY a.expires_at DESC LIMIT 1`

// ValidAuthorizations implements acme.AuthorizationStore.
func (db *DB) ValidAuthorizations(ctx context.Context, account string, names []ca.Identifier, until time.Time) ([]*acme.Authorization, error) {
	owner, err := parseID("account", account)
	if err != nil {
		return nil, err
	}
	var found []*acme.Authorization
	err = db.snapshotIf(len(names) > 1)(ctx, func(s *session) error {
		for _, name := range names {
			var row authorizationRow
			err := s.get(&row, validAuthorization, owner, name.Base().String(), flag(name.IsWildcard()), stamp(until))
			if errors.Is(err, ca.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if row.Account != owner || row.Identifier != name.Base().String() {
				return errForeignRow("authorization")
			}
			a, err := row.authorization()
			if err != nil {
				return err
			}
			found = append(found, a)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// snapshotIf is snapshot for reads of several statements, and read for one.
func (db *DB) snapshotIf(several bool) func(context.Context, func(*session) error) error {
	if several {
		return db.snapshot
	}
	return db.read
}

// The attempt must be one of the challenges that were offered.
const (
	beginValidation = `
UPDATE authorizations SET attempt = ?, attempted_at = ?, lease_until = ?
WHERE id = ? AND attempt IS NULL AND validated_at IS NULL AND error IS NULL AND deactivated_at IS NULL
AND expires_at > ? AND ' ' || types || ' ' LIKE '% ' || CAST(? AS TEXT) || ' %'`

	authorizationExists = `SELECT 1 FROM authorizations WHERE id = ?`
)

// BeginValidation implements acme.AuthorizationStore. A challenge type that
// was not offered is ca.ErrConflict too.
func (db *DB) BeginValidation(ctx context.Context, by ca.Actor, now time.Time, id string, c acme.ChallengeType, lease time.Time) error {
	key, err := parseID("authorization", id)
	if err != nil {
		return err
	}
	e := happened(by, now, actionAuthorizationTry, id)
	e.detail = map[string]any{"type": c}
	return db.change(ctx, e, func(t *tx) error {
		err := t.one(beginValidation, string(c), stamp(now), stamp(lease), key, stamp(now), string(c))
		return t.conflict(err, authorizationExists, key)
	})
}

const (
	validAfterAttempt = `
UPDATE authorizations SET validated_at = ?, expires_at = ?, lease_until = NULL
WHERE id = ? AND attempt IS NOT NULL AND validated_at IS NULL AND error IS NULL AND deactivated_at IS NULL`

	invalidAfterAttempt = `
UPDATE authorizations SET error = ?, lease_until = NULL
WHERE id = ? AND attempt IS NOT NULL AND validated_at IS NULL AND error IS NULL AND deactivated_at IS NULL`
)

// CompleteValidation implements acme.AuthorizationStore.
func (db *DB) CompleteValidation(ctx context.Context, by ca.Actor, now time.Time, id string, v acme.Verdict) error {
	key, err := parseID("authorization", id)
	if err != nil {
		return err
	}
	e := happened(by, now, actionAuthorizationValid, id)
	if v.Problem != nil {
		e.action = actionAuthorizationFail
		e.detail = map[string]any{"type": v.Problem.Kind.String()}
	}
	return db.change(ctx, e, func(t *tx) error {
		var err error
		if v.Problem == nil {
			err = t.one(validAfterAttempt, stamp(now), stamp(v.ExpiresAt), key)
		} else {
			err = t.one(invalidAfterAttempt, problemDoc{v.Problem}, key)
		}
		if err != nil {
			return t.conflict(err, authorizationExists, key)
		}
		if err := t.tally(now, v.Problem != nil, v.Tally); err != nil {
			return err
		}
		if len(v.Evidence) == 0 {
			return nil
		}
		return t.one(insertEvidence, key, v.Evidence)
	})
}

const deactivateAuthorization = `UPDATE authorizations SET deactivated_at = ?, lease_until = NULL WHERE id = ?`

// lockAuthorization reads an authorization that the change relies on. Its
// evidence is left out: PostgreSQL can't lock what an outer join may lack.
const lockAuthorization = `
SELECT id, account, identifier, wildcard, types, seed, created_at, expires_at,
attempt, attempted_at, lease_until, validated_at, error, deactivated_at FROM authorizations WHERE id = ?`

// DeactivateAuthorization implements acme.AuthorizationStore.
func (db *DB) DeactivateAuthorization(ctx context.Context, by ca.Actor, now time.Time, id string) error {
	key, err := parseID("authorization", id)
	if err != nil {
		return err
	}
	return db.change(ctx, happened(by, now, actionAuthorizationEnd, id), func(t *tx) error {
		a, err := t.authorization(lockAuthorization+t.dialect.forUpdate, key)
		if err != nil {
			return err
		}
		if status := a.StatusAt(now); status != acme.StatusPending && status != acme.StatusValid {
			return ca.ErrConflict
		}
		return t.one(deactivateAuthorization, stamp(now), key)
	})
}

const isAuthorized = `
SELECT COUNT(*) FROM authorizations
WHERE account = ? AND identifier = ? AND wildcard = ? AND expires_at > ?
AND validated_at IS NOT NULL AND deactivated_at IS NULL AND error IS NULL`

// Authorized implements acme.AuthorizationStore. Nobody is authorized for no names.
func (db *DB) Authorized(ctx context.Context, account string, names []ca.Identifier, now time.Time) (bool, error) {
	owner, err := parseID("account", account)
	if err != nil {
		return false, err
	}
	all := len(names) > 0
	err = db.snapshotIf(len(names) > 1)(ctx, func(s *session) error {
		for _, name := range names {
			var n int
			if err := s.get(&n, isAuthorized, owner, name.Base().String(), flag(name.IsWildcard()), stamp(now)); err != nil {
				return err
			}
			if n == 0 {
				all = false
				return nil
			}
		}
		return nil
	})
	return all && err == nil, err
}
