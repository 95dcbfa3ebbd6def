// Package table makes a table of hashed keys, with IDs that the database assigns and columns of the program's own,
// a whole store: the Guard issues, rotates and revokes the keys in it, and the page lists them.
package table

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/httpkey/httpkey"
)

// Schema is the table of the program, with two columns more: token and more keep what the others do not. Their
// defaults are those of a key from before.
const Schema = `CREATE TABLE IF NOT EXISTS api_keys (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id      TEXT NOT NULL,
	name         TEXT NOT NULL,
	key_hash     TEXT NOT NULL UNIQUE,
	created_at   DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
	expires_at   DATETIME,
	last_used_at DATETIME,
	revoked_at   DATETIME
);
ALTER TABLE api_keys ADD COLUMN token TEXT NOT NULL DEFAULT '{"kind":"api_key","is_active":true}';
ALTER TABLE api_keys ADD COLUMN more TEXT NOT NULL DEFAULT ''`

// Store implements [httpkey.TokenStore] in a database of SQLite. It needs _txlock=immediate in the data source name,
// so that Update reads under the lock under which it writes, and one connection, so that callers take turns.
type Store struct{ DB *sql.DB }

const (
	columns = "user_id, name, key_hash, created_at, expires_at, last_used_at, revoked_at, token, more"
	from    = "SELECT id, " + columns + " FROM api_keys "
	byID    = from + "WHERE id = ?1 AND id || '' = ?1" // "7", but not "07"
)

// Create implements [httpkey.TokenStore]. The table assigns the ID.
func (s Store) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	values, err := valuesOf(t)
	if err != nil {
		return httpkey.Token{}, err
	}
	err = s.DB.QueryRowContext(ctx, "INSERT INTO api_keys ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "+
		"ON CONFLICT DO NOTHING RETURNING id", values...).Scan(&t.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return httpkey.Token{}, httpkey.ErrConflict
	}
	return t.Clone(), err
}

// Lookup implements [httpkey.TokenStore].
func (s Store) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	return read(s.DB.QueryRowContext(ctx, from+"WHERE key_hash = ?", d.Hex()))
}

// Get implements [httpkey.TokenStore].
func (s Store) Get(ctx context.Context, id string) (httpkey.Token, error) {
	return read(s.DB.QueryRowContext(ctx, byID, id))
}

// List implements [httpkey.TokenStore]. A Cursor compares IDs as text.
func (s Store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	rows, err := s.DB.QueryContext(ctx, from+`
		WHERE (?1 = '' OR user_id = ?1) AND (?2 = '' OR token ->> 'workspace' = ?2) AND (?3 = '' OR token ->> 'kind' = ?3)
			AND (?4 = '' OR token ->> 'rotated_from' = ?4) AND (?5 = '' OR (created_at, id || '') < (?6, ?5))
		ORDER BY created_at DESC, id || '' DESC LIMIT ?7`,
		f.User, f.Workspace, string(f.Kind), f.RotatedFrom, f.After.ID, f.After.CreatedAt.UTC(), f.PageSize())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var tokens []httpkey.Token
	for rows.Next() {
		t, err := read(rows)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, rows.Err()
}

// Update implements [httpkey.TokenStore].
func (s Store) Update(
	ctx context.Context, id string, change func(*httpkey.Token) error,
) (t httpkey.Token, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		old, err := read(tx.QueryRowContext(ctx, byID, id))
		if err != nil {
			return err
		}
		if t, err = old.Apply(change); err != nil {
			return err
		}
		values, err := valuesOf(t)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE api_keys SET ("+columns+") = (?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?",
			append(values, id)...)
		return err
	})
	if err != nil {
		return httpkey.Token{}, err
	}
	return t, nil
}

// Delete implements [httpkey.TokenStore].
func (s Store) Delete(ctx context.Context, id string) error {
	_, err := s.DB.ExecContext(ctx, "DELETE FROM api_keys WHERE id = ?1 AND id || '' = ?1", id)
	return err
}

// Touch implements [httpkey.TokenStore].
func (s Store) Touch(ctx context.Context, used map[string]time.Time) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		for id, at := range used {
			_, err := tx.ExecContext(ctx, "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, ''), ?2) "+
				"WHERE id = ?1 AND id || '' = ?1", id, at.UTC())
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s Store) transact(ctx context.Context, run func(*sql.Tx) error) error {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := run(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// valuesOf returns the values of the columns. The JSON of a token has all but its Digest and what More has.
func valuesOf(t httpkey.Token) ([]any, error) {
	text, err := json.Marshal(t)
	return []any{
		t.User, t.Label, t.Digest.Hex(), t.CreatedAt.UTC(), orNull(t.ExpiredAt), orNull(t.LastUsed), orNull(t.RevokedAt),
		string(text), t.More(),
	}, err
}

func orNull(t time.Time) sql.NullTime { return sql.NullTime{Time: t.UTC(), Valid: !t.IsZero()} }

// read returns the token of a row. The columns of the program have the last word.
func read(row interface{ Scan(...any) error }) (t httpkey.Token, err error) {
	var id, user, label, hash, text, more string
	var created time.Time
	var expires, used, revoked sql.NullTime
	err = row.Scan(&id, &user, &label, &hash, &created, &expires, &used, &revoked, &text, &more)
	if errors.Is(err, sql.ErrNoRows) {
		return t, httpkey.ErrNotFound
	}
	if err != nil {
		return t, err
	}
	err = errors.Join(json.Unmarshal([]byte(text), &t), t.SetMore(more))
	if err == nil {
		t.Digest, err = httpkey.ParseDigest(hash)
	}
	t.ID, t.User, t.Label, t.CreatedAt = id, user, label, created
	t.ExpiredAt, t.LastUsed, t.RevokedAt = expires.Time, used.Time, revoked.Time
	t.IsActive = t.IsActive && !revoked.Valid
	return t, err
}
