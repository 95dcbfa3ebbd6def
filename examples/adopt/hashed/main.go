// Command hashed is a program with a table of hashed keys of its own, which httpkey reads.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey"
)

func main() {
	db, err := open("notes.db")
	if err != nil {
		log.Fatal(err)
	}
	id, key, err := createKey(context.Background(), db, 1, "laptop")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("key %d: curl -i -H 'X-Api-Key: %s' http://127.0.0.1:8080/api/me\n", id, key)
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", routes(db, newGuard(db))))
}

// schema is that from before httpkey.
const schema = `CREATE TABLE IF NOT EXISTS api_keys (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id      INTEGER NOT NULL,
	name         TEXT NOT NULL,
	key_hash     TEXT NOT NULL UNIQUE,
	created_at   DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
	expires_at   DATETIME,
	last_used_at DATETIME,
	revoked_at   DATETIME
)`

func open(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func routes(db *sql.DB, guard *httpkey.Guard) http.Handler {
	router := chi.NewRouter()
	router.With(guard.Handler).Get("/api/me", func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		fmt.Fprintf(w, "user %s, key %s", token.User, token.Label)
	})
	router.Route("/settings/keys/{id}", func(settings chi.Router) { // behind the login of the program
		settings.Delete("/", func(w http.ResponseWriter, r *http.Request) {
			answer(w, nil, revokeKey(r.Context(), db, chi.URLParam(r, "id")))
		})
		settings.Post("/rotate", func(w http.ResponseWriter, r *http.Request) {
			id, key, err := rotateKey(r.Context(), db, chi.URLParam(r, "id"), time.Hour)
			answer(w, map[string]any{"id": id, "key": key}, err)
		})
	})
	return router
}

func answer(w http.ResponseWriter, body any, err error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "There is no such key.", http.StatusNotFound)
	case err != nil:
		http.Error(w, "Try again later.", http.StatusInternalServerError)
	case body == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		_ = json.NewEncoder(w).Encode(body)
	}
}

func newKey() string { return "notes_" + rand.Text() }

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func createKey(ctx context.Context, db *sql.DB, user int64, name string) (id int64, key string, err error) {
	key = newKey()
	err = db.QueryRowContext(ctx, "INSERT INTO api_keys (user_id, name, key_hash) VALUES (?, ?, ?) RETURNING id",
		user, name, hash(key)).Scan(&id)
	return id, key, err
}

func revokeKey(ctx context.Context, db *sql.DB, id string) error {
	return db.QueryRowContext(ctx, "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING id",
		time.Now().UTC(), id).Scan(&id)
}

// rotateKey creates a key like another one, which ends after the grace.
func rotateKey(
	ctx context.Context, db *sql.DB, id string, grace time.Duration,
) (newID int64, key string, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = tx.Rollback() }()
	key = newKey()
	now := time.Now().UTC()
	err = tx.QueryRowContext(ctx, "INSERT INTO api_keys (user_id, name, expires_at, key_hash) "+
		"SELECT user_id, name, expires_at, ? FROM api_keys WHERE id = ? AND revoked_at IS NULL AND "+
		"(expires_at IS NULL OR expires_at > ?) RETURNING id", hash(key), id, now).Scan(&newID)
	if err != nil {
		return 0, "", err
	}
	_, err = tx.ExecContext(ctx, "UPDATE api_keys SET expires_at = min(coalesce(expires_at, ?1), ?1) WHERE id = ?2",
		now.Add(grace), id)
	if err != nil {
		return 0, "", err
	}
	return newID, key, tx.Commit()
}
