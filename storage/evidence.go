package storage

import (
	"context"
	"encoding/json"
	"fmt"

	"chancery/ca"
)

const (
	insertCertificateEvidence = `INSERT INTO certificate_evidence (serial, body) VALUES (?, ?)`
	selectCertificateEvidence = `SELECT body FROM certificate_evidence WHERE serial = ?`
)

// proveNames keeps why the names of a certificate may stand in it, in the
// transaction that reserves its serial. Chancery's own certificate has none.
func (t *tx) proveNames(serial rowID, evidence []ca.NameEvidence) error {
	if len(evidence) == 0 {
		return nil
	}
	body, err := json.Marshal(evidence)
	if err != nil {
		return fmt.Errorf("storage: the evidence for certificate %s: %w", ca.Serial(serial), err)
	}
	return t.one(insertCertificateEvidence, serial, body)
}

// CertificateEvidence is why the names of a certificate may stand in it, as it
// was known when the certificate was signed. ca.ErrNotFound when there is none:
// for Chancery's own certificate, and for serials that were never reserved.
func (db *DB) CertificateEvidence(ctx context.Context, serial ca.Serial) ([]ca.NameEvidence, error) {
	var body []byte
	err := db.read(ctx, func(s *session) error { return s.get(&body, selectCertificateEvidence, rowID(serial)) })
	if err != nil {
		return nil, err
	}
	var evidence []ca.NameEvidence
	if err := json.Unmarshal(body, &evidence); err != nil {
		return nil, fmt.Errorf("storage: the evidence for certificate %s: %w", serial, err)
	}
	return evidence, nil
}
