-- Keys that may not be certified, nor be an account's, any more.

-- +goose Up

CREATE TABLE blocked_keys (
    spki    BLOB    NOT NULL PRIMARY KEY CHECK (length(spki) = 32), -- SHA-256
    at      INTEGER NOT NULL,
    source  TEXT    NOT NULL, -- 'compromise' or 'operator'
    comment TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX blocked_keys_at ON blocked_keys (at, spki);
