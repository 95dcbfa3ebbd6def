// Package dsn opens the store that a data source name describes.
package dsn

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/usage"
)

// ErrForm is the error of Open about a DSN of an unknown form. It does not show the DSN.
var ErrForm = errors.New("the DSN must be one of memory:, sqlite:FILE, postgres://USER:PASSWORD@HOST/DATABASE, " +
	"mysql:USER:PASSWORD@tcp(HOST)/DATABASE, redis://:PASSWORD@HOST:PORT")

// patience is the time that a connection may take.
const patience = 5 * time.Second

// Backend keeps keys, counts their requests, and keeps their usage.
type Backend struct {
	Store   httpkey.TokenStore
	Limiter httpkey.Limiter
	Usage   usage.Store

	SQL     *sql.DB          // nil: no database of SQL
	Dialect sqlstore.Dialect // of SQL
	Redis   *redis.Client    // nil: no Redis

	io.Closer
}

// Open returns the backend that a DSN names. It connects to no server. It creates the file of
// SQLite only if create is true: a misspelt name would be an empty database. No error shows the
// DSN, as those of the parsers do.
func Open(dsn string, create bool) (*Backend, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "memory":
		return &Backend{
			Store: memstore.New(), Limiter: memstore.NewLimiter(), Usage: usage.NewMemory(), Closer: io.NopCloser(nil),
		}, nil
	case "sqlite":
		return openSQLite(rest, create)
	case "postgres", "postgresql":
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, ErrForm
		}
		if config.ConnectTimeout == 0 {
			config.ConnectTimeout = patience
		}
		return inSQL(stdlib.OpenDB(*config), sqlstore.PostgreSQL), nil
	case "mysql":
		config, err := mysql.ParseDSN(rest)
		if err != nil {
			return nil, ErrForm
		}
		if config.Timeout == 0 {
			config.Timeout = patience
		}
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, ErrForm
		}
		return inSQL(sql.OpenDB(connector), sqlstore.MySQL), nil
	case "redis", "rediss":
		options, err := redis.ParseURL(dsn)
		if err != nil || !strings.HasPrefix(rest, "//") { // without these it would mean the Redis of this machine
			return nil, ErrForm
		}
		options.ContextTimeoutEnabled, options.MaxRetries, options.DialTimeout = true, -1, patience
		rdb := redis.NewClient(options)
		return &Backend{
			Store: redisstore.New(rdb, nil), Limiter: redisstore.NewLimiter(rdb, nil),
			Usage: redisstore.NewUsage(rdb, nil), Redis: rdb, Closer: rdb,
		}, nil
	}
	return nil, ErrForm
}

func openSQLite(file string, create bool) (*Backend, error) {
	if file == "" || file == ":memory:" { // each connection would have its own
		return nil, ErrForm
	}
	if create {
		f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600) // SQLite gives the files beside it the same mode
		if err != nil {
			return nil, err
		}
		_ = f.Close()
	}
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("%w (httpkey migrate creates it)", err)
	}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(file)+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	return inSQL(db, sqlstore.SQLite), nil
}

func inSQL(db *sql.DB, dialect sqlstore.Dialect) *Backend {
	db.SetMaxOpenConns(4)
	return &Backend{
		Store: sqlstore.New(db, dialect, nil), Limiter: sqlstore.NewLimiter(db, dialect),
		Usage: sqlstore.NewUsage(db, dialect), SQL: db, Dialect: dialect, Closer: db,
	}
}

// Reach returns an error if the server does not answer, or refuses the user.
func (b *Backend) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	switch {
	case b.SQL != nil:
		return b.SQL.PingContext(ctx)
	case b.Redis != nil:
		return b.Redis.Ping(ctx).Err()
	}
	return nil
}
