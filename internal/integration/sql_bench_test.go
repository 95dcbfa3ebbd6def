package integration

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// The benchmarks run on servers that wait for the disk, as they come, with 16
// callers on 16 connections (with 2 CPUs):
//
//	go test -run '^$' -bench SQL -benchtime 3s -count 3 .

func BenchmarkSQLPostgreSQL(b *testing.B) { benchmarkSQL(b, startPostgreSQL(b)) }
func BenchmarkSQLMariaDB(b *testing.B)    { benchmarkSQL(b, startMariaDB(b)) }
func BenchmarkSQLSQLite(b *testing.B)     { benchmarkSQL(b, sqliteBackend()) }

const benchKeys = 1000

func benchKey(n int) httpkey.Secret {
	return httpkey.Secret(fmt.Sprintf("a-key-for-benchmarks-%06d", n))
}

func benchmarkSQL(b *testing.B, backend *sqlBackend) {
	tables := backend.newTables(b)
	db := tables.open(b)
	guard := httpkey.New(sqlstore.New(db, tables.dialect), httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 16})
	ids := make([]string, benchKeys)
	atOnce(b, 8, func(i int) error {
		for n := i; n < benchKeys; n += 8 {
			token, err := guard.Import(b.Context(), benchKey(n), httpkey.Token{User: "ann", Scopes: []string{"a:read"}})
			if err != nil {
				return err
			}
			ids[n] = token.ID
		}
		return nil
	})
	run := func(name string, call func(ctx context.Context, n int) error) {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := call(b.Context(), rand.IntN(benchKeys)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	store := sqlstore.New(db, tables.dialect)
	touch := tables.prepare(b, db, "UPDATE httpkey_tokens SET last_used = ? WHERE id = ?")
	run("authenticate/SELECT-then-UPDATE", func(ctx context.Context, n int) error {
		token, err := store.Lookup(ctx, digestOf(benchKey(n)))
		if err == nil {
			_, err = touch.ExecContext(ctx, time.Now().UnixMicro(), token.ID)
		}
		return err
	})
	run("authenticate/batched", func(ctx context.Context, n int) error {
		_, err := guard.Verify(ctx, string(benchKey(n)))
		return err
	})
	if err := guard.Close(b.Context()); err != nil {
		b.Fatal(err)
	}

	counters := "CREATE TABLE httpkey_counters (id VARCHAR(255) NOT NULL, minute BIGINT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (id, minute))"
	if _, err := db.Exec(tables.named(counters)); err != nil {
		b.Fatal(err)
	}
	upsert := "INSERT INTO httpkey_counters (id, minute, n) VALUES (?, ?, 1) ON CONFLICT (id, minute) DO UPDATE SET n = httpkey_counters.n + 1 RETURNING n"
	if backend.driver == "mysql" {
		upsert = "INSERT INTO httpkey_counters (id, minute, n) VALUES (?, ?, 1) ON DUPLICATE KEY UPDATE n = n + 1 RETURNING n"
	}
	count := tables.prepare(b, db, upsert)
	run("limit/counter-in-a-logged-table", func(ctx context.Context, n int) error {
		var counted int
		return count.QueryRowContext(ctx, ids[n], time.Now().Unix()/60).Scan(&counted)
	})
	limiter := sqlstore.NewLimiter(db, tables.dialect)
	limit := func(limit httpkey.Limit) func(ctx context.Context, n int) error {
		return func(ctx context.Context, n int) error {
			_, err := limiter.Allow(ctx, ids[n], limit, 1)
			return err
		}
	}
	run("limit/admitted", limit(httpkey.PerMinute(1_000_000)))
	run("limit/denied", limit(httpkey.PerHour(1)))
	if backend.driver == "pgx" {
		if _, err := db.Exec(tables.named("ALTER TABLE httpkey_buckets SET LOGGED")); err != nil {
			b.Fatal(err)
		}
		run("limit/admitted-in-a-logged-table", limit(httpkey.PerMinute(1_000_000)))
	}
}

func (b *sqlTables) prepare(t testing.TB, db *sql.DB, query string) *sql.Stmt {
	t.Helper()
	for n := 1; b.driver == "pgx" && strings.Contains(query, "?"); n++ {
		query = strings.Replace(query, "?", "$"+strconv.Itoa(n), 1)
	}
	stmt, err := db.Prepare(b.named(query))
	if err != nil {
		t.Fatal(err)
	}
	return stmt
}
