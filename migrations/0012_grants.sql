-- +goose Up

-- Grants that work once and have been used, kept until they have long expired.
CREATE TABLE grants_used (
    jti_hash   bytea       PRIMARY KEY, -- sha256: a jti may be long
    keep_until timestamptz NOT NULL
);
CREATE INDEX grants_used_keep_until ON grants_used (keep_until);
