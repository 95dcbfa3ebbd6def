package integration

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// contested is used up by any process that tries.
var contested = httpkey.Limit{Rate: 50, Burst: 30, Period: time.Second}

func limitChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	limiter := sqlstore.NewLimiter(db, d)
	admitted, denied := 0, 0
	begun := time.Now()
	for time.Since(begun) < loadTime() {
		r, err := takeFrom(t.Context(), limiter, "key", 1, contested)
		if err != nil {
			t.Fatal(err)
		}
		if r.Allowed {
			admitted++
		} else {
			denied++
		}
	}
	fmt.Println("took", begun.UnixMicro(), time.Now().UnixMicro(), admitted, denied)
}

// Eight processes that take from one bucket as fast as they can get no more
// together than one would, and no less.
func testLimiterProcesses(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	var children []*sqlChild
	for range 8 {
		children = append(children, tables.spawn(t, "limit"))
	}
	var first, last, admitted, denied int64
	for _, child := range children {
		lines := child.wait(t, "took ")
		if len(lines) != 1 {
			t.Fatalf("%q", lines)
		}
		var numbers [4]int64
		for i, field := range strings.Fields(lines[0]) {
			numbers[i], _ = strconv.ParseInt(field, 10, 64)
		}
		if first == 0 || numbers[0] < first {
			first = numbers[0]
		}
		last = max(last, numbers[1])
		admitted += numbers[2]
		denied += numbers[3]
	}
	elapsed := time.Duration(last-first) * time.Microsecond
	most := float64(contested.Burst) + float64(contested.Rate)*elapsed.Seconds() + 1
	t.Logf("in %v, %d were admitted of at most %.1f, and %d denied", elapsed, admitted, most, denied)
	if float64(admitted) > most {
		t.Errorf("%d were admitted in %v, at most %.1f may be", admitted, elapsed, most)
	}
	if float64(admitted) < most-0.05*float64(contested.Rate)*elapsed.Seconds()-2 {
		t.Errorf("%d were admitted in %v, where %.1f should be", admitted, elapsed, most)
	}
}

// From a bucket to which nothing comes back meanwhile, 64 callers with handles of
// their own get exactly Burst.
func testLimiterFrozen(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	pools := tables.pools(t)
	limit := httpkey.Limit{Rate: 1000, Burst: 1000, Period: 1000 * time.Hour}
	var admitted, denied atomic.Int64
	atOnce(t, 64, func(int) error {
		limiter := sqlstore.NewLimiter(pools(), tables.dialect)
		for range 20 {
			r, err := takeFrom(t.Context(), limiter, "key", 1, limit)
			if err != nil {
				return err
			}
			if r.Allowed {
				admitted.Add(1)
				continue
			}
			denied.Add(1)
			if r.Remaining != 0 || r.RetryAfter > time.Hour || r.RetryAfter < 59*time.Minute ||
				r.ResetAfter < 999*time.Hour || r.ResetAfter > 1000*time.Hour {
				return fmt.Errorf("a denial says %+v", r)
			}
		}
		return nil
	})
	if admitted.Load() != 1000 || denied.Load() != 280 {
		t.Errorf("%d were admitted and %d denied, want 1000 and 280", admitted.Load(), denied.Load())
	}
}

// A denial changes no row, nor does a look at a bucket.
func testLimiterDenialWritesNothing(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db, watcher := tables.open(t), tables.open(t)
	watcher.SetMaxOpenConns(1)
	limiter := sqlstore.NewLimiter(db, tables.dialect)
	limit := httpkey.PerHour(3)
	for range 3 {
		if r, err := takeFrom(t.Context(), limiter, "key", 1, limit); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	version := func() (version string) {
		var err error
		var name string
		switch b.driver {
		case "pgx":
			err = watcher.QueryRow(tables.named("SELECT concat(ctid, xmin) FROM httpkey_buckets")).Scan(&version)
		case "mysql":
			err = watcher.QueryRow("SHOW GLOBAL STATUS LIKE 'Handler_update'").Scan(&name, &version)
		case "sqlite":
			err = watcher.QueryRow("PRAGMA data_version").Scan(&version)
		}
		if err != nil {
			t.Fatal(err)
		}
		return version
	}
	before := version()
	for range 100 {
		limiter := sqlstore.NewLimiter(db, tables.dialect) // a new one, which remembers no denial
		if r, err := takeFrom(t.Context(), limiter, "key", 1, limit); err != nil || r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
		if r, err := takeFrom(t.Context(), limiter, "key", 0, limit); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if after := version(); after != before {
		t.Errorf("something was written: %s, then %s", before, after)
	}
	r, err := takeFrom(t.Context(), limiter, "another", 0, limit)
	if err != nil || r.Remaining != 3 || tables.count(t, "httpkey_buckets") != 1 {
		t.Errorf("a look made a bucket: %+v, %v", r, err)
	}
	r, err = takeFrom(t.Context(), limiter, "another", 1, limit)
	if err != nil || !r.Allowed || version() == before && b.driver != "pgx" && b.driver != "mysql" {
		t.Errorf("the test would not see a write: %+v, %v", r, err)
	}
}

// Buckets that are full again go, by and by, and the others stay.
func testLimiterSweeps(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	limiter := sqlstore.NewLimiter(tables.open(t), tables.dialect)
	slow, quick := httpkey.PerHour(1), httpkey.PerSecond(1_000_000)
	const kept, passing = 50, 6000
	for n := range kept {
		if r, err := takeFrom(t.Context(), limiter, fmt.Sprint("slow ", n), 1, slow); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for n := range passing {
		if _, err := takeFrom(t.Context(), limiter, fmt.Sprint("quick ", n), 1, quick); err != nil {
			t.Fatal(err)
		}
	}
	for n := range kept {
		if r, err := takeFrom(t.Context(), limiter, fmt.Sprint("slow ", n), 1, slow); err != nil || r.Allowed {
			t.Fatalf("a bucket that is not full was swept: %+v, %v", r, err)
		}
	}
	n := tables.count(t, "httpkey_buckets")
	t.Logf("%d of %d buckets are left", n, kept+passing)
	if n > 2500 {
		t.Errorf("%d of %d buckets are left", n, kept+passing)
	}
}

// A bucket follows the same clock in every time zone of a server or a connection.
func testLimiterZones(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	limit := httpkey.PerHour(10)
	for i := range 3 * len(b.zones) {
		db := tables.open(t, b.zones[i%len(b.zones)])
		r, err := takeFrom(context.Background(), sqlstore.NewLimiter(db, tables.dialect), "key", 1, limit)
		most := time.Duration(i+1) * 6 * time.Minute
		if err != nil || !r.Allowed || r.Remaining != 9-i || r.ResetAfter > most || r.ResetAfter < most-time.Minute {
			t.Fatalf("request %d: %+v, %v", i+1, r, err)
		}
	}
}
