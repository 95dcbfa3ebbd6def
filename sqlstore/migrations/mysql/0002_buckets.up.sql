-- +goose Up

-- What each bucket of a rate limit owes, in request-microseconds, and when that is paid off.
CREATE TABLE IF NOT EXISTS httpkey_buckets (
	id      BINARY(32) NOT NULL PRIMARY KEY,
	debt    BIGINT NOT NULL,
	as_of   BIGINT NOT NULL,
	full_at BIGINT NOT NULL
) ENGINE = InnoDB;
