-- +goose Up

-- What each bucket of a rate limit owes, in request-microseconds, and when that is paid off.
CREATE TABLE httpkey_buckets (
	id      BLOB NOT NULL PRIMARY KEY,
	debt    INTEGER NOT NULL,
	as_of   INTEGER NOT NULL,
	full_at INTEGER NOT NULL
) WITHOUT ROWID;
