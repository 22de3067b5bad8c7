-- Rate limits. A bucket is one instant, its TAT, in Unix nanoseconds: a limit
-- of a million an hour counts in milliseconds and less. Keys are hashes: the
-- table lists no addresses. A bucket that is full has no row, in the end.

-- +goose Up

CREATE TABLE buckets (
    key BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 16),
    tat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A name for which an account's validations fail one after the other. The
-- first valid one removes the row.
CREATE TABLE failing (
    account   BLOB    NOT NULL REFERENCES accounts (id),
    name      TEXT    NOT NULL, -- "dns:*.a.example", wildcards apart
    run       INTEGER NOT NULL CHECK (run > 0),
    since     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    paused_at INTEGER,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;
