package docs

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// inSQL returns a Guard with keys and limits in a database. Its background work ends with ctx.
func inSQL(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect) (*httpkey.Guard, error) {
	if err := sqlstore.Migrate(ctx, db, dialect); err != nil {
		return nil, err
	}
	cache := cachestore.New(sqlstore.New(db, dialect, nil), nil)
	go cache.Run(ctx) // hears of revocations in other processes
	return httpkey.New(cache, sqlstore.NewLimiter(db, dialect), nil), nil
}

func ofPgxpool(ctx context.Context, pool *pgxpool.Pool) (*httpkey.Guard, error) {
	return inSQL(ctx, stdlib.OpenDBFromPool(pool), sqlstore.PostgreSQL)
}

func ofGORM(ctx context.Context, orm *gorm.DB, dialect sqlstore.Dialect) (*httpkey.Guard, error) {
	db, err := orm.DB()
	if err != nil {
		return nil, err
	}
	return inSQL(ctx, db, dialect)
}

func ofSQLX(ctx context.Context, x *sqlx.DB, dialect sqlstore.Dialect) (*httpkey.Guard, error) {
	return inSQL(ctx, x.DB, dialect)
}

func redisClients(url string) (own, keys *redis.Client, err error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, err
	}
	forKeys := *options                  // before NewClient fills in its defaults
	forKeys.ContextTimeoutEnabled = true // heed httpkey.Options.Timeout
	forKeys.MaxRetries = -1              // never charge twice
	forKeys.DialTimeout = 300 * time.Millisecond
	return redis.NewClient(options), redis.NewClient(&forKeys), nil
}

func besideOtherKeys(rdb redis.UniversalClient) *httpkey.Guard {
	options := &redisstore.Options{Prefix: "acme:keys:"}
	guard := httpkey.New(redisstore.New(rdb, options), redisstore.NewLimiter(rdb, options), nil)
	return guard
}
