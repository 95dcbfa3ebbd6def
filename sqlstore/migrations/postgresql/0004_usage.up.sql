-- +goose Up

-- What tokens were used for: numbers by name, of an hour or of 24. The beginning comes first in the key, so that
-- counts are written and removed in one place of the table.
CREATE TABLE httpkey_usage (
	hours     INT NOT NULL,
	begins_at BIGINT NOT NULL,
	id        TEXT COLLATE "C" NOT NULL,
	name      TEXT COLLATE "C" NOT NULL,
	n         BIGINT NOT NULL,
	PRIMARY KEY (hours, begins_at, id, name)
);

-- The last client of each token, if the program records it.
CREATE TABLE httpkey_usage_clients (
	id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	address    TEXT NOT NULL,
	user_agent TEXT NOT NULL,
	seen_at    BIGINT NOT NULL,
	seen_on    BIGINT NOT NULL
);

CREATE INDEX httpkey_usage_clients_seen ON httpkey_usage_clients (seen_on);
