package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/storetest"
)

// program is the program over a database of its own.
type program struct {
	db      *sql.DB
	guard   *httpkey.Guard
	handler http.Handler
}

func start(t *testing.T) program {
	t.Helper()
	db, err := open(filepath.Join(t.TempDir(), "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	guard := newGuard(db)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	return program{db, guard, routes(db, guard)}
}

// oldKey stores a key as the program did before httpkey.
func (p program) oldKey(t *testing.T, key, expires, revoked string) (id int64) {
	t.Helper()
	null := func(at string) sql.NullString { return sql.NullString{String: at, Valid: at != ""} }
	err := p.db.QueryRow("INSERT INTO api_keys (user_id, name, key_hash, expires_at, revoked_at) VALUES "+
		"(7, 'laptop', ?, ?, ?) RETURNING id", hash(key), null(expires), null(revoked)).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (p program) want(t *testing.T, key string, status int, body string) http.Header {
	t.Helper()
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, httpkeytest.Request(http.MethodGet, "/api/me", key))
	if w.Code != status || w.Body.String() != body {
		t.Errorf("%d %q, want %d %q", w.Code, w.Body, status, body)
	}
	return w.Header()
}

func (p program) settings(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, httptest.NewRequest(method, "/settings/keys/"+path, http.NoBody))
	return w
}

const (
	missing = `{"detail":"Authentication credentials were not provided."}`
	invalid = `{"detail":"Given API token is not valid"}`
)

// The keys from before httpkey are as good as they were. Their times are those of SQLite, in whole seconds.
func TestOldKeys(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		expires, revoked string
		status           int
		body             string
	}{
		"valid":   {"", "", http.StatusOK, "user 7, key laptop"},
		"expires": {"2999-12-31 23:59:59", "", http.StatusOK, "user 7, key laptop"},
		"expired": {"2024-02-29 12:00:00", "", http.StatusUnauthorized, invalid},
		"revoked": {"", "2024-02-29 12:00:00", http.StatusUnauthorized, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.oldKey(t, "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ", tt.expires, tt.revoked)
			p.want(t, "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ", tt.status, tt.body)
			p.want(t, "notes_ABCDEFGHIJKLMNOPQRSTUVWXYA", http.StatusUnauthorized, invalid)
			p.want(t, "", http.StatusUnauthorized, missing)
		})
	}
}

func TestLimitsAndLastUse(t *testing.T) {
	t.Parallel()
	p := start(t)
	id := p.oldKey(t, "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "", "")
	header := p.want(t, "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ", http.StatusOK, "user 7, key laptop")
	if left := header.Get("X-Ratelimit-Remaining"); left != "59" {
		t.Errorf("%s requests are left, want 59", left)
	}
	if err := p.guard.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var used time.Time
	err := p.db.QueryRow("SELECT last_used_at FROM api_keys WHERE id = ?", id).Scan(&used)
	if err != nil || used.IsZero() {
		t.Errorf("last_used_at is %v, %v", used, err)
	}
}

// The program revokes and rotates by itself, and the next request knows.
func TestRevokeAndRotate(t *testing.T) {
	t.Parallel()
	p := start(t)
	const old = "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	first := fmt.Sprint(p.oldKey(t, old, "", ""))
	var next struct {
		ID  int64
		Key string
	}
	w := p.settings(http.MethodPost, first+"/rotate")
	if err := json.NewDecoder(w.Body).Decode(&next); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v", w.Code, err)
	}
	p.want(t, old, http.StatusOK, "user 7, key laptop") // for an hour
	p.want(t, next.Key, http.StatusOK, "user 7, key laptop")
	for _, id := range []string{first, fmt.Sprint(next.ID)} {
		if w := p.settings(http.MethodDelete, id); w.Code != http.StatusNoContent {
			t.Errorf("%d", w.Code)
		}
	}
	p.want(t, old, http.StatusUnauthorized, invalid)
	p.want(t, next.Key, http.StatusUnauthorized, invalid)
	for _, ended := range []string{first + "/rotate", "99/rotate"} {
		if w := p.settings(http.MethodPost, ended); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", ended, w.Code)
		}
	}
}

// The Guard manages no keys in this table, and says so.
func TestGuardRefusesToManage(t *testing.T) {
	t.Parallel()
	p := start(t)
	id := fmt.Sprint(p.oldKey(t, "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "", ""))
	_, issueErr := p.guard.Issue(t.Context(), httpkey.Token{User: "7"})
	_, rotateErr := p.guard.Rotate(t.Context(), id, 0)
	for what, err := range map[string]error{
		"Issue": issueErr, "Rotate": rotateErr, "Revoke": p.guard.Revoke(t.Context(), id, "lost"),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.want(t, "notes_ABCDEFGHIJKLMNOPQRSTUVWXYZ", http.StatusOK, "user 7, key laptop")
}

// filled is the store with a Create as the program has one, for storetest.
type filled struct {
	httpkey.LookupOnly
	db *sql.DB
}

func (f filled) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	expires := sql.NullTime{Time: t.ExpiredAt.UTC(), Valid: !t.ExpiredAt.IsZero()}
	revoked := sql.NullTime{Time: time.Now().UTC(), Valid: !t.IsActive}
	err := f.db.QueryRowContext(ctx, "INSERT INTO api_keys (user_id, name, key_hash, expires_at, revoked_at) VALUES "+
		"(7, 'laptop', ?, ?, ?) RETURNING id", t.Digest.Hex(), expires, revoked).Scan(&t.ID)
	return t, err
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	storetest.Claims{LookupOnly: true, ChoosesIDs: true}.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		db := start(t).db
		return func() httpkey.TokenStore { return filled{keysIn(db), db} }
	})
}
