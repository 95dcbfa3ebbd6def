package docs

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/storetest"
)

const ownSchema = `CREATE TABLE keys (
	id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, revoked BOOLEAN NOT NULL DEFAULT FALSE,
	expires DATETIME, last_used INTEGER
)`

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func TestOwnTable(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	execute(t, db, ownSchema)
	const key = "acme-4f0c0a4b9f2b4f4e8d1a"
	store := ownTable(db)
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 20})
	execute(t, db, "INSERT INTO keys (id, sha256, owner) VALUES (7, ?, 'ann')", hexOf(key))
	api := guard.Handler(http.HandlerFunc(hello))
	if w := untilAnswered(api, key); w.Code != 200 || w.Body.String() != "hello ann" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := untilAnswered(api, "acme-4f0c0a4b9f2b4f4e8d1b"); w.Code != 401 {
		t.Errorf("another key: %d", w.Code)
	}
	if err := guard.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var used int64
	if err := db.QueryRowContext(t.Context(), "SELECT last_used FROM keys WHERE id = 7").Scan(&used); err != nil ||
		time.Since(time.UnixMicro(used)) > time.Hour {
		t.Errorf("used at %d (%v)", used, err)
	}
	if err := guard.Revoke(t.Context(), "7", ""); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Revoke: %v", err)
	}
	execute(t, db, "UPDATE keys SET revoked = TRUE")
	if w := untilAnswered(api, key); w.Code != 401 {
		t.Errorf("a revoked key: %d", w.Code)
	}
}

// testedTable adds a Create to the table, which only the test needs.
type testedTable struct {
	httpkey.LookupOnly
	db *sql.DB
}

func (s testedTable) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	var expires any
	if !t.ExpiredAt.IsZero() {
		expires = t.ExpiredAt
	}
	row, err := s.db.ExecContext(ctx, "INSERT INTO keys (sha256, owner, revoked, expires) VALUES (?, ?, ?, ?)",
		t.Digest.Hex(), t.User, !t.IsActive, expires)
	if err != nil {
		return httpkey.Token{}, err
	}
	id, err := row.LastInsertId()
	t.ID = strconv.FormatInt(id, 10)
	return t, err
}

func TestOwnTableKeepsTheRules(t *testing.T) {
	claims := storetest.Claims{LookupOnly: true, ChoosesIDs: true}
	claims.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		db := openSQLite(t)
		execute(t, db, ownSchema)
		return func() httpkey.TokenStore { return testedTable{ownTable(db), db} }
	})
}

// hexOf returns the SHA-256 of a key in hexadecimal.
func hexOf(key string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(key))) }

// untilAnswered sends a key, again after a 503: a loaded machine may answer later than Options.Timeout.
func untilAnswered(api http.Handler, key string) (w *httptest.ResponseRecorder) {
	for range 50 {
		if w = httpkeytest.Get(api, key); w.Code != http.StatusServiceUnavailable {
			break
		}
	}
	return w
}
