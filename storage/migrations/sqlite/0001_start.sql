-- The first schema. Times are Unix milliseconds, UTC. IDs and serial numbers
-- are 16 octets that begin with their time, so that tables and indexes grow at
-- their ends; storage/columns.go turns them into the text that others see.
-- Statuses are never stored: they follow from the facts (what is not NULL).

-- +goose Up

CREATE TABLE external_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    sealed     BLOB    NOT NULL,
    label      TEXT    NOT NULL,
    reusable   INTEGER NOT NULL CHECK (reusable IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    used_at    INTEGER,
    uses       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    jwk             TEXT    NOT NULL, -- canonical, RFC 7638
    spki            BLOB    NOT NULL UNIQUE CHECK (length(spki) = 32), -- SHA-256
    contact         TEXT    NOT NULL, -- JSON array
    terms_agreed_at INTEGER,
    external_key_id TEXT,
    created_at      INTEGER NOT NULL,
    deactivated_at  INTEGER,
    revoked_at      INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX accounts_external_key ON accounts (external_key_id) WHERE external_key_id IS NOT NULL;

CREATE TABLE authorizations (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    account        BLOB    NOT NULL REFERENCES accounts (id),
    identifier     TEXT    NOT NULL, -- "dns:a.example", without "*."
    wildcard       INTEGER NOT NULL CHECK (wildcard IN (0, 1)),
    types          TEXT    NOT NULL, -- challenge types, separated by a space
    seed           BLOB    NOT NULL CHECK (length(seed) = 32),
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    attempt        TEXT,
    attempted_at   INTEGER,
    lease_until    INTEGER, -- NULL unless an attempt waits for its verdict
    validated_at   INTEGER,
    error          TEXT,    -- problem document
    deactivated_at INTEGER
) STRICT, WITHOUT ROWID;

-- Only valid authorizations are looked up by name, so that a new one costs
-- this index nothing.
CREATE INDEX authorizations_valid ON authorizations (account, identifier, wildcard, expires_at)
    WHERE validated_at IS NOT NULL AND deactivated_at IS NULL;
CREATE INDEX authorizations_leases ON authorizations (lease_until) WHERE lease_until IS NOT NULL;

-- What a validation saw. Beside the authorization, because it is written once
-- and longer than all the rest of it.
CREATE TABLE evidence (
    authorization_id BLOB NOT NULL PRIMARY KEY REFERENCES authorizations (id) ON DELETE CASCADE,
    body             BLOB NOT NULL -- JSON
) STRICT;

CREATE TABLE orders (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    account        BLOB    NOT NULL REFERENCES accounts (id),
    profile        TEXT    NOT NULL,
    identifiers    TEXT    NOT NULL, -- JSON array of "dns:a.example"
    authorizations BLOB    NOT NULL CHECK (length(authorizations) % 16 = 0), -- IDs, one behind the other
    not_before     INTEGER,
    not_after      INTEGER,
    replaces       TEXT,    -- ARI certID
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    began_at       INTEGER,
    lease_until    INTEGER, -- NULL unless an issuance is going on
    csr            BLOB,
    certificate    BLOB    CHECK (certificate IS NULL OR length(certificate) = 16), -- serial
    error          TEXT     -- problem document
) STRICT, WITHOUT ROWID;

CREATE INDEX orders_account ON orders (account, id);
CREATE INDEX orders_replaces ON orders (replaces, id) WHERE replaces IS NOT NULL;
CREATE INDEX orders_leases ON orders (lease_until) WHERE lease_until IS NOT NULL;

-- A row is written when its serial is reserved (tbs), and completed when the
-- certificate is signed (der). Orders are pruned before certificates, so that
-- order_id refers to nothing in the end.
CREATE TABLE certificates (
    seq         INTEGER NOT NULL PRIMARY KEY,
    serial      BLOB    NOT NULL UNIQUE CHECK (length(serial) = 16),
    order_id    BLOB,
    account     BLOB,
    issuer      TEXT    NOT NULL,
    profile     TEXT    NOT NULL,
    names       TEXT    NOT NULL, -- JSON array of "dns:a.example"
    spki        BLOB    NOT NULL CHECK (length(spki) = 32), -- SHA-256
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    shard       INTEGER NOT NULL,
    reserved_at INTEGER NOT NULL,
    tbs         BLOB,
    der         BLOB,
    CHECK ((tbs IS NULL) <> (der IS NULL))
) STRICT;

CREATE UNIQUE INDEX certificates_order ON certificates (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX certificates_account ON certificates (account, serial) WHERE account IS NOT NULL;
CREATE INDEX certificates_spki ON certificates (spki);
CREATE INDEX certificates_not_after ON certificates (not_after);

CREATE TABLE certificate_names (
    name   TEXT NOT NULL, -- "dns:a.example"
    serial BLOB NOT NULL,
    PRIMARY KEY (name, serial)
) STRICT, WITHOUT ROWID;

-- In the order in which a CRL is written.
CREATE TABLE revocations (
    issuer    TEXT    NOT NULL,
    shard     INTEGER NOT NULL,
    serial    BLOB    NOT NULL CHECK (length(serial) = 16),
    at        INTEGER NOT NULL,
    reason    INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    PRIMARY KEY (issuer, shard, serial)
) STRICT, WITHOUT ROWID;

-- What is short and changes with each revocation; the list itself stands in
-- crl_lists, because a change rewrites a row whole.
CREATE TABLE crl_shards (
    issuer      TEXT    NOT NULL,
    shard       INTEGER NOT NULL,
    counter     INTEGER NOT NULL, -- revocations
    covered     INTEGER,          -- the counter that the list covers
    number      INTEGER NOT NULL, -- the last one handed out
    lease_until INTEGER,
    refresh_at  INTEGER,
    PRIMARY KEY (issuer, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE crl_lists (
    issuer      TEXT    NOT NULL,
    shard       INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    mark        INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    refresh_at  INTEGER NOT NULL,
    entries     INTEGER NOT NULL,
    der         BLOB    NOT NULL,
    PRIMARY KEY (issuer, shard)
) STRICT;

CREATE TABLE audit_events (
    seq        INTEGER NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor_kind TEXT    NOT NULL,
    actor_id   TEXT    NOT NULL,
    actor_addr TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    object     TEXT    NOT NULL,
    detail     TEXT    NOT NULL -- JSON object, or empty
) STRICT;

CREATE INDEX audit_events_object ON audit_events (object);
