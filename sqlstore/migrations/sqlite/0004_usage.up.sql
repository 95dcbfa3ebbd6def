-- +goose Up

-- What tokens were used for: numbers by name, of an hour or of 24. The beginning comes first in the key, so that
-- counts are written and removed in one place of the table.
CREATE TABLE httpkey_usage (
	hours     INTEGER NOT NULL,
	begins_at INTEGER NOT NULL,
	id        TEXT NOT NULL,
	name      TEXT NOT NULL,
	n         INTEGER NOT NULL,
	PRIMARY KEY (hours, begins_at, id, name)
) WITHOUT ROWID;

-- The last client of each token, if the program records it.
CREATE TABLE httpkey_usage_clients (
	id         TEXT NOT NULL PRIMARY KEY,
	address    TEXT NOT NULL,
	user_agent TEXT NOT NULL,
	seen_at    INTEGER NOT NULL,
	seen_on    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX httpkey_usage_clients_seen ON httpkey_usage_clients (seen_on);
