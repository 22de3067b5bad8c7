package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"chancery/acme"
	"chancery/ca"
)

// maxExternalKeys bounds a listing (acme.ExternalKeyStore).
const maxExternalKeys = 10_000

const externalKeyColumns = `id, sealed, label, reusable, created_at, expires_at, revoked_at, used_at, uses`

// externalKeyRow is a row of external_keys.
type externalKeyRow struct {
	ID        string `db:"id"`
	Sealed    []byte `db:"sealed"`
	Label     string `db:"label"`
	Reusable  int    `db:"reusable"`
	CreatedAt stamp  `db:"created_at"`
	ExpiresAt stamp  `db:"expires_at"`
	RevokedAt stamp  `db:"revoked_at"`
	UsedAt    stamp  `db:"used_at"`
	Uses      int    `db:"uses"`
}

func (r *externalKeyRow) key() *acme.ExternalKey {
	return &acme.ExternalKey{
		ID: r.ID, Sealed: r.Sealed, Label: r.Label, Reusable: r.Reusable != 0,
		CreatedAt: r.CreatedAt.time(), ExpiresAt: r.ExpiresAt.time(), RevokedAt: r.RevokedAt.time(),
		UsedAt: r.UsedAt.time(), Uses: r.Uses,
	}
}

const insertExternalKey = `
INSERT INTO external_keys (id, sealed, label, reusable, created_at, expires_at, revoked_at, used_at, uses)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING`

// CreateExternalKey implements acme.ExternalKeyStore. An ID that is taken is
// ca.ErrConflict.
func (db *DB) CreateExternalKey(ctx context.Context, by ca.Actor, now time.Time, k *acme.ExternalKey) error {
	if k.ID == "" || len(k.Sealed) == 0 {
		return fmt.Errorf("storage: an external key needs an ID and a sealed secret")
	}
	e := happened(by, now, actionExternalKeyCreate, k.ID)
	e.detail = map[string]any{"label": k.Label, "reusable": k.Reusable}
	return db.change(ctx, e, func(t *tx) error {
		n, err := t.exec(insertExternalKey, k.ID, k.Sealed, k.Label, flag(k.Reusable), stamp(k.CreatedAt), stamp(k.ExpiresAt), stamp(k.RevokedAt), stamp(k.UsedAt), k.Uses)
		if err == nil && n == 0 {
			return ca.ErrConflict
		}
		return err
	})
}

const externalKeyByID = `SELECT ` + externalKeyColumns + ` FROM external_keys WHERE id = ?`

// ExternalKey implements acme.ExternalKeyStore.
func (db *DB) ExternalKey(ctx context.Context, id string) (*acme.ExternalKey, error) {
	if !storable(id) {
		return nil, ca.ErrNotFound
	}
	var row externalKeyRow
	if err := db.read(ctx, func(s *session) error { return s.get(&row, externalKeyByID, id) }); err != nil {
		return nil, err
	}
	if row.ID != id {
		return nil, errForeignRow("external key")
	}
	return row.key(), nil
}

const listExternalKeys = `SELECT ` + externalKeyColumns + ` FROM external_keys ORDER BY created_at DESC, id DESC LIMIT ?`

// ExternalKeys implements acme.ExternalKeyStore.
func (db *DB) ExternalKeys(ctx context.Context) ([]*acme.ExternalKey, error) {
	var rows []externalKeyRow
	if err := db.read(ctx, func(s *session) error { return s.list(&rows, listExternalKeys, maxExternalKeys) }); err != nil {
		return nil, err
	}
	keys := make([]*acme.ExternalKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].key()
	}
	return keys, nil
}

const (
	revokeExternalKey = `UPDATE external_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`

	externalKeyExists = `SELECT 1 FROM external_keys WHERE id = ?`
)

// RevokeExternalKey implements acme.ExternalKeyStore. Of one that is revoked
// already, the first date stays.
func (db *DB) RevokeExternalKey(ctx context.Context, by ca.Actor, now time.Time, id string) error {
	if !storable(id) {
		return ca.ErrNotFound
	}
	return db.change(ctx, happened(by, now, actionExternalKeyRevoke, id), func(t *tx) error {
		err := t.conflict(t.one(revokeExternalKey, stamp(now), id), externalKeyExists, id)
		if errors.Is(err, ca.ErrConflict) {
			t.silent = true
			return nil
		}
		return err
	})
}

// storable says whether a text from outside can be in the database at all:
// PostgreSQL refuses others even as something to look for.
func storable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}
