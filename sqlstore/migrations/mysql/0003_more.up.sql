-- +goose Up

-- There are no transactions for tables, and MySQL's ALTER TABLE has no IF EXISTS. So each step looks if it is done.

-- Later fields of a token, in one JSON text that is kept byte by byte: a new field needs no new column.
SET @httpkey_step = (SELECT IF(count(*) > 0, 'DO 0',
	'ALTER TABLE httpkey_tokens ADD COLUMN more MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin')
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'httpkey_tokens' AND column_name = 'more');

PREPARE httpkey_step FROM @httpkey_step;

EXECUTE httpkey_step;

SET @httpkey_step = (SELECT IF(count(*) = 0, 'DO 0',
	'UPDATE httpkey_tokens SET more = CONCAT(''{"limits":[{"rate":'', limit_rate,
		COALESCE(CONCAT('',"burst":'', limit_burst), ''''), '',"period":'', limit_period * 1000, ''}]}'')
	WHERE id >= '''' AND limit_rate IS NOT NULL AND more IS NULL')
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'httpkey_tokens' AND column_name = 'limit_rate');

PREPARE httpkey_step FROM @httpkey_step;

EXECUTE httpkey_step;

SET @httpkey_step = (SELECT IF(count(*) = 0, 'DO 0',
	'ALTER TABLE httpkey_tokens DROP COLUMN limit_rate, DROP COLUMN limit_burst, DROP COLUMN limit_period')
FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'httpkey_tokens' AND column_name = 'limit_rate');

PREPARE httpkey_step FROM @httpkey_step;

EXECUTE httpkey_step;

DEALLOCATE PREPARE httpkey_step;

-- Buckets have other names now, so those that are there are of no use.
DROP TABLE IF EXISTS httpkey_buckets;

-- What each bucket owes: debt as of a moment, in request-microseconds under a rate, or in requests of a quota.
CREATE TABLE IF NOT EXISTS httpkey_buckets (
	id      BINARY(32) NOT NULL PRIMARY KEY,
	debt    BIGINT NOT NULL,
	as_of   BIGINT NOT NULL,
	rate    BIGINT NOT NULL,
	full_at BIGINT NOT NULL
) ENGINE = InnoDB;
