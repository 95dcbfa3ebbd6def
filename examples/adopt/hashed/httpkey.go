package main

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// newGuard returns a Guard over the table of the program. The program goes on creating, revoking and rotating keys
// in this table; a change applies to the next request.
func newGuard(db *sql.DB) *httpkey.Guard {
	return httpkey.New(keysIn(db), memstore.NewLimiter(), &httpkey.Options{
		ImportedMinLength: len(newKey()), // the shape of the keys that the program makes
	})
}

func keysIn(db *sql.DB) httpkey.LookupOnly {
	return httpkey.LookupOnly{
		ByDigest: func(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
			t := httpkey.Token{Digest: d}
			var expires, revoked sql.NullTime
			err := db.QueryRowContext(ctx,
				"SELECT id, user_id, name, created_at, expires_at, revoked_at FROM api_keys WHERE key_hash = ?", d.Hex(),
			).Scan(&t.ID, &t.User, &t.Label, &t.CreatedAt, &expires, &revoked)
			if errors.Is(err, sql.ErrNoRows) {
				return t, httpkey.ErrNotFound
			}
			t.ExpiredAt, t.IsActive = expires.Time, !revoked.Valid
			return t, err
		},
		Used: func(ctx context.Context, used map[string]time.Time) error {
			for id, at := range used {
				_, err := db.ExecContext(ctx, "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, ''), ?) WHERE id = ?",
					at.UTC(), id)
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}
