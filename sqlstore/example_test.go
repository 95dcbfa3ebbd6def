package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// A program opens its database with the driver that it imports, migrates, and
// gives store and limiter to the Guard.
func Example() {
	db, err := sql.Open("pgx", "postgres://app@localhost/app")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	if err := sqlstore.Migrate(context.Background(), db, sqlstore.PostgreSQL); err != nil {
		log.Fatal(err)
	}
	store, limiter := sqlstore.New(db, sqlstore.PostgreSQL, nil), sqlstore.NewLimiter(db, sqlstore.PostgreSQL)
	guard := httpkey.New(store, limiter, nil)
	_ = guard.Handler(nil) // your routes
}

// For goose, golang-migrate, atlas, or a directory of your own.
func ExampleMigrations() {
	names, err := fs.Glob(sqlstore.Migrations(sqlstore.SQLite.WithPrefix("acme_")), "*")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(names)
	// Output: [0001_tokens.up.sql 0002_buckets.up.sql 0003_more.up.sql 0004_usage.up.sql]
}
