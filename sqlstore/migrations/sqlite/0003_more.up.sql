-- +goose Up

-- Later fields of a token, in one JSON text that is kept byte by byte: a new field needs no new column.
ALTER TABLE httpkey_tokens ADD COLUMN more TEXT;

UPDATE httpkey_tokens SET more = '{"limits":[{"rate":' || limit_rate || coalesce(',"burst":' || limit_burst, '') ||
	',"period":' || (limit_period * 1000) || '}]}' WHERE limit_rate IS NOT NULL;

ALTER TABLE httpkey_tokens DROP COLUMN limit_rate;

ALTER TABLE httpkey_tokens DROP COLUMN limit_burst;

ALTER TABLE httpkey_tokens DROP COLUMN limit_period;

-- Buckets have other names now, so those that are there are of no use.
DROP TABLE httpkey_buckets;

-- What each bucket owes: debt as of a moment, in request-microseconds under a rate, or in requests of a quota.
CREATE TABLE httpkey_buckets (
	id      BLOB NOT NULL PRIMARY KEY,
	debt    INTEGER NOT NULL,
	as_of   INTEGER NOT NULL,
	rate    INTEGER NOT NULL,
	full_at INTEGER NOT NULL
) WITHOUT ROWID;
