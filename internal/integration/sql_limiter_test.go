package integration

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// contested is used up by any process that tries.
var contested = httpkey.Limit{Rate: 50, Burst: 30, Period: time.Second}

func limitChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	limiter := sqlstore.NewLimiter(db, d)
	admitted, denied := 0, 0
	begun := time.Now()
	for time.Since(begun) < loadTime() {
		r, err := limiter.Allow(t.Context(), "key", contested, 1)
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
			r, err := limiter.Allow(t.Context(), "key", limit, 1)
			if err != nil {
				return err
			}
			if r.Allowed {
				admitted.Add(1)
			} else if denied.Add(1); r.Remaining != 0 || r.RetryAfter > time.Hour || r.RetryAfter < 59*time.Minute || r.ResetAfter < 999*time.Hour || r.ResetAfter > 1000*time.Hour {
				return fmt.Errorf("a denial says %+v", r)
			}
		}
		return nil
	})
	if admitted.Load() != 1000 || denied.Load() != 280 {
		t.Errorf("%d were admitted and %d denied, want 1000 and 280", admitted.Load(), denied.Load())
	}
}

type limiterStep struct {
	at    time.Duration
	key   string
	limit httpkey.Limit
	n     int
	want  httpkey.Result
}

// randomSteps are calls with the answers of memstore's limiter, which has a model of its own.
func randomSteps(t *testing.T, n int) []limiterStep {
	random := rand.New(rand.NewPCG(17, 19))
	limits := []httpkey.Limit{
		{Rate: 3, Burst: 3, Period: time.Second}, {Rate: 60, Burst: 60, Period: time.Minute},
		{Rate: 7, Burst: 20, Period: 10 * time.Second}, {Rate: 10, Burst: 4, Period: time.Hour},
		{Rate: 1_000_000, Burst: 1, Period: 24 * time.Hour}, {Rate: 999_983, Burst: 999_983, Period: 999_979 * time.Microsecond},
		{Rate: 1 << 20, Burst: 1 << 20, Period: 1 << 42 * time.Microsecond}, // the most that can be owed
	}
	steps := make([]limiterStep, n)
	synctest.Test(t, func(t *testing.T) {
		limiter, start := memstore.NewLimiter(), time.Now()
		for i := range steps {
			limit := limits[random.IntN(len(limits))]
			step := limiterStep{
				at:    time.Since(start),
				key:   fmt.Sprint(random.IntN(3)),
				limit: limit,
				n:     random.IntN(limit.Burst + 1),
			}
			var err error
			if step.want, err = limiter.Allow(t.Context(), step.key, limit, step.n); err != nil {
				t.Fatal(err)
			}
			steps[i] = step
			switch random.IntN(50) {
			case 0:
				elapse(time.Duration(random.Int64N(int64(time.Hour))).Truncate(time.Microsecond))
			case 1, 2, 3, 4, 5:
				elapse(time.Duration(random.Int64N(int64(5 * time.Second))).Truncate(time.Microsecond))
			default:
				elapse(time.Duration(random.Int64N(int64(50 * time.Millisecond))).Truncate(time.Microsecond))
			}
		}
	})
	return steps
}

func testLimiterAgrees(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	clock := tables.newClock(t)
	steps := randomSteps(t, 5000)
	admitted := 0
	clock.run(t, func(t *testing.T) {
		db := tables.open(t, clock.options)
		limiter := sqlstore.NewLimiter(db, tables.dialect)
		for i, step := range steps {
			clock.set(t, db, step.at)
			got, err := limiter.Allow(t.Context(), step.key, step.limit, step.n)
			if err != nil || got != step.want {
				t.Fatalf("step %d, after %v, %d of %+v: %+v (%v), memstore says %+v", i, step.at, step.n, step.limit, got, err, step.want)
			}
			if got.Allowed {
				admitted++
			}
		}
	})
	t.Logf("%d of %d were admitted", admitted, len(steps))
}

// sqlClock is a database whose clock stands still until it is set.
type sqlClock struct {
	*sqlTables
	options string
	start   time.Time // SQLite's in its bubble
}

func (b *sqlTables) newClock(t *testing.T) *sqlClock {
	t.Helper()
	clock := &sqlClock{sqlTables: b}
	switch b.driver {
	case "pgx": // a function of that name which is found first
		db := b.open(t)
		schema := b.prefix + "clock"
		for _, statement := range []string{
			"CREATE SCHEMA " + schema,
			"CREATE TABLE " + schema + ".now (microseconds BIGINT)",
			"INSERT INTO " + schema + ".now VALUES (1000000)",
			"CREATE FUNCTION " + schema + ".clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS " +
				"'SELECT timestamptz ''epoch'' + microseconds * interval ''1 microsecond'' FROM " + schema + ".now'",
		} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		clock.options = "&search_path=" + schema + ",pg_catalog,public"
	case "mysql":
		clock.options = "&timestamp=1000.5"
	}
	return clock
}

// run runs test where time stands still.
func (c *sqlClock) run(t *testing.T, test func(*testing.T)) {
	if c.driver == "sqlite" { // whose clock is ours
		synctest.Test(t, func(t *testing.T) {
			c.start = time.Now()
			test(t)
		})
		return
	}
	test(t)
}

// set sets the clock for db, to so long after the start.
func (c *sqlClock) set(t *testing.T, db *sql.DB, at time.Duration) {
	t.Helper()
	var err error
	switch c.driver {
	case "pgx":
		_, err = db.Exec("UPDATE "+c.prefix+"clock.now SET microseconds = 1000000 + $1::bigint", at.Microseconds())
	case "mysql":
		// One connection, as it has a clock of its own. It counts in floating
		// point and cuts off: half a microsecond more makes it exact.
		db.SetMaxOpenConns(1)
		micros := at.Microseconds()
		_, err = db.Exec(fmt.Sprintf("SET timestamp = %d.%06d5", 1000+micros/1_000_000, micros%1_000_000))
	case "sqlite":
		elapse(at - time.Since(c.start))
	}
	if err != nil {
		t.Fatal(err)
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
		if r, err := limiter.Allow(t.Context(), "key", limit, 1); err != nil || !r.Allowed {
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
		if r, err := limiter.Allow(t.Context(), "key", limit, 1); err != nil || r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
		if r, err := limiter.Allow(t.Context(), "key", limit, 0); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if after := version(); after != before {
		t.Errorf("something was written: %s, then %s", before, after)
	}
	if r, err := limiter.Allow(t.Context(), "another", limit, 0); err != nil || r.Remaining != 3 || tables.count(t, "httpkey_buckets") != 1 {
		t.Errorf("a look made a bucket: %+v, %v", r, err)
	}
	if r, err := limiter.Allow(t.Context(), "another", limit, 1); err != nil || !r.Allowed || version() == before && b.driver != "pgx" && b.driver != "mysql" {
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
		if r, err := limiter.Allow(t.Context(), fmt.Sprint("slow ", n), slow, 1); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for n := range passing {
		if _, err := limiter.Allow(t.Context(), fmt.Sprint("quick ", n), quick, 1); err != nil {
			t.Fatal(err)
		}
	}
	for n := range kept {
		if r, err := limiter.Allow(t.Context(), fmt.Sprint("slow ", n), slow, 1); err != nil || r.Allowed {
			t.Fatalf("a bucket that is not full was swept: %+v, %v", r, err)
		}
	}
	n := tables.count(t, "httpkey_buckets")
	t.Logf("%d of %d buckets are left", n, kept+passing)
	if n > 2500 {
		t.Errorf("%d of %d buckets are left", n, kept+passing)
	}
}

// Whatever time zone a server or a connection has, a bucket is drained by the same clock.
func testLimiterZones(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	limit := httpkey.PerHour(10)
	for i := range 3 * len(b.zones) {
		db := tables.open(t, b.zones[i%len(b.zones)])
		r, err := sqlstore.NewLimiter(db, tables.dialect).Allow(context.Background(), "key", limit, 1)
		if err != nil || !r.Allowed || r.Remaining != 9-i || r.ResetAfter > time.Duration(i+1)*6*time.Minute || r.ResetAfter < time.Duration(i+1)*6*time.Minute-time.Minute {
			t.Fatalf("request %d: %+v, %v", i+1, r, err)
		}
	}
}
