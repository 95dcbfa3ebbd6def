package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"
	"golang.org/x/crypto/bcrypt"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
)

func newGuard(db *sql.DB, dialect sqlstore.Dialect, rdb redis.UniversalClient) *httpkey.Guard {
	return httpkey.New(sqlstore.New(db, dialect, nil), redisstore.NewLimiter(rdb, nil), &httpkey.Options{
		ImportedMinLength: 32, Timeout: time.Second, // the old database is slow
		Adopt: func(ctx context.Context, key string) (httpkey.Token, error) { return adopt(ctx, db, key) },
	})
}

// adopt verifies a key of the form keyID.secret. The Guard stores it, so bcrypt runs once for each key.
func adopt(ctx context.Context, db *sql.DB, key string) (httpkey.Token, error) {
	id, secret, _ := strings.Cut(key, ".")
	t, hash := httpkey.Token{IsActive: true}, decoy
	err := db.QueryRowContext(ctx, "SELECT key_id, user_id, name, secret_hash FROM api_keys "+
		"WHERE key_id = ? AND revoked_at IS NULL", id).Scan(&t.ID, &t.User, &t.Label, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return t, err
	}
	differs := bcrypt.CompareHashAndPassword([]byte(hash), []byte(secret)) // for an unknown key too: it takes as long
	if differs != nil || t.ID != id {                                      // MySQL ignores letter case
		return t, httpkey.ErrNotFound
	}
	return t, nil
}

// revoke ends a key, whether the Guard has adopted it or not.
func revoke(ctx context.Context, db *sql.DB, guard *httpkey.Guard, id, reason string) error {
	err := guard.Revoke(ctx, id, reason)
	if !errors.Is(err, httpkey.ErrNotFound) {
		return err
	}
	if err := revokeOld(ctx, db, id); err != nil {
		return err
	}
	// The Guard may be adopting the key just now. It cannot import a key whose ID is taken.
	_, err = guard.Store().Create(ctx, httpkey.Token{ID: id, Kind: httpkey.APIKey, Digest: sha256.Sum256([]byte(id))})
	if !errors.Is(err, httpkey.ErrConflict) {
		return err
	}
	return guard.Revoke(ctx, id, reason)
}

func requireKey(guard *httpkey.Guard) gin.HandlerFunc {
	return func(c *gin.Context) {
		r, ok := guard.Check(c.Writer, c.Request)
		if !ok {
			c.Abort() // the response is written
			return
		}
		c.Request = r
	}
}
