package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"chancery/ca"
)

const certificateColumns = `c.serial, c.order_id, c.account, c.issuer, c.profile, c.names, c.spki, c.not_before, c.not_after,
c.shard, c.reserved_at, c.tbs, c.der, r.at AS revoked_at, r.reason AS revoked_reason`

// fromCertificates goes with certificateColumns.
const fromCertificates = ` FROM certificates c
LEFT JOIN revocations r ON r.issuer = c.issuer AND r.shard = c.shard AND r.serial = c.serial`

// certificateRow is a row of certificates with its revocation.
type certificateRow struct {
	Serial     rowID    `db:"serial"`
	Order      rowID    `db:"order_id"`
	Account    rowID    `db:"account"`
	Issuer     string   `db:"issuer"`
	Profile    string   `db:"profile"`
	Names      nameList `db:"names"`
	SPKI       digest   `db:"spki"`
	NotBefore  stamp    `db:"not_before"`
	NotAfter   stamp    `db:"not_after"`
	Shard      int      `db:"shard"`
	ReservedAt stamp    `db:"reserved_at"`
	TBS        []byte   `db:"tbs"`
	DER        []byte   `db:"der"`
	RevokedAt  stamp    `db:"revoked_at"`
	Reason     *int     `db:"revoked_reason"`
}

func (r *certificateRow) certificate() *ca.Certificate {
	c := &ca.Certificate{
		Serial: ca.Serial(r.Serial), Issuer: r.Issuer, Profile: r.Profile, Order: r.Order.text(), Account: r.Account.text(),
		Names: r.Names, SPKI: r.SPKI, NotBefore: r.NotBefore.time(), NotAfter: r.NotAfter.time(), Shard: r.Shard,
		ReservedAt: r.ReservedAt.time(), TBS: r.TBS, DER: r.DER,
	}
	if r.Reason != nil {
		c.Revocation = &ca.Revoked{Serial: c.Serial, At: r.RevokedAt.time(), Reason: ca.Reason(*r.Reason), NotAfter: c.NotAfter}
	}
	return c
}

const (
	certificateBySerial = `SELECT ` + certificateColumns + fromCertificates + ` WHERE c.serial = ?`
	certificateByOrder  = `SELECT ` + certificateColumns + fromCertificates + ` WHERE c.order_id = ?`
)

// Certificate implements ca.Ledger, ocsp.Store and crl.Certificates.
func (db *DB) Certificate(ctx context.Context, serial ca.Serial) (*ca.Certificate, error) {
	var c *ca.Certificate
	err := db.read(ctx, func(s *session) (err error) {
		c, err = s.certificate(serial)
		return err
	})
	return c, err
}

func (s *session) certificate(serial ca.Serial) (*ca.Certificate, error) {
	var row certificateRow
	if err := s.get(&row, certificateBySerial, rowID(serial)); err != nil {
		return nil, err
	}
	if row.Serial != rowID(serial) {
		return nil, errForeignRow("certificate")
	}
	return row.certificate(), nil
}

const (
	// Of an order that may have a certificate. Those of an order that failed,
	// or that nobody finalized, may not.
	orderMayIssue = `SELECT id FROM orders WHERE id = ? AND began_at IS NOT NULL AND error IS NULL`

	insertCertificate = `
INSERT INTO certificates (serial, order_id, account, issuer, profile, names, spki, not_before, not_after, shard, reserved_at, tbs, der)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)
ON CONFLICT (serial) DO NOTHING`

	insertCertificateName = `INSERT INTO certificate_names (name, serial) VALUES (?, ?) ON CONFLICT (name, serial) DO NOTHING`
)

// Reserve implements ca.Ledger. An order that is not being issued (not begun,
// or failed) is ca.ErrConflict, one that is not there ca.ErrNotFound.
func (db *DB) Reserve(ctx context.Context, by ca.Actor, c *ca.Certificate) (*ca.Certificate, error) {
	order, err := parseOptionalID("order", c.Order)
	if err != nil {
		return nil, err
	}
	account, err := parseOptionalID("account", c.Account)
	if err != nil {
		return nil, err
	}
	if c.Serial == (ca.Serial{}) || len(c.TBS) == 0 || len(c.DER) != 0 {
		return nil, errors.New("storage: a reservation has a serial and a TBS, and no DER yet")
	}
	e := happened(by, c.ReservedAt, actionCertificateReserve, c.Serial.String())
	if c.Order != "" {
		e.detail = map[string]any{"order": c.Order}
	}
	var reserved *ca.Certificate
	err = db.change(ctx, e, func(t *tx) error {
		if c.Order != "" {
			existing, err := t.reservedFor(order)
			if err != nil {
				return err
			}
			if existing != nil {
				reserved, t.silent = existing, true
				return nil
			}
		}
		if err := t.keyMayBeCertified(c.SPKI); err != nil {
			return err
		}
		if err := t.insertReservation(order, account, c); err != nil {
			return err
		}
		reserved, err = t.certificate(c.Serial)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reserved, nil
}

func (t *tx) insertReservation(order, account rowID, c *ca.Certificate) error {
	serial := rowID(c.Serial)
	n, err := t.exec(insertCertificate, serial, order, account, c.Issuer, c.Profile, nameList(c.Names), digest(c.SPKI),
		stamp(c.NotBefore), stamp(c.NotAfter), c.Shard, stamp(c.ReservedAt), c.TBS)
	if err != nil {
		return err
	}
	if n == 0 {
		return ca.ErrConflict
	}
	for _, name := range c.Names {
		if _, err := t.exec(insertCertificateName, name.String(), serial); err != nil {
			return err
		}
	}
	return t.proveNames(serial, c.Evidence)
}

// reservedFor finds what the order has already, nil if it has nothing. The
// order stays locked, so that two reservations for it take turns.
func (t *tx) reservedFor(order rowID) (*ca.Certificate, error) {
	var locked rowID
	may := t.get(&locked, orderMayIssue+t.dialect.forUpdate, order)
	if may != nil && !errors.Is(may, ca.ErrNotFound) {
		return nil, may
	}
	var row certificateRow
	switch err := t.get(&row, certificateByOrder, order); {
	case err == nil:
		if row.Order != order {
			return nil, errForeignRow("certificate")
		}
		return row.certificate(), nil
	case !errors.Is(err, ca.ErrNotFound):
		return nil, err
	case may == nil:
		return nil, nil
	}
	return nil, t.conflict(errNoRow, orderExists, order)
}

const (
	putCertificate = `UPDATE certificates SET der = ?, tbs = NULL WHERE serial = ? AND der IS NULL`

	certificateExists = `SELECT 1 FROM certificates WHERE serial = ?`

	reservation = `SELECT order_id, reserved_at FROM certificates WHERE serial = ?`

	// An order that failed while its certificate was being signed becomes
	// valid: the certificate exists, and its owner is the one who may have it.
	issueOrder = `
UPDATE orders SET certificate = ?, error = NULL, lease_until = NULL WHERE id = ? AND certificate IS NULL`
)

// PutCertificate implements ca.Ledger. Only the serial and the DER of c are
// used: the facts are those that were reserved.
func (db *DB) PutCertificate(ctx context.Context, by ca.Actor, c *ca.Certificate) error {
	if len(c.DER) == 0 {
		return errors.New("storage: a certificate without its DER can't be put")
	}
	serial := rowID(c.Serial)
	return db.change(ctx, happened(by, c.ReservedAt, actionCertificateIssue, c.Serial.String()), func(t *tx) error {
		if err := t.one(putCertificate, c.DER, serial); err != nil {
			return t.conflict(err, certificateExists, serial)
		}
		var row struct {
			Order      rowID `db:"order_id"`
			ReservedAt stamp `db:"reserved_at"`
		}
		if err := t.get(&row, reservation, serial); err != nil {
			return err
		}
		// Signing takes no time that matters, and stores never ask the clock.
		t.event.at = row.ReservedAt.time()
		if row.Order == (rowID{}) {
			return nil
		}
		t.event.detail = map[string]any{"order": row.Order.text()}
		return t.one(issueOrder, serial, row.Order)
	})
}

const (
	insertRevocation = `
INSERT INTO revocations (issuer, shard, serial, at, reason, not_after)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (issuer, shard, serial) DO NOTHING`

	// Only a compromised key replaces another reason (I50).
	worsenRevocation = `
UPDATE revocations SET reason = ?
WHERE issuer = ? AND shard = ? AND serial = ? AND reason <> ?`

	markShard = `
INSERT INTO crl_shards (issuer, shard, counter, covered, number, lease_until, refresh_at)
VALUES (?, ?, 1, NULL, 0, NULL, NULL)
ON CONFLICT (issuer, shard) DO UPDATE SET counter = crl_shards.counter + 1`
)

// Revoke implements ca.Ledger.
func (db *DB) Revoke(ctx context.Context, r ca.Revocation) error {
	e := happened(r.By, r.At, actionCertificateRevoke, r.Serial.String())
	e.detail = map[string]any{"reason": int(r.Reason)}
	return db.change(ctx, e, func(t *tx) error {
		c, err := t.certificate(r.Serial)
		if err != nil {
			return err
		}
		return t.revoke(c, r.At, r.Reason)
	})
}

// revoke writes the revocation of a certificate, or a worse reason into it.
func (t *tx) revoke(c *ca.Certificate, at time.Time, reason ca.Reason) error {
	serial := rowID(c.Serial)
	n, err := t.exec(insertRevocation, c.Issuer, c.Shard, serial, stamp(at), int(reason), stamp(c.NotAfter))
	if err != nil {
		return err
	}
	if n == 0 {
		if reason != ca.KeyCompromise {
			return ca.ErrAlreadyRevoked
		}
		err := t.one(worsenRevocation, int(reason), c.Issuer, c.Shard, serial, int(reason))
		if errors.Is(err, errNoRow) {
			return ca.ErrAlreadyRevoked
		}
		if err != nil {
			return err
		}
	}
	return t.one(markShard, c.Issuer, c.Shard)
}

// Certificates implements admin.Store.
func (db *DB) Certificates(ctx context.Context, s ca.CertificateSearch) ([]*ca.Certificate, error) {
	query, args, err := certificateQuery(db.dialect, s)
	if err != nil {
		return nil, err
	}
	var rows []certificateRow
	if err := db.read(ctx, func(q *session) error { return q.list(&rows, query, args...) }); err != nil {
		return nil, err
	}
	certificates := make([]*ca.Certificate, len(rows))
	for i := range rows {
		certificates[i] = rows[i].certificate()
	}
	return certificates, nil
}

func certificateQuery(d *dialect, s ca.CertificateSearch) (query string, args []any, err error) {
	w, err := certificateConditions(s)
	if err != nil {
		return "", nil, err
	}
	from, serial := fromCertificates, "c.serial"
	if s.Name != (ca.Identifier{}) {
		// The names' own table is in the order of the answer.
		from = ` FROM certificate_names n JOIN certificates c ON c.serial = n.serial` + strings.TrimPrefix(fromCertificates, " FROM certificates c")
		serial = "n.serial"
		w.and("n.name = ?", s.Name.String())
	}
	if s.After != (ca.Serial{}) {
		w.and(serial+" < ?", rowID(s.After))
	}
	if !s.ExpiringBefore.IsZero() && serial == "c.serial" && s.Account == "" {
		serial = d.sortAnyway + serial
	}
	query = `SELECT ` + certificateColumns + from + w.sql() + ` ORDER BY ` + serial + ` DESC LIMIT ?`
	return query, append(w.args, pageSize(s.Limit)), nil
}

// certificateConditions are the conditions of a search, but for name and page.
func certificateConditions(s ca.CertificateSearch) (*where, error) {
	w := new(where)
	ended := stamp(s.At.Add(-time.Second)) // the second of NotAfter still is valid
	switch s.Status {
	case "":
		w.and("(c.der IS NOT NULL OR r.serial IS NOT NULL)")
	case ca.CertificateReserved:
		w.and("c.der IS NULL AND r.serial IS NULL")
	case ca.CertificateValid:
		w.and("c.der IS NOT NULL AND r.serial IS NULL AND c.not_after > ?", ended)
	case ca.CertificateExpired:
		w.and("c.der IS NOT NULL AND r.serial IS NULL AND c.not_after <= ?", ended)
	case ca.CertificateRevoked:
		w.and("r.serial IS NOT NULL")
	default:
		return nil, fmt.Errorf("storage: no certificate has the status %q", s.Status)
	}
	if s.Account != "" {
		account, err := parseID("account", s.Account)
		if err != nil {
			w.and("1 = 0") // an empty answer is no error
		} else {
			w.and("c.account = ?", account)
		}
	}
	w.text("c.issuer = ?", s.Issuer)
	w.text("c.profile = ?", s.Profile)
	if !s.ExpiringBefore.IsZero() {
		w.and("c.not_after < ?", stamp(s.ExpiringBefore))
	}
	return w, nil
}
