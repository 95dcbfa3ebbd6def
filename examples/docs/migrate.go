package docs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/httpkey/httpkey"
)

// oldKey is a row of the table of keys that the program has so far.
type oldKey struct {
	ID, Key, Hash, Name, Owner string
	Created                    time.Time
	Revoked                    bool
}

func importKeys(ctx context.Context, guard *httpkey.Guard, keys []oldKey) error {
	for _, old := range keys {
		_, err := guard.Import(ctx, httpkey.Secret(old.Key), httpkey.Token{
			User: old.Owner, Label: old.Name, CreatedAt: old.Created, IsActive: !old.Revoked,
		})
		if err != nil && !errors.Is(err, httpkey.ErrConflict) { // an earlier run has imported it
			return fmt.Errorf("key %s: %w", old.ID, err)
		}
	}
	return nil
}

func importDigests(ctx context.Context, store httpkey.TokenStore, keys []oldKey) error {
	for _, old := range keys {
		digest, err := httpkey.ParseDigest(old.Hash)
		if err != nil {
			return fmt.Errorf("key %s: %w", old.ID, err)
		}
		_, err = store.Create(ctx, httpkey.Token{
			ID: old.ID, Digest: digest, Kind: httpkey.APIKey, User: old.Owner, Label: old.Name,
			CreatedAt: old.Created, IsActive: !old.Revoked,
		})
		if err != nil && !errors.Is(err, httpkey.ErrConflict) {
			return fmt.Errorf("key %s: %w", old.ID, err)
		}
	}
	return nil
}

func afterImport(store httpkey.TokenStore, limiter httpkey.Limiter, oldHMACKey, newPepper string) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		ImportedMinLength: 20, // the length of the shortest old key
		Pepper:            httpkey.Secret(newPepper),
		PreviousPeppers:   []httpkey.Secret{httpkey.Secret(oldHMACKey), ""}, // "": SHA-256
	})
	return guard
}

// adopt finds a key keyID.secret in the old table, which has the bcrypt of the secret.
func adopt(db *sql.DB) func(context.Context, string) (httpkey.Token, error) {
	return func(ctx context.Context, key string) (httpkey.Token, error) {
		id, secret, _ := strings.Cut(key, ".")
		var (
			owner string
			hash  []byte
		)
		const query = "SELECT owner, hash FROM old_keys WHERE id = ? AND NOT revoked"
		err := db.QueryRowContext(ctx, query, id).Scan(&owner, &hash)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return httpkey.Token{}, httpkey.ErrNotFound
		case err != nil:
			return httpkey.Token{}, err // 503, because the key may be good
		case bcrypt.CompareHashAndPassword(hash, []byte(secret)) != nil:
			return httpkey.Token{}, httpkey.ErrNotFound
		}
		return httpkey.Token{User: owner, IsActive: true}, nil
	}
}

func adopting(store httpkey.TokenStore, limiter httpkey.Limiter, old *sql.DB) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		ImportedMinLength: 20,
		Adopt:             adopt(old),
		Failures:          httpkey.PerMinute(20), // bcrypt is slow, and anybody can send made-up keys
	})
	return guard
}

func renamed(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{Prefix: "acme", PreviousPrefixes: []string{"hk"}})
	return guard
}

func ensureOperator(ctx context.Context, guard *httpkey.Guard) error {
	_, err := guard.Ensure(ctx, httpkey.Secret(os.Getenv("OPERATOR_KEY")), httpkey.Token{User: "operator"})
	return err
}
