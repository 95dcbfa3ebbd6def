-- +goose Up

-- Later fields of a token, in one JSON text that is kept byte by byte: a new field needs no new column.
ALTER TABLE httpkey_tokens ADD COLUMN more TEXT;

UPDATE httpkey_tokens SET more = '{"limits":[{"rate":' || limit_rate || coalesce(',"burst":' || limit_burst, '') ||
	',"period":' || (limit_period * 1000) || '}]}' WHERE limit_rate IS NOT NULL;

ALTER TABLE httpkey_tokens DROP COLUMN limit_rate, DROP COLUMN limit_burst, DROP COLUMN limit_period;

-- Buckets have other names now, so those that are there are of no use. Debt is request-microseconds under a rate.
TRUNCATE httpkey_buckets;

ALTER TABLE httpkey_buckets ADD COLUMN rate BIGINT NOT NULL;
