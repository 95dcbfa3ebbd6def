package integration

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/usage"
)

// BenchmarkUsage measures the bytes that a store takes for the usage of a token in 30 days, and the
// reads of the two charts of the console: 24 hours, and 30 days. A busy token passes in every hour, and
// others pass in one hour of each day. The figure of a million tokens is a product: Redis reads by a key, and
// the tree of SQLite becomes some levels deeper.
//
//	go test -run='^$' -bench=Usage -benchtime=1000x .
func BenchmarkUsage(b *testing.B) {
	for _, use := range []struct {
		name          string
		tokens, hours int // hours of each day
	}{{"busy", 200, 24}, {"daily", 10_000, 1}} {
		b.Run("SQLite/"+use.name, func(b *testing.B) {
			tables := sqliteBackend(b).newTables(b)
			db := tables.open(b)
			benchUsage(b, sqlstore.NewUsage(db, tables.dialect), use.tokens, use.hours, func() int {
				return sqliteBytes(b, db)
			})
		})
		b.Run("Redis/"+use.name, func(b *testing.B) {
			server := startRedis(b)
			benchUsage(b, redisstore.NewUsage(server.client(b), nil), use.tokens, use.hours, func() int {
				return redisBytes(b, server)
			})
		})
	}
}

// benchUsage fills a store, and measures it.
func benchUsage(b *testing.B, store usage.Store, tokens, hours int, size func() int) {
	const days = 30
	keep := usage.Keep{Hours: 31 * usage.Day, Days: 400 * usage.Day}
	today := time.Now().UTC().Truncate(usage.Day)
	empty := size()
	begun := time.Now()
	for day := range days {
		for hour := range hours {
			deltas := make([]usage.Delta, tokens)
			for i := range deltas {
				at := today.Add(time.Duration(day-days)*usage.Day + time.Duration((hour+i)%24)*usage.Hour)
				deltas[i] = usage.Delta{ID: usageID(i), Hour: at, Counts: usage.Counts{Passed: 1000, Cost: 1000}}
			}
			if _, err := store.Add(b.Context(), deltas, keep); err != nil {
				b.Fatal(err)
			}
		}
	}
	took := time.Since(begun)
	each := float64(size()-empty) / float64(tokens)
	for _, read := range []struct {
		name string
		from time.Time
		step time.Duration
	}{{"hours", today.Add(-usage.Day), usage.Hour}, {"days", today.Add(-days * usage.Day), usage.Day}} {
		b.Run(read.name, func(b *testing.B) {
			times := make([]time.Duration, 0, b.N)
			for i := range b.N {
				begun := time.Now()
				intervals, err := store.Of(b.Context(), usageID(i*7919%tokens), read.from, today, read.step)
				if err != nil || len(intervals) == 0 {
					b.Fatalf("%v, %v", intervals, err)
				}
				times = append(times, time.Since(begun))
			}
			slices.Sort(times)
			b.ReportMetric(each, "B/token")
			b.ReportMetric(each/1000, "GB/Mtokens")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(tokens*days*hours)/took.Seconds(), "adds/s")
		})
	}
}

func usageID(i int) string { return fmt.Sprintf("0198c7a0-0000-7000-8000-%012d", i) }

// sqliteBytes returns the bytes of the pages of a database.
func sqliteBytes(b *testing.B, db *sql.DB) int {
	b.Helper()
	var pages, bytes int
	if err := db.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		b.Fatal(err)
	}
	if err := db.QueryRow("PRAGMA page_size").Scan(&bytes); err != nil {
		b.Fatal(err)
	}
	return pages * bytes
}

// redisBytes returns the bytes that a server has allocated.
func redisBytes(b *testing.B, server *redisServer) int {
	b.Helper()
	info, err := server.do(context.Background(), "INFO", "memory").Text()
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "used_memory:")
	text, _, _ := strings.Cut(rest, "\r\n")
	bytes, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}
