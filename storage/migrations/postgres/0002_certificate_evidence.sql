-- Why each name of a certificate may stand in it: who proved it how and when,
-- and what CAA records said. Written with the intent to sign, once, and read
-- only when somebody asks, so it stands beside the certificate.

-- +goose Up

CREATE TABLE certificate_evidence (
    serial BYTEA NOT NULL PRIMARY KEY, -- of certificates
    body   BYTEA NOT NULL              -- JSON
);
