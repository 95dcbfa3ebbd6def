-- +goose Up

-- Times are Unix microseconds. NULL is what is null, or the default, in a token.
CREATE TABLE httpkey_tokens (
	id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	digest       BYTEA NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
	hint         TEXT NOT NULL,
	kind         TEXT COLLATE "C" NOT NULL,
	label        TEXT NOT NULL,
	description  TEXT NOT NULL,
	user_id      TEXT COLLATE "C" NOT NULL,
	workspace_id TEXT COLLATE "C",
	scopes       JSONB NOT NULL,
	limit_rate   BIGINT,
	limit_burst  BIGINT,
	limit_period BIGINT,
	is_active    BOOLEAN NOT NULL,
	expired_at   BIGINT,
	last_used    BIGINT,
	created_at   BIGINT NOT NULL,
	rotated_from TEXT COLLATE "C"
) WITH (fillfactor = 90);

CREATE INDEX httpkey_tokens_newest ON httpkey_tokens (created_at, id);
CREATE INDEX httpkey_tokens_user ON httpkey_tokens (user_id, created_at, id);
CREATE INDEX httpkey_tokens_workspace ON httpkey_tokens (workspace_id, created_at, id);
CREATE INDEX httpkey_tokens_rotated ON httpkey_tokens (rotated_from, created_at, id);

-- What changed, for the caches of other processes: the latest changes, without gaps.
CREATE TABLE httpkey_changes (
	revision BIGINT NOT NULL PRIMARY KEY,
	digest   BYTEA NOT NULL
);

-- One row: the revision of the latest change. A change holds its lock.
CREATE TABLE httpkey_revision (
	id       INT NOT NULL PRIMARY KEY CHECK (id = 1),
	revision BIGINT NOT NULL
);

INSERT INTO httpkey_revision (id, revision) VALUES (1, 0);
