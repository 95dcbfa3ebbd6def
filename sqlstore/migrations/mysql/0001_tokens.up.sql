-- +goose Up

-- Times are Unix microseconds. NULL is what is null, or the default, in a token.
-- VARBINARY, because no text collation of both MySQL and MariaDB tells 'a' from 'a '.
CREATE TABLE IF NOT EXISTS httpkey_tokens (
	id           VARBINARY(255) NOT NULL PRIMARY KEY,
	digest       BINARY(32) NOT NULL,
	hint         VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	kind         VARBINARY(32) NOT NULL,
	label        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	description  TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	user_id      VARBINARY(255) NOT NULL,
	workspace_id VARBINARY(255),
	scopes       JSON NOT NULL,
	limit_rate   BIGINT,
	limit_burst  BIGINT,
	limit_period BIGINT,
	is_active    BOOLEAN NOT NULL,
	expired_at   BIGINT,
	last_used    BIGINT,
	created_at   BIGINT NOT NULL,
	rotated_from VARBINARY(255),
	UNIQUE INDEX httpkey_tokens_digest (digest),
	INDEX httpkey_tokens_newest (created_at, id),
	INDEX httpkey_tokens_user (user_id, created_at, id),
	INDEX httpkey_tokens_workspace (workspace_id, created_at, id),
	INDEX httpkey_tokens_rotated (rotated_from, created_at, id)
) ENGINE = InnoDB;

-- What changed, for the caches of other processes: the latest changes, without gaps.
CREATE TABLE IF NOT EXISTS httpkey_changes (
	revision BIGINT NOT NULL PRIMARY KEY,
	digest   BINARY(32) NOT NULL
) ENGINE = InnoDB;

-- One row: the revision of the latest change. A change holds its lock.
CREATE TABLE IF NOT EXISTS httpkey_revision (
	id       INT NOT NULL PRIMARY KEY,
	revision BIGINT NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO httpkey_revision (id, revision) VALUES (1, 0);
