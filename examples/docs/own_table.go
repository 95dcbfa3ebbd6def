package docs

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/httpkey/httpkey"
)

func ownTable(db *sql.DB) httpkey.LookupOnly {
	return httpkey.LookupOnly{
		ByDigest: func(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
			var (
				id          int64
				hash, owner string
				revoked     bool
				expires     sql.NullTime
			)
			const query = "SELECT id, sha256, owner, revoked, expires FROM keys WHERE sha256 = ?"
			err := db.QueryRowContext(ctx, query, d.Hex()).Scan(&id, &hash, &owner, &revoked, &expires)
			if errors.Is(err, sql.ErrNoRows) {
				return httpkey.Token{}, httpkey.ErrNotFound
			}
			if err != nil {
				return httpkey.Token{}, err
			}
			digest, err := httpkey.ParseDigest(hash)
			return httpkey.Token{
				ID: strconv.FormatInt(id, 10), Digest: digest, User: owner, IsActive: !revoked, ExpiredAt: expires.Time,
			}, err
		},
		Used: func(ctx context.Context, used map[string]time.Time) error {
			for id, at := range used {
				const update = "UPDATE keys SET last_used = ?1 WHERE id = ?2 AND coalesce(last_used, 0) < ?1"
				if _, err := db.ExecContext(ctx, update, at.UnixMicro(), id); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
