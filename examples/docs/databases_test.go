package docs

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"
	"gorm.io/gorm/utils/tests"
	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/sqlstore"
)

// openSQLite opens a database in a new file.
func openSQLite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(filepath.Join(t.TempDir(), "test.db"))+
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// expectAdmission issues a key and sends it.
func expectAdmission(t *testing.T, guard *httpkey.Guard) {
	t.Helper()
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann"}).Secret.Reveal()
	w := untilAnswered(guard.Handler(http.HandlerFunc(hello)), key)
	if w.Code != http.StatusOK || w.Header().Get("X-RateLimit-Limit") != "60" {
		t.Errorf("status %d %v", w.Code, w.Header())
	}
}

func TestPoolsOfOthers(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(context.Context, *sql.DB) (*httpkey.Guard, error){
		"sqlx": func(ctx context.Context, db *sql.DB) (*httpkey.Guard, error) {
			return ofSQLX(ctx, sqlx.NewDb(db, "sqlite"), sqlstore.SQLite)
		},
		"GORM": func(ctx context.Context, db *sql.DB) (*httpkey.Guard, error) {
			orm, err := gorm.Open(tests.DummyDialector{}, &gorm.Config{ConnPool: db})
			if err != nil {
				return nil, err
			}
			return ofGORM(ctx, orm, sqlstore.SQLite)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			guard, err := open(ctx, openSQLite(t))
			if err != nil {
				t.Fatal(err)
			}
			expectAdmission(t, guard)
		})
	}
}

// No PostgreSQL is needed to see that the pool is asked.
func TestPgxpoolIsAsked(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig("postgres://app@127.0.0.1:1/app")
	if err != nil {
		t.Fatal(err)
	}
	asked := errors.New("the pool was asked")
	config.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return asked }
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := ofPgxpool(t.Context(), pool); err == nil || !strings.Contains(err.Error(), asked.Error()) {
		t.Errorf("%v, want %v", err, asked)
	}
	if asked := pool.Stat().NewConnsCount() + pool.Stat().EmptyAcquireCount(); asked == 0 {
		t.Error("the pool was not asked for a connection")
	}
}

func TestClientsOfRedis(t *testing.T) {
	t.Parallel()
	own, keys, err := redisClients("redis://" + miniredis.RunT(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = own.Close(), keys.Close() }()
	if o := own.Options(); o.MaxRetries != 3 || o.DialTimeout != 5*time.Second || o.ContextTimeoutEnabled {
		t.Errorf("the program's own client has other options: %+v", o)
	}
	if o := keys.Options(); o.MaxRetries != 0 || o.DialTimeout != 300*time.Millisecond || !o.ContextTimeoutEnabled {
		t.Errorf("the client for keys: %+v", o)
	}
	expectAdmission(t, besideOtherKeys(keys))
	for _, name := range own.Keys(t.Context(), "*").Val() {
		if !strings.Contains(name, "acme:keys:") {
			t.Errorf("the key %q does not have the prefix", name)
		}
	}
	if _, _, err := redisClients("postgres://"); err == nil {
		t.Error("the URL is not one of Redis")
	}
	var _ redis.UniversalClient = own
}
