-- The first schema. Times are Unix milliseconds, UTC. IDs and serial numbers
-- are 16 octets that begin with their time, so that tables and indexes grow at
-- their ends; storage/columns.go turns them into the text that others see.
-- Statuses are never stored: they follow from the facts (what is not NULL).

-- +goose Up

CREATE TABLE external_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    sealed     BYTEA  NOT NULL,
    label      TEXT   NOT NULL,
    reusable   BIGINT NOT NULL CHECK (reusable IN (0, 1)),
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    used_at    BIGINT,
    uses       BIGINT NOT NULL
);

CREATE TABLE accounts (
    id              BYTEA  NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    jwk             TEXT   NOT NULL, -- canonical, RFC 7638
    spki            BYTEA  NOT NULL UNIQUE CHECK (length(spki) = 32), -- SHA-256
    contact         TEXT   NOT NULL, -- JSON array
    terms_agreed_at BIGINT,
    external_key_id TEXT,
    created_at      BIGINT NOT NULL,
    deactivated_at  BIGINT,
    revoked_at      BIGINT
);

CREATE INDEX accounts_external_key ON accounts (external_key_id) WHERE external_key_id IS NOT NULL;

CREATE TABLE authorizations (
    id             BYTEA  NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    account        BYTEA  NOT NULL REFERENCES accounts (id),
    identifier     TEXT   NOT NULL, -- "dns:a.example", without "*."
    wildcard       BIGINT NOT NULL CHECK (wildcard IN (0, 1)),
    types          TEXT   NOT NULL, -- challenge types, separated by a space
    seed           BYTEA  NOT NULL CHECK (length(seed) = 32),
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    attempt        TEXT,
    attempted_at   BIGINT,
    lease_until    BIGINT, -- NULL unless an attempt waits for its verdict
    validated_at   BIGINT,
    error          TEXT,    -- problem document
    deactivated_at BIGINT
);

-- Only valid authorizations are looked up by name, so that a new one costs
-- this index nothing.
CREATE INDEX authorizations_valid ON authorizations (account, identifier, wildcard, expires_at)
    WHERE validated_at IS NOT NULL AND deactivated_at IS NULL;
CREATE INDEX authorizations_leases ON authorizations (lease_until) WHERE lease_until IS NOT NULL;

-- What a validation saw. Beside the authorization, because it is written once
-- and longer than all the rest of it.
CREATE TABLE evidence (
    authorization_id BYTEA  NOT NULL PRIMARY KEY REFERENCES authorizations (id) ON DELETE CASCADE,
    body             BYTEA  NOT NULL -- JSON
);

CREATE TABLE orders (
    id             BYTEA  NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    account        BYTEA  NOT NULL REFERENCES accounts (id),
    profile        TEXT   NOT NULL,
    identifiers    TEXT   NOT NULL, -- JSON array of "dns:a.example"
    authorizations BYTEA  NOT NULL CHECK (length(authorizations) % 16 = 0), -- IDs, one behind the other
    not_before     BIGINT,
    not_after      BIGINT,
    replaces       TEXT,    -- ARI certID
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    began_at       BIGINT,
    lease_until    BIGINT, -- NULL unless an issuance is going on
    csr            BYTEA,
    certificate    BYTEA  CHECK (certificate IS NULL OR length(certificate) = 16), -- serial
    error          TEXT   -- problem document
);

CREATE INDEX orders_account ON orders (account, id);
CREATE INDEX orders_replaces ON orders (replaces, id) WHERE replaces IS NOT NULL;
CREATE INDEX orders_leases ON orders (lease_until) WHERE lease_until IS NOT NULL;

-- A row is written when its serial is reserved (tbs), and completed when the
-- certificate is signed (der). Orders are pruned before certificates, so that
-- order_id refers to nothing in the end.
CREATE TABLE certificates (
    seq         BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    serial      BYTEA  NOT NULL UNIQUE CHECK (length(serial) = 16),
    order_id    BYTEA,
    account     BYTEA,
    issuer      TEXT   NOT NULL,
    profile     TEXT   NOT NULL,
    names       TEXT   NOT NULL, -- JSON array of "dns:a.example"
    spki        BYTEA  NOT NULL CHECK (length(spki) = 32), -- SHA-256
    not_before  BIGINT NOT NULL,
    not_after   BIGINT NOT NULL,
    shard       BIGINT NOT NULL,
    reserved_at BIGINT NOT NULL,
    tbs         BYTEA,
    der         BYTEA,
    CHECK ((tbs IS NULL) <> (der IS NULL))
);

CREATE UNIQUE INDEX certificates_order ON certificates (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX certificates_account ON certificates (account, serial) WHERE account IS NOT NULL;
CREATE INDEX certificates_spki ON certificates (spki);
CREATE INDEX certificates_not_after ON certificates (not_after);

CREATE TABLE certificate_names (
    name   TEXT   NOT NULL, -- "dns:a.example"
    serial BYTEA  NOT NULL,
    PRIMARY KEY (name, serial)
);

-- In the order in which a CRL is written.
CREATE TABLE revocations (
    issuer    TEXT   NOT NULL,
    shard     BIGINT NOT NULL,
    serial    BYTEA  NOT NULL CHECK (length(serial) = 16),
    at        BIGINT NOT NULL,
    reason    BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    PRIMARY KEY (issuer, shard, serial)
);

-- What is short and changes with each revocation; the list itself stands in
-- crl_lists, because a change rewrites a row whole.
CREATE TABLE crl_shards (
    issuer      TEXT   NOT NULL,
    shard       BIGINT NOT NULL,
    counter     BIGINT NOT NULL, -- revocations
    covered     BIGINT,          -- the counter that the list covers
    number      BIGINT NOT NULL, -- the last one handed out
    lease_until BIGINT,
    refresh_at  BIGINT,
    PRIMARY KEY (issuer, shard)
);

CREATE TABLE crl_lists (
    issuer      TEXT   NOT NULL,
    shard       BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    mark        BIGINT NOT NULL,
    this_update BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    refresh_at  BIGINT NOT NULL,
    entries     BIGINT NOT NULL,
    der         BYTEA  NOT NULL,
    PRIMARY KEY (issuer, shard)
);

CREATE TABLE audit_events (
    seq        BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         BIGINT NOT NULL,
    actor_kind TEXT   NOT NULL,
    actor_id   TEXT   NOT NULL,
    actor_addr TEXT   NOT NULL,
    action     TEXT   NOT NULL,
    object     TEXT   NOT NULL,
    detail     TEXT   NOT NULL -- JSON object, or empty
);

CREATE INDEX audit_events_object ON audit_events (object);
