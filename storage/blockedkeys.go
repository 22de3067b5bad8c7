package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"chancery/ca"
)

// What blocking a key does in its own transaction: revoking this many
// certificates takes well under a second. The rest of them follows by
// RevokeBlocked.
const blockBatch = 1000

const blockedKeyColumns = `spki, at, source, comment`

// blockedKeyRow is a row of blocked_keys.
type blockedKeyRow struct {
	SPKI    digest `db:"spki"`
	At      stamp  `db:"at"`
	Source  string `db:"source"`
	Comment string `db:"comment"`
}

func (r *blockedKeyRow) blockedKey() *ca.BlockedKey {
	return &ca.BlockedKey{SPKI: r.SPKI, At: r.At.time(), Source: ca.BlockSource(r.Source), Comment: r.Comment}
}

const (
	insertBlockedKey = `
INSERT INTO blocked_keys (spki, at, source, comment) VALUES (?, ?, ?, ?) ON CONFLICT (spki) DO NOTHING`

	// What was proven is more than an operator's word, and can't be taken back.
	proveBlockedKey = `UPDATE blocked_keys SET source = ? WHERE spki = ? AND source <> ?`

	blockedKeyBySPKI = `SELECT ` + blockedKeyColumns + ` FROM blocked_keys WHERE spki = ?`

	// Of an account that the key was good for until now.
	revokeAccountOfKey = `
UPDATE accounts SET revoked_at = ? WHERE spki = ? AND deactivated_at IS NULL AND revoked_at IS NULL`

	accountIDOfKey = `SELECT id FROM accounts WHERE spki = ?`

	// A certificate that can still be used, or signed, and is not known to have
	// a compromised key. Blocked keys are few: they come first.
	stillToRevoke = ` AND c.not_after > ? AND (r.serial IS NULL OR r.reason <> ?) ORDER BY c.seq LIMIT ?`

	toRevokeOfKey = `SELECT ` + certificateColumns + fromCertificates + ` WHERE c.spki = ?` + stillToRevoke

	toRevoke = `SELECT ` + certificateColumns + ` FROM blocked_keys b CROSS JOIN certificates c
LEFT JOIN revocations r ON r.issuer = c.issuer AND r.shard = c.shard AND r.serial = c.serial
WHERE c.spki = b.spki` + stillToRevoke
)

// BlockKey implements acme.KeyStore.
func (db *DB) BlockKey(ctx context.Context, by ca.Actor, k ca.BlockedKey) (revoked []*ca.Certificate, err error) {
	err = db.change(ctx, happened(by, k.At, actionKeyBlock, hex.EncodeToString(k.SPKI[:])), func(t *tx) error {
		revoked = nil
		if err := t.lockKey(k.SPKI); err != nil {
			return err
		}
		added, err := t.exec(insertBlockedKey, digest(k.SPKI), stamp(k.At), string(k.Source), k.Comment)
		if err == nil && added == 0 && k.Source == ca.BlockedAsCompromised {
			added, err = t.exec(proveBlockedKey, string(k.Source), digest(k.SPKI), string(k.Source))
		}
		if err != nil {
			return err
		}
		account, err := t.endAccountOfKey(by, k)
		if err != nil {
			return err
		}
		if revoked, err = t.revokeFound(by, k.At, toRevokeOfKey, digest(k.SPKI), ended(k.At), int(ca.KeyCompromise), blockBatch); err != nil {
			return err
		}
		t.silent = added == 0 && account == "" && len(revoked) == 0
		t.event.detail = map[string]any{"source": string(k.Source), "revoked": len(revoked)}
		if account != "" {
			t.event.detail["account"] = account
		}
		return nil
	})
	return revoked, err
}

// ended is the latest not_after of what is over: its second still is valid.
func ended(now time.Time) stamp { return stamp(now.Add(-time.Second)) }

// lockKey lets reservations for a key and its blocking take turns, so that
// either finds what the other wrote. SQLite has one writer.
func (t *tx) lockKey(spki [32]byte) error {
	if t.dialect.lockText == "" {
		return nil
	}
	_, err := t.exec(t.dialect.lockText, "key "+hex.EncodeToString(spki[:]))
	return err
}

// endAccountOfKey revokes the account that has the key: who else has the key
// could speak for it.
func (t *tx) endAccountOfKey(by ca.Actor, k ca.BlockedKey) (account string, err error) {
	n, err := t.exec(revokeAccountOfKey, stamp(k.At), digest(k.SPKI))
	if err != nil || n == 0 {
		return "", err
	}
	var id rowID
	if err := t.get(&id, accountIDOfKey, digest(k.SPKI)); err != nil {
		return "", err
	}
	return id.text(), t.record(happened(by, k.At, actionAccountRevoke, id.text()))
}

// revokeFound revokes the certificates that a query finds, each with its event.
func (t *tx) revokeFound(by ca.Actor, now time.Time, query string, args ...any) ([]*ca.Certificate, error) {
	var rows []certificateRow
	if err := t.list(&rows, query, args...); err != nil {
		return nil, err
	}
	revoked := make([]*ca.Certificate, 0, len(rows))
	for i := range rows {
		c := rows[i].certificate()
		if err := t.revoke(c, now, ca.KeyCompromise); err != nil {
			return nil, err
		}
		e := happened(by, now, actionCertificateRevoke, c.Serial.String())
		e.detail = map[string]any{"reason": int(ca.KeyCompromise), "because": "key blocked"}
		if err := t.record(e); err != nil {
			return nil, err
		}
		revoked = append(revoked, c)
	}
	return revoked, nil
}

// RevokeBlocked implements acme.KeyStore.
func (db *DB) RevokeBlocked(ctx context.Context, by ca.Actor, now time.Time, limit int) (revoked []*ca.Certificate, err error) {
	// Nearly always there is nothing: then the writer is left alone.
	var rows []certificateRow
	args := []any{ended(now), int(ca.KeyCompromise), pageSize(limit)}
	err = db.read(ctx, func(s *session) error { return s.list(&rows, toRevoke, args...) })
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	err = db.change(ctx, happened(by, now, actionKeySweep, ""), func(t *tx) error {
		found, err := t.revokeFound(by, now, toRevoke, args...)
		revoked, t.silent = found, true // each certificate has its event
		return err
	})
	return revoked, err
}

const deleteBlockedKey = `DELETE FROM blocked_keys WHERE spki = ? AND source = ?`

const blockedKeyExists = `SELECT 1 FROM blocked_keys WHERE spki = ?`

// UnblockKey implements acme.KeyStore.
func (db *DB) UnblockKey(ctx context.Context, by ca.Actor, now time.Time, spki [32]byte) error {
	return db.change(ctx, happened(by, now, actionKeyUnblock, hex.EncodeToString(spki[:])), func(t *tx) error {
		err := t.one(deleteBlockedKey, digest(spki), string(ca.BlockedByOperator))
		return t.conflict(err, blockedKeyExists, digest(spki))
	})
}

// BlockedKey implements acme.KeyStore.
func (db *DB) BlockedKey(ctx context.Context, spki [32]byte) (k *ca.BlockedKey, err error) {
	err = db.read(ctx, func(s *session) error {
		k, err = s.blockedKey(spki)
		return err
	})
	return k, err
}

func (s *session) blockedKey(spki [32]byte) (*ca.BlockedKey, error) {
	var row blockedKeyRow
	if err := s.get(&row, blockedKeyBySPKI, digest(spki)); err != nil {
		return nil, err
	}
	if row.SPKI != digest(spki) {
		return nil, errForeignRow("blocked key")
	}
	return row.blockedKey(), nil
}

const keyCertified = `SELECT 1 FROM certificates WHERE spki = ? LIMIT 1`

// KeyCertified implements acme.KeyStore.
func (db *DB) KeyCertified(ctx context.Context, spki [32]byte) (bool, error) {
	var one int
	err := db.read(ctx, func(s *session) error { return s.get(&one, keyCertified, digest(spki)) })
	if errors.Is(err, ca.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// keyMayBeCertified is ca.ErrBlockedKey for a key that was blocked since it
// was checked. From here to the end of the transaction nobody blocks it.
func (t *tx) keyMayBeCertified(spki [32]byte) error {
	if err := t.lockKey(spki); err != nil {
		return err
	}
	switch _, err := t.blockedKey(spki); {
	case err == nil:
		return ca.ErrBlockedKey
	case !errors.Is(err, ca.ErrNotFound):
		return err
	}
	return nil
}

// BlockedKeys implements admin.Store.
func (db *DB) BlockedKeys(ctx context.Context, s ca.BlockedKeySearch) ([]*ca.BlockedKey, error) {
	var rows []blockedKeyRow
	err := db.snapshot(ctx, func(q *session) error {
		var w where
		if s.After != ([32]byte{}) {
			last, err := q.blockedKey(s.After)
			if err != nil {
				return fmt.Errorf("the key of the cursor: %w", err)
			}
			w.and("(at < ? OR at = ? AND spki < ?)", stamp(last.At), stamp(last.At), digest(s.After))
		}
		return q.list(&rows, `SELECT `+blockedKeyColumns+` FROM blocked_keys`+w.sql()+` ORDER BY at DESC, spki DESC LIMIT ?`, append(w.args, pageSize(s.Limit))...)
	})
	if err != nil {
		return nil, err
	}
	keys := make([]*ca.BlockedKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].blockedKey()
	}
	return keys, nil
}
