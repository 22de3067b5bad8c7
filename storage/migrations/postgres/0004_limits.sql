-- Rate limits. A bucket is one instant, its TAT, in Unix nanoseconds: a limit
-- of a million an hour counts in milliseconds and less. Keys are hashes: the
-- table lists no addresses. A bucket that is full has no row, in the end.

-- +goose Up

-- Rows are rewritten all the time: the room left in each page lets that happen
-- in place, without touching the index.
CREATE TABLE buckets (
    key BYTEA  NOT NULL PRIMARY KEY CHECK (length(key) = 16),
    tat BIGINT NOT NULL
) WITH (fillfactor = 60);

-- A name for which an account's validations fail one after the other. The
-- first valid one removes the row.
CREATE TABLE failing (
    account   BYTEA  NOT NULL REFERENCES accounts (id),
    name      TEXT   NOT NULL, -- "dns:*.a.example", wildcards apart
    run       BIGINT NOT NULL CHECK (run > 0),
    since     BIGINT NOT NULL,
    last      BIGINT NOT NULL,
    paused_at BIGINT,
    PRIMARY KEY (account, name)
) WITH (fillfactor = 80);
