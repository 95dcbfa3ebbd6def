package table

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/storetest"
)

func open(t *testing.T) *sql.DB {
	t.Helper()
	options := "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_txlock=immediate"
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "notes.db")+options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1) // callers take turns: at the lock of SQLite, one may wait in vain
	if _, err := db.Exec(Schema); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	storetest.Claims{ChoosesIDs: true}.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		db := open(t)
		return func() httpkey.TokenStore { return Store{db} }
	})
}

// The Guard rotates and revokes a key from before httpkey, by the ID that it always had. A program that sets
// revoked_at by itself revokes it too.
func TestOldKey(t *testing.T) {
	t.Parallel()
	const key = "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	db := open(t)
	_, err := db.Exec("INSERT INTO api_keys (id, user_id, name, key_hash) VALUES (41, '7', 'laptop', ?)",
		httpkey.Digest(sha256.Sum256([]byte(key))).Hex())
	if err != nil {
		t.Fatal(err)
	}
	guard := httpkey.New(Store{db}, httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 32})
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	old, err := guard.Verify(t.Context(), key)
	if err != nil || old.ID != "41" || old.User != "7" || old.Label != "laptop" {
		t.Fatalf("%+v, %v", old, err)
	}
	first, err := guard.Rotate(t.Context(), "41", 0)
	if err != nil || first.Token.ID != "42" || first.Token.User != "7" {
		t.Fatalf("%+v, %v", first, err)
	}
	if _, err := guard.Verify(t.Context(), key); !errors.Is(err, httpkey.ErrInvalidKey) {
		t.Errorf("after its rotation, the old key: %v", err)
	}
	second, err := guard.Rotate(t.Context(), "42", 0)
	if err != nil || second.Token.ID != "43" {
		t.Fatalf("%+v, %v", second, err)
	}
	if second.Token.Payer() != old.Payer() {
		t.Errorf("the payer is %s, and was %s", second.Token.Payer(), old.Payer())
	}
	if _, err := db.Exec("UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP WHERE id = 43"); err != nil {
		t.Fatal(err)
	}
	if _, err := guard.Verify(t.Context(), second.Secret.Reveal()); !errors.Is(err, httpkey.ErrInvalidKey) {
		t.Errorf("revoked by the program: %v", err)
	}
}

// Pages are in the order of Cursor.Compare, for which 9 comes after 10.
func TestPagesCompareIDsAsText(t *testing.T) {
	t.Parallel()
	store, now := Store{open(t)}, time.Now()
	for n := range 12 {
		token := httpkey.Token{Kind: httpkey.APIKey, Digest: httpkey.Digest{byte(n)}, CreatedAt: now}
		if _, err := store.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	f := httpkey.Filter{Limit: 5}
	for len(ids) < 12 {
		page, err := store.List(t.Context(), f)
		if err != nil || len(page) == 0 {
			t.Fatalf("after %q: %v", ids, err)
		}
		for _, token := range page {
			if f.After != (httpkey.Cursor{}) && f.After.Compare(token.Cursor()) >= 0 {
				t.Errorf("%s comes after %q", token.ID, ids)
			}
			ids, f.After = append(ids, token.ID), token.Cursor()
		}
	}
}
