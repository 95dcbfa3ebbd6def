-- +goose Up

-- Times are Unix microseconds. NULL is what is null, or the default, in a token.
CREATE TABLE httpkey_tokens (
	id           TEXT NOT NULL PRIMARY KEY,
	digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
	hint         TEXT NOT NULL,
	kind         TEXT NOT NULL,
	label        TEXT NOT NULL,
	description  TEXT NOT NULL,
	user_id      TEXT NOT NULL,
	workspace_id TEXT,
	scopes       TEXT NOT NULL,
	limit_rate   INTEGER,
	limit_burst  INTEGER,
	limit_period INTEGER,
	is_active    INTEGER NOT NULL,
	expired_at   INTEGER,
	last_used    INTEGER,
	created_at   INTEGER NOT NULL,
	rotated_from TEXT
);

CREATE INDEX httpkey_tokens_newest ON httpkey_tokens (created_at, id);
CREATE INDEX httpkey_tokens_user ON httpkey_tokens (user_id, created_at, id);
CREATE INDEX httpkey_tokens_workspace ON httpkey_tokens (workspace_id, created_at, id);
CREATE INDEX httpkey_tokens_rotated ON httpkey_tokens (rotated_from, created_at, id);

-- What changed, for the caches of other processes: the latest changes, without gaps.
CREATE TABLE httpkey_changes (
	revision INTEGER NOT NULL PRIMARY KEY,
	digest   BLOB NOT NULL
);

-- One row: the revision of the latest change.
CREATE TABLE httpkey_revision (
	id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
	revision INTEGER NOT NULL
);

INSERT INTO httpkey_revision (id, revision) VALUES (1, 0);
