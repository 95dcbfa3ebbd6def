-- +goose Up

-- What each bucket of a rate limit owes, in request-microseconds, and when that
-- is paid off. After a crash of the server all are full: that costs no log.
CREATE UNLOGGED TABLE httpkey_buckets (
	id      BYTEA NOT NULL PRIMARY KEY,
	debt    BIGINT NOT NULL,
	as_of   BIGINT NOT NULL,
	full_at BIGINT NOT NULL
) WITH (fillfactor = 70);
