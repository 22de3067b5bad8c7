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

const accountColumns = `id, jwk, contact, terms_agreed_at, external_key_id, created_at, deactivated_at, revoked_at`

// accountRow is a row of accounts.
type accountRow struct {
	ID            rowID       `db:"id"`
	JWK           string      `db:"jwk"`
	Contact       contactList `db:"contact"`
	TermsAgreedAt stamp       `db:"terms_agreed_at"`
	ExternalKeyID optional    `db:"external_key_id"`
	CreatedAt     stamp       `db:"created_at"`
	DeactivatedAt stamp       `db:"deactivated_at"`
	RevokedAt     stamp       `db:"revoked_at"`
}

func (r *accountRow) account() (*acme.Account, error) {
	key, err := acme.RestoreKey(r.JWK)
	if err != nil {
		return nil, fmt.Errorf("storage: account %s: its key can't be read: %w", r.ID.text(), err)
	}
	return &acme.Account{
		ID: r.ID.text(), Key: key, Contact: r.Contact, TermsAgreedAt: r.TermsAgreedAt.time(),
		ExternalKeyID: string(r.ExternalKeyID), CreatedAt: r.CreatedAt.time(),
		DeactivatedAt: r.DeactivatedAt.time(), RevokedAt: r.RevokedAt.time(),
	}, nil
}

// errForeignRow says that the database returned another row than was asked
// for (I79). It is checked where a mix-up would give somebody else's rights.
func errForeignRow(what string) error {
	return fmt.Errorf("storage: asked for one %s, the database returned another", what)
}

const (
	accountHolder = `SELECT id FROM accounts WHERE spki = ?`

	useExternalKey = `
UPDATE external_keys SET uses = uses + 1, used_at = ?
WHERE id = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) AND (reusable = 1 OR uses = 0)`

	insertAccount = `
INSERT INTO accounts (id, jwk, spki, contact, terms_agreed_at, external_key_id, created_at, deactivated_at, revoked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// CreateAccount implements acme.AccountStore. That another account has the key
// comes before the external key, so that the same request a second time finds
// its account although it has used its external key up.
func (db *DB) CreateAccount(ctx context.Context, by ca.Actor, now time.Time, a *acme.Account, spend ...limit.Spend) error {
	account, err := parseID("account", a.ID)
	if err != nil {
		return err
	}
	if a.Key.IsZero() {
		return fmt.Errorf("storage: account %s has no key", a.ID)
	}
	e := happened(by, now, actionAccountCreate, a.ID)
	if a.ExternalKeyID != "" {
		e.detail = map[string]any{"external_key": a.ExternalKeyID}
	}
	return db.change(ctx, e, func(t *tx) error {
		if err := t.keyIsFree(account, a.Key); err != nil {
			return err
		}
		if err := t.spend(now, spend); err != nil {
			return err
		}
		if a.ExternalKeyID != "" {
			err := t.one(useExternalKey, stamp(now), a.ExternalKeyID, stamp(now))
			if errors.Is(err, errNoRow) {
				return acme.ErrExternalKeyUsed
			}
			if err != nil {
				return err
			}
		}
		return t.one(insertAccount, account, a.Key.JWK(), digest(a.Key.SPKI()), contactList(a.Contact), stamp(a.TermsAgreedAt),
			optional(a.ExternalKeyID), stamp(a.CreatedAt), stamp(a.DeactivatedAt), stamp(a.RevokedAt))
	})
}

// keyIsFree is *acme.KeyInUse if another account has the key.
func (t *tx) keyIsFree(account rowID, key acme.Key) error {
	var holder rowID
	switch err := t.get(&holder, accountHolder, digest(key.SPKI())); {
	case errors.Is(err, ca.ErrNotFound):
		return nil
	case err != nil:
		return err
	case holder == account:
		return nil
	}
	return &acme.KeyInUse{Account: holder.text()}
}

const accountByID = `SELECT ` + accountColumns + ` FROM accounts WHERE id = ?`

// Account implements acme.AccountStore.
func (db *DB) Account(ctx context.Context, id string) (*acme.Account, error) {
	key, err := parseID("account", id)
	if err != nil {
		return nil, err
	}
	var row accountRow
	if err := db.read(ctx, func(s *session) error { return s.get(&row, accountByID, key) }); err != nil {
		return nil, err
	}
	if row.ID != key {
		return nil, errForeignRow("account")
	}
	return row.account()
}

const accountByKey = `SELECT ` + accountColumns + ` FROM accounts WHERE spki = ?`

// AccountByKey implements acme.AccountStore.
func (db *DB) AccountByKey(ctx context.Context, spki [32]byte) (*acme.Account, error) {
	var row accountRow
	if err := db.read(ctx, func(s *session) error { return s.get(&row, accountByKey, digest(spki)) }); err != nil {
		return nil, err
	}
	a, err := row.account()
	if err == nil && a.Key.SPKI() != spki {
		return nil, errForeignRow("account")
	}
	return a, err
}

const updateAccount = `UPDATE accounts SET contact = ?, terms_agreed_at = ?, deactivated_at = ?, revoked_at = ? WHERE id = ?`

// UpdateAccount implements acme.AccountStore.
func (db *DB) UpdateAccount(ctx context.Context, by ca.Actor, now time.Time, id string, u acme.AccountUpdate) (*acme.Account, error) {
	key, err := parseID("account", id)
	if err != nil {
		return nil, err
	}
	var updated *acme.Account
	err = db.change(ctx, happened(by, now, accountAction(u), id), func(t *tx) error {
		var row accountRow
		if err := t.get(&row, accountByID+t.dialect.forUpdate, key); err != nil {
			return err
		}
		a, err := row.account()
		if err != nil {
			return err
		}
		if a.Status() != acme.StatusValid {
			return ca.ErrConflict
		}
		updated = a
		if u == (acme.AccountUpdate{}) {
			t.silent = true
			return nil
		}
		apply(u, a)
		return t.one(updateAccount, contactList(a.Contact), stamp(a.TermsAgreedAt), stamp(a.DeactivatedAt), stamp(a.RevokedAt), key)
	})
	if err != nil {
		return nil, err
	}
	return updated, nil
}

// accountAction is what the audit calls an update: its gravest part.
func accountAction(u acme.AccountUpdate) string {
	switch {
	case u.RevokedAt != nil:
		return actionAccountRevoke
	case u.DeactivatedAt != nil:
		return actionAccountDeactivate
	}
	return actionAccountUpdate
}

func apply(u acme.AccountUpdate, a *acme.Account) {
	if u.Contact != nil {
		a.Contact = *u.Contact
	}
	set := func(to *time.Time, from *time.Time) {
		if from != nil {
			*to = from.UTC().Truncate(time.Millisecond) // as it will be read
		}
	}
	set(&a.TermsAgreedAt, u.TermsAgreedAt)
	set(&a.DeactivatedAt, u.DeactivatedAt)
	set(&a.RevokedAt, u.RevokedAt)
}

const (
	changeKey = `
UPDATE accounts SET jwk = ?, spki = ?
WHERE id = ? AND spki = ? AND deactivated_at IS NULL AND revoked_at IS NULL`

	accountExists = `SELECT 1 FROM accounts WHERE id = ?`
)

// ChangeKey implements acme.AccountStore.
func (db *DB) ChangeKey(ctx context.Context, by ca.Actor, now time.Time, id string, from [32]byte, to acme.Key) error {
	account, err := parseID("account", id)
	if err != nil {
		return err
	}
	if to.IsZero() {
		return fmt.Errorf("storage: account %s can't change to no key", id)
	}
	return db.change(ctx, happened(by, now, actionAccountKey, id), func(t *tx) error {
		if err := t.keyIsFree(account, to); err != nil {
			return err
		}
		return t.conflict(t.one(changeKey, to.JWK(), digest(to.SPKI()), account, digest(from)), accountExists, account)
	})
}

// Accounts implements admin.Store. IDs begin with the time of their making, so
// that their order is the order of creation.
func (db *DB) Accounts(ctx context.Context, s acme.AccountSearch) ([]*acme.Account, error) {
	var w where
	switch s.Status {
	case "":
	case acme.StatusValid:
		w.and("deactivated_at IS NULL AND revoked_at IS NULL")
	case acme.StatusDeactivated:
		w.and("deactivated_at IS NOT NULL AND revoked_at IS NULL")
	case acme.StatusRevoked:
		w.and("revoked_at IS NOT NULL")
	default:
		return nil, fmt.Errorf("storage: no account has the status %q", s.Status)
	}
	w.text("external_key_id = ?", s.ExternalKeyID)
	var rows []accountRow
	err := db.snapshot(ctx, func(q *session) error {
		if err := q.after(&w, "account", s.After, accountExists); err != nil {
			return err
		}
		return q.list(&rows, `SELECT `+accountColumns+` FROM accounts`+w.sql()+` ORDER BY id DESC LIMIT ?`, append(w.args, pageSize(s.Limit))...)
	})
	if err != nil {
		return nil, err
	}
	accounts := make([]*acme.Account, len(rows))
	for i := range rows {
		if accounts[i], err = rows[i].account(); err != nil {
			return nil, err
		}
	}
	return accounts, nil
}

// after adds the condition that continues a listing behind an object, which
// must be there.
func (s *session) after(w *where, what, text, exists string) error {
	if text == "" {
		return nil
	}
	cursor, err := parseID(what, text)
	if err != nil {
		return err
	}
	var n int
	if err := s.get(&n, exists, cursor); err != nil {
		return err
	}
	w.and("id < ?", cursor)
	return nil
}
