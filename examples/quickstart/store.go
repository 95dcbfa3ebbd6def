package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// defaultDSN is a file in the working directory.
const defaultDSN = "sqlite:httpkey.db"

var errDSN = errors.New(`HTTPKEY_DSN must be one of
	sqlite:FILE
	postgres://USER:PASSWORD@HOST/DATABASE
	mysql:USER:PASSWORD@tcp(HOST)/DATABASE
	memory:
	redis://:PASSWORD@HOST:PORT`)

// backend keeps keys, and counts their requests.
type backend struct {
	store   httpkey.TokenStore
	limiter httpkey.Limiter
	io.Closer
}

// open returns the backend that dsn names. Until ctx is over it hears of the changes that
// other processes make there. Its errors do not show the password, as those of the parsers
// do.
func open(ctx context.Context, dsn string) (*backend, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "memory":
		return &backend{memstore.New(), memstore.NewLimiter(), io.NopCloser(nil)}, nil
	case "sqlite":
		if rest == "" || rest == ":memory:" { // each connection would have its own
			return nil, errDSN
		}
		if err := makePrivate(rest); err != nil {
			return nil, fmt.Errorf("the database of HTTPKEY_DSN: %w", err)
		}
		db, err := sql.Open("sqlite", "file:"+url.PathEscape(rest)+
			"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate")
		if err != nil {
			return nil, err
		}
		// One process serves from a file: it may count in its memory, and spare each request a write.
		return migrated(ctx, db, sqlstore.SQLite, memstore.NewLimiter())
	case "postgres", "postgresql":
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, errDSN
		}
		db := stdlib.OpenDB(*config)
		return migrated(ctx, db, sqlstore.PostgreSQL, sqlstore.NewLimiter(db, sqlstore.PostgreSQL))
	case "mysql":
		db, err := sql.Open("mysql", rest)
		if err != nil {
			return nil, errDSN
		}
		return migrated(ctx, db, sqlstore.MySQL, sqlstore.NewLimiter(db, sqlstore.MySQL))
	case "redis", "rediss":
		options, err := redis.ParseURL(dsn)
		if err != nil || !strings.HasPrefix(rest, "//") { // without these it would mean the Redis of this machine
			return nil, errDSN
		}
		options.ContextTimeoutEnabled, options.MaxRetries = true, -1
		rdb := redis.NewClient(options)
		return cached(ctx, redisstore.New(rdb, nil), redisstore.NewLimiter(rdb, nil), rdb), nil
	}
	return nil, errDSN
}

// makePrivate creates the file of a database if it is missing. It allows only the owner to read
// it. SQLite gives the files beside a database the same mode.
func makePrivate(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_ = f.Close()
	for _, name := range []string{file, file + "-wal", file + "-shm", file + "-journal"} { // they may be there already
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: others may read it; let its owner run this, or name another file", err)
		}
	}
	return nil
}

// migrated returns a backend in tables of db, which it makes if they are not there.
func migrated(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect, limiter httpkey.Limiter) (*backend, error) {
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := sqlstore.Migrate(within, db, dialect); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("the database of HTTPKEY_DSN: %w", err)
	}
	return cached(ctx, sqlstore.New(db, dialect, nil), limiter, db), nil
}

// cached puts a cache before a store that is not in the memory of this process.
func cached(ctx context.Context, store httpkey.TokenStore, limiter httpkey.Limiter, closer io.Closer) *backend {
	cache := cachestore.New(store, &cachestore.Options{
		Observers: []httpkey.Observer{httpkey.SlogObserver(slog.Default())},
	})
	go func() { _ = cache.Run(ctx) }() // it ends with ctx alone
	return &backend{cache, limiter, closer}
}
