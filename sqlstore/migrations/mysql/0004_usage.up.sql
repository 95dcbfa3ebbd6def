-- +goose Up

-- What tokens were used for: numbers by name, of an hour or of 24. The beginning comes first in the key, so that
-- counts are written and removed in one place of the table.
CREATE TABLE IF NOT EXISTS httpkey_usage (
	hours     INT NOT NULL,
	begins_at BIGINT NOT NULL,
	id        VARBINARY(255) NOT NULL,
	name      VARBINARY(64) NOT NULL,
	n         BIGINT NOT NULL,
	PRIMARY KEY (hours, begins_at, id, name)
) ENGINE = InnoDB;

-- The last client of each token, if the program records it.
CREATE TABLE IF NOT EXISTS httpkey_usage_clients (
	id         VARBINARY(255) NOT NULL PRIMARY KEY,
	address    VARBINARY(64) NOT NULL,
	user_agent VARCHAR(256) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	seen_at    BIGINT NOT NULL,
	seen_on    BIGINT NOT NULL,
	INDEX httpkey_usage_clients_seen (seen_on)
) ENGINE = InnoDB;
