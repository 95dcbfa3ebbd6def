package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/gin-gonic/gin"
	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"golang.org/x/crypto/bcrypt"
	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/sqlstore"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	cheap, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	decoy = string(cheap) // as the hashes of these tests
	os.Exit(m.Run())
}

// program is the program over a database of its own.
type program struct {
	db      *sql.DB
	guard   *httpkey.Guard
	handler http.Handler
}

func start(t *testing.T) program {
	t.Helper()
	db, dialect := openDatabase(t)
	if err := migrate(t.Context(), db, dialect); err != nil {
		t.Fatal(err)
	}
	return startProcess(t, db, dialect, miniredis.RunT(t).Addr())
}

// startProcess returns what one process of the program has.
func startProcess(t *testing.T, db *sql.DB, dialect sqlstore.Dialect, redisAddr string) program {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	guard := newGuard(db, dialect, rdb)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	return program{db, guard, routes(db, guard)}
}

var databases atomic.Int64

// openDatabase returns an empty database: a file of SQLite, or one of the server of $HTTPKEY_MYSQL, such as
// root@tcp(127.0.0.1:3306)/.
func openDatabase(t *testing.T) (*sql.DB, sqlstore.Dialect) {
	t.Helper()
	server := os.Getenv("HTTPKEY_MYSQL")
	if server == "" {
		// MySQL ignores the letter case of a key_id.
		asInMySQL := strings.Replace(schema, "VARCHAR(32)", "VARCHAR(32) COLLATE NOCASE", 1)
		file := "file:" + filepath.Join(t.TempDir(), "shop.db")
		options := "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate"
		return openSQL(t, "sqlite", file+options, asInMySQL), sqlstore.SQLite
	}
	config, err := mysql.ParseDSN(server)
	if err != nil {
		t.Fatal(err)
	}
	config.DBName = fmt.Sprintf("adopt_%d_%d", os.Getpid(), databases.Add(1))
	openSQL(t, "mysql", server, "CREATE DATABASE "+config.DBName)
	return openSQL(t, "mysql", config.FormatDSN(), schema), sqlstore.MySQL
}

// openSQL opens a database and executes a statement.
func openSQL(t *testing.T, driver, dsn, statement string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
	return db
}

// oldKey stores a key as the program did before httpkey, and returns it.
func (p program) oldKey(t *testing.T, id string) string {
	t.Helper()
	const secret = "Qm9iIGhhcyBhIHNlY3JldA"
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.db.Exec("INSERT INTO api_keys (key_id, secret_hash, user_id, name) VALUES (?, ?, 7, 'laptop')",
		id, string(hash))
	if err != nil {
		t.Fatal(err)
	}
	return id + "." + secret
}

// get sends a request, again if the first use of its key takes too long.
func (p program) get(key string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	for range 10 {
		w = httptest.NewRecorder()
		p.handler.ServeHTTP(w, httpkeytest.Request(http.MethodGet, "/orders", key))
		if w.Code != http.StatusServiceUnavailable {
			break
		}
	}
	return w
}

func (p program) want(t *testing.T, key string, status int, body string) http.Header {
	t.Helper()
	w := p.get(key)
	if w.Code != status || w.Body.String() != body {
		t.Errorf("%d %q, want %d %q", w.Code, w.Body, status, body)
	}
	return w.Header()
}

func (p program) admin(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, httptest.NewRequest(method, "/admin/keys/"+path, http.NoBody))
	return w
}

const (
	laptop  = "user 7, key laptop"
	invalid = `{"detail":"Given API token is not valid"}`
)

func TestOldKeys(t *testing.T) {
	t.Parallel()
	p := start(t)
	key := p.oldKey(t, "k7f3a9c2d1")
	for name, wrong := range map[string]string{
		"another secret":    "k7f3a9c2d1.Qm9iIGhhcyBhIHNlY3JldB",
		"another ID":        "k7f3a9c2d2.Qm9iIGhhcyBhIHNlY3JldA",
		"other letter case": "K7F3A9C2D1.Qm9iIGhhcyBhIHNlY3JldA",
		"no ID":             ".Qm9iIGhhcyBhIHNlY3JldAQm9iIGhhcy",
		"no secret":         "k7f3a9c2d1.k7f3a9c2d1k7f3a9c2d1k7f3",
		"no dot":            "k7f3a9c2d1Qm9iIGhhcyBhIHNlY3JldAa",
	} {
		if w := p.get(wrong); w.Code != http.StatusUnauthorized || w.Body.String() != invalid {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	p.want(t, key, http.StatusOK, laptop)
	ended := p.oldKey(t, "revoked-id")
	if err := revokeOld(t.Context(), p.db, "revoked-id"); err != nil {
		t.Fatal(err)
	}
	p.want(t, ended, http.StatusUnauthorized, invalid)
	token, err := p.guard.Store().Get(t.Context(), "k7f3a9c2d1")
	if err != nil || token.User != "7" {
		t.Errorf("%+v, %v", token, err)
	}
}

// After its first use, a key needs the old table no more.
func TestKeysAreAdoptedOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	key := p.oldKey(t, "k7f3a9c2d1")
	p.want(t, key, http.StatusOK, laptop)
	if _, err := p.db.Exec("DROP TABLE api_keys"); err != nil {
		t.Fatal(err)
	}
	p.want(t, key, http.StatusOK, laptop)
}

// All processes count in one Redis.
func TestLimitIsShared(t *testing.T) {
	t.Parallel()
	db, dialect := openDatabase(t)
	if err := migrate(t.Context(), db, dialect); err != nil {
		t.Fatal(err)
	}
	addr := miniredis.RunT(t).Addr()
	first, second := startProcess(t, db, dialect, addr), startProcess(t, db, dialect, addr)
	key := first.oldKey(t, "k7f3a9c2d1")
	for i, p := range []program{first, second, first, second} {
		header := p.want(t, key, http.StatusOK, laptop)
		if left := header.Get("X-Ratelimit-Remaining"); left < fmt.Sprint(59-i) || left > "59" || i > 0 && left == "59" {
			t.Errorf("request %d: %s are left", i+1, left)
		}
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	p := start(t)
	used, unused := p.oldKey(t, "the-used-id"), p.oldKey(t, "the-unused-id")
	p.want(t, used, http.StatusOK, laptop)
	for _, id := range []string{"the-used-id", "the-unused-id"} {
		if w := p.admin(http.MethodDelete, id); w.Code != http.StatusNoContent {
			t.Errorf("%s: %d %s", id, w.Code, w.Body)
		}
	}
	p.want(t, used, http.StatusUnauthorized, invalid)
	p.want(t, unused, http.StatusUnauthorized, invalid)
	if w := p.admin(http.MethodDelete, "unknown-id"); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A key that is revoked while the Guard adopts it is revoked.
func TestRevokeRacesAdoption(t *testing.T) {
	t.Parallel()
	p := start(t)
	for n := range 15 {
		id := fmt.Sprint("the-raced-id-", n)
		key := p.oldKey(t, id)
		var both sync.WaitGroup
		both.Go(func() { p.get(key) })
		both.Go(func() {
			if w := p.admin(http.MethodDelete, id); w.Code != http.StatusNoContent {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
		both.Wait()
		p.want(t, key, http.StatusUnauthorized, invalid)
	}
}

// The Guard rotates a key that it has adopted. The program refuses to rotate another, and says why.
func TestRotate(t *testing.T) {
	t.Parallel()
	p := start(t)
	key := p.oldKey(t, "k7f3a9c2d1")
	if w := p.admin(http.MethodPost, "k7f3a9c2d1/rotate"); w.Code != http.StatusNotFound ||
		!strings.Contains(w.Body.String(), "not used since the upgrade") {
		t.Errorf("before its first use: %d %s", w.Code, w.Body)
	}
	p.want(t, key, http.StatusOK, laptop)
	w := p.admin(http.MethodPost, "k7f3a9c2d1/rotate")
	var next httpkey.Created
	if err := json.NewDecoder(w.Body).Decode(&next); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v", w.Code, err)
	}
	p.want(t, key, http.StatusOK, laptop) // for an hour
	p.want(t, next.Secret.Reveal(), http.StatusOK, laptop)
	for _, id := range []string{"k7f3a9c2d1", next.Token.ID} {
		if w := p.admin(http.MethodDelete, id); w.Code != http.StatusNoContent {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w := p.admin(http.MethodPost, id+"/rotate"); w.Code != http.StatusConflict {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	p.want(t, key, http.StatusUnauthorized, invalid)
	p.want(t, next.Secret.Reveal(), http.StatusUnauthorized, invalid)
}
