// Command bearer is a program that had tokens in plain text, which httpkey has imported.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

func main() {
	ctx := context.Background()
	db, err := open(ctx, "messages.db")
	if err != nil {
		log.Fatal(err)
	}
	guard := newGuard(db)
	if err := upgrade(ctx, db, guard); err != nil {
		log.Fatal(err)
	}
	created, err := guard.Issue(ctx, httpkey.Token{User: "ann", Scopes: []string{"write"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl -i -H 'Authorization: Bearer %s' http://127.0.0.1:8080/messages\n", created.Secret.Reveal())
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", routes(guard)))
}

// schema is that from before httpkey.
const schema = `CREATE TABLE IF NOT EXISTS tokens (
	token       TEXT PRIMARY KEY,
	user_name   TEXT NOT NULL,
	plan        TEXT NOT NULL,
	permissions TEXT NOT NULL
)`

// open returns the database of the program. What it deletes is overwritten.
func open(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=secure_delete(1)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	if _, err = db.ExecContext(ctx, schema); err == nil {
		err = sqlstore.Migrate(ctx, db, sqlstore.SQLite)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// upgrade leaves no token in plain text.
func upgrade(ctx context.Context, db *sql.DB, guard *httpkey.Guard) error {
	if err := importTokens(ctx, db, guard); err != nil {
		return err
	}
	_, err := db.ExecContext(ctx, "DELETE FROM tokens")
	return err
}

func routes(guard *httpkey.Guard) http.Handler {
	router := chi.NewRouter()
	router.Use(guard.Handler)
	read, write := router.With(httpkey.RequireScope("read")), router.With(httpkey.RequireScope("write"))
	read.Get("/messages", hello)
	read.Get("/export", hello)
	write.Post("/messages", hello)
	write.Delete("/tokens/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := ownToken(r, guard)
		if err == nil {
			err = guard.Revoke(r.Context(), id, "by its owner")
		}
		answer(w, nil, err)
	})
	write.Post("/tokens/{id}/rotate", func(w http.ResponseWriter, r *http.Request) {
		id, err := ownToken(r, guard)
		if err != nil {
			answer(w, nil, err)
			return
		}
		created, err := guard.Rotate(r.Context(), id, time.Hour)
		answer(w, created, err)
	})
	return router
}

func hello(w http.ResponseWriter, r *http.Request) {
	token, _ := httpkey.FromContext(r.Context())
	fmt.Fprintf(w, "%s, %s", token.User, token.Metadata["plan"])
}

// ownToken returns the ID in the path if it is one of a token of the caller.
func ownToken(r *http.Request, guard *httpkey.Guard) (string, error) {
	caller, _ := httpkey.FromContext(r.Context())
	token, err := guard.Store().Get(r.Context(), chi.URLParam(r, "id"))
	if err == nil && token.User != caller.User {
		err = httpkey.ErrNotFound
	}
	return token.ID, err
}

func answer(w http.ResponseWriter, body any, err error) {
	switch {
	case errors.Is(err, httpkey.ErrNotFound), errors.Is(err, httpkey.ErrInactive):
		http.Error(w, "There is no such token.", http.StatusNotFound)
	case err != nil:
		http.Error(w, "Try again later.", http.StatusInternalServerError)
	case body == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		_ = json.NewEncoder(w).Encode(body)
	}
}
