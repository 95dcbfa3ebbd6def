package integration

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/sqlstore"
)

const (
	benchCallers = 64 // on the connections that sqlstore/README.md recommends
	benchKeys    = 1000
	benchRounds  = 5
	benchTime    = 2 * time.Second
)

// BenchmarkSQL prints the table in sqlstore/README.md: what a program would do by
// hand, and what the package does instead, on each database as it comes. They
// take turns, because neither a disk nor a virtual machine is always equally quick.
func BenchmarkSQL(b *testing.B) {
	var table strings.Builder
	compare := func(name string, start func(b *testing.B) *sqlBackend) {
		b.Run(name, func(b *testing.B) {
			bench := newSQLBench(b, start(b))
			for _, contest := range [][]*sqlContestant{bench.lookups(), bench.authentication(b), bench.limits(b)} {
				for round := range benchRounds {
					for i := range contest {
						contest[(i+round)%len(contest)].measure(b)
					}
				}
				for _, c := range contest {
					fmt.Fprintf(&table, "| %s | %s | %.0f | %.2f |\n", bench.version, c.name, c.rate(), c.rate()/contest[0].rate())
				}
			}
		})
	}
	compare("PostgreSQL", func(b *testing.B) *sqlBackend { return startPostgreSQL(b) })
	compare("MariaDB", func(b *testing.B) *sqlBackend { return startMariaDB(b) })
	compare("SQLite", func(b *testing.B) *sqlBackend { return sqliteBackend(b) })
	fmt.Printf("\n%d CPUs, %s; %d callers, %d connections, %d keys; medians of %d rounds of %v.\n\n",
		runtime.NumCPU(), runtime.Version(), benchCallers, sqlConnections, benchKeys, benchRounds, benchTime)
	fmt.Printf("| | | ops/s | / the first |\n|---|---|--:|--:|\n%s\n", table.String())
}

// sqlContestant is compared with the first of its contest.
type sqlContestant struct {
	name  string
	begin func() (call func(ctx context.Context, key int) error, end func() error)
	rates []float64 // calls a second in each round
}

func (c *sqlContestant) rate() float64 {
	slices.Sort(c.rates)
	return c.rates[len(c.rates)/2]
}

// measure measures a round. What is left to be written at its end is part of it.
func (c *sqlContestant) measure(b *testing.B) {
	runtime.GC()
	var (
		over atomic.Bool
		done atomic.Int64
	)
	call, end := c.begin()
	begun := time.Now()
	time.AfterFunc(benchTime, func() { over.Store(true) })
	atOnce(b, benchCallers, func(int) error {
		for !over.Load() {
			if err := call(b.Context(), rand.IntN(benchKeys)); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			done.Add(1)
		}
		return nil
	})
	if err := end(); err != nil {
		b.Fatal(err)
	}
	c.rates = append(c.rates, float64(done.Load())/time.Since(begun).Seconds())
}

// sqlBench is a database with keys in it.
type sqlBench struct {
	*sqlTables
	db      *sql.DB
	version string
	ids     [benchKeys]string
}

func newSQLBench(b *testing.B, backend *sqlBackend) *sqlBench {
	tables := backend.newTables(b)
	bench := &sqlBench{sqlTables: tables, db: tables.open(b)}
	guard := httpkey.New(bench.store(), httpkey.Unlimited, benchOptions)
	for n := range bench.ids {
		token, err := guard.Import(b.Context(), benchKey(n), benchToken)
		if err != nil {
			b.Fatal(err)
		}
		bench.ids[n] = token.ID
	}
	version := map[string]string{
		"pgx":    "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)",
		"mysql":  "SELECT concat('MariaDB ', substring_index(version(), '-', 1))",
		"sqlite": "SELECT 'SQLite ' || sqlite_version()",
	}[tables.driver]
	if err := bench.db.QueryRow(version).Scan(&bench.version); err != nil {
		b.Fatal(err)
	}
	return bench
}

var benchOptions = &httpkey.Options{ImportedMinLength: 16, Timeout: unhurried}

var benchToken = httpkey.Token{User: "ann", Scopes: []string{"a:read"}, IsActive: true}

func benchKey(n int) httpkey.Secret {
	return httpkey.Secret(fmt.Sprintf("a-key-for-benchmarks-%06d", n))
}

func (s *sqlBench) store() *sqlstore.Store { return sqlstore.New(s.db, s.dialect, nil) }

// lookups compares lookups without a deadline, which go alone, with those of a Guard's requests.
func (s *sqlBench) lookups() []*sqlContestant {
	store := s.store()
	lookup := func(ctx context.Context, n int) error {
		_, err := store.Lookup(ctx, digestOf(benchKey(n)))
		return err
	}
	return []*sqlContestant{
		{name: "`Store.Lookup`, alone", begin: always(lookup)},
		{name: "`Store.Lookup`, shared", begin: always(func(ctx context.Context, n int) error {
			ctx, cancel := context.WithTimeout(ctx, unhurried)
			defer cancel()
			return lookup(ctx, n)
		})},
	}
}

func (s *sqlBench) authentication(b *testing.B) []*sqlContestant {
	store, touch := s.store(), s.prepare(b, "UPDATE httpkey_tokens SET last_used = ? WHERE id = ?")
	verify := func(store func() httpkey.TokenStore) func() (func(context.Context, int) error, func() error) {
		return func() (func(context.Context, int) error, func() error) {
			guard := httpkey.New(store(), httpkey.Unlimited, benchOptions)
			return func(ctx context.Context, n int) error {
				_, err := guard.Verify(ctx, benchKey(n).Reveal())
				return err
			}, func() error { return guard.Close(b.Context()) }
		}
	}
	return []*sqlContestant{
		{name: "SELECT, then UPDATE last_used", begin: always(func(ctx context.Context, n int) error {
			token, err := store.Lookup(ctx, digestOf(benchKey(n)))
			if err == nil {
				_, err = touch.ExecContext(ctx, time.Now().UnixMicro(), token.ID)
			}
			return err
		})},
		{name: "`Guard.Verify`", begin: verify(func() httpkey.TokenStore { return s.store() })},
		{name: "`Guard.Verify` with `cachestore`", begin: verify(func() httpkey.TokenStore {
			return cachestore.New(s.store(), nil)
		})},
	}
}

func (s *sqlBench) limits(b *testing.B) []*sqlContestant {
	counters := "CREATE TABLE httpkey_counters " +
		"(id VARCHAR(255) NOT NULL, minute BIGINT NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (id, minute))"
	if _, err := s.db.Exec(s.named(counters)); err != nil {
		b.Fatal(err)
	}
	upsert := "INSERT INTO httpkey_counters (id, minute, n) VALUES (?, ?, 1) "
	if s.driver == "mysql" {
		upsert += "ON DUPLICATE KEY UPDATE n = n + 1 RETURNING n"
	} else {
		upsert += "ON CONFLICT (id, minute) DO UPDATE SET n = httpkey_counters.n + 1 RETURNING n"
	}
	count, limiter := s.prepare(b, upsert), sqlstore.NewLimiter(s.db, s.dialect)
	allow := func(limit httpkey.Limit, allowed bool) func(context.Context, int) error {
		return func(ctx context.Context, n int) error {
			result, err := takeFrom(ctx, limiter, s.ids[n], 1, limit)
			if err == nil && result.Allowed != allowed {
				err = fmt.Errorf("%s: %+v", s.ids[n], result)
			}
			return err
		}
	}
	used := httpkey.PerHour(1)
	for _, id := range s.ids {
		if _, err := takeFrom(b.Context(), limiter, id, 1, used); err != nil {
			b.Fatal(err)
		}
	}
	return []*sqlContestant{
		{name: "upsert of a counter", begin: always(func(ctx context.Context, n int) error {
			var counted int
			return count.QueryRowContext(ctx, s.ids[n], time.Now().Unix()/60).Scan(&counted)
		})},
		{name: "`Limiter.Allow`, admitted", begin: always(allow(httpkey.PerMinute(1_000_000), true))},
		{name: "`Limiter.Allow`, denied again", begin: always(allow(used, false))},
	}
}

// always begins what needs no beginning.
func always(call func(context.Context, int) error) func() (func(context.Context, int) error, func() error) {
	return func() (func(context.Context, int) error, func() error) {
		return call, func() error { return nil }
	}
}

// prepare prepares a statement with ? for each parameter.
func (s *sqlBench) prepare(b *testing.B, query string) *sql.Stmt {
	for n := 1; s.driver == "pgx" && strings.Contains(query, "?"); n++ {
		query = strings.Replace(query, "?", "$"+strconv.Itoa(n), 1)
	}
	stmt, err := s.db.Prepare(s.named(query))
	if err != nil {
		b.Fatal(err)
	}
	return stmt
}
