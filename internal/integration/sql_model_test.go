package integration

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// limiterStep is a charge at a time after the start, and the answer of memstore's limiter.
type limiterStep struct {
	at     time.Duration
	charge *httpkey.Charge
	want   httpkey.Result
}

// randomLimits returns limits that apply together. Their rates vary within a window, so
// that a bucket sees many.
func randomLimits(random *rand.Rand) []httpkey.Limit {
	rate := func(most int) int { return random.IntN(most + 1) }
	second := httpkey.PerSecond(rate(5))
	minute := httpkey.PerMinute(41 + rate(19))
	switch random.IntN(16) {
	case 0, 1, 2, 3, 4:
		return []httpkey.Limit{minute}
	case 5:
		return []httpkey.Limit{second}
	case 6:
		return []httpkey.Limit{{Rate: 999_983, Period: 999_979 * time.Microsecond}}
	case 7:
		return []httpkey.Limit{{Rate: 1 << 20, Period: 1 << 41 * time.Microsecond}} // the most that can be owed
	case 8:
		return []httpkey.Limit{{Rate: 1_000_000, Burst: 1, Period: 24 * time.Hour}}
	case 9:
		return []httpkey.Limit{httpkey.PerDay(300 + rate(300))}
	case 10, 11, 12:
		return []httpkey.Limit{second, minute}
	case 13:
		return []httpkey.Limit{minute, {Name: "writes", Rate: 7, Burst: 20, Period: 10 * time.Second}}
	case 14:
		return []httpkey.Limit{second, minute, httpkey.PerDay(300 + rate(300))}
	default:
		return []httpkey.Limit{httpkey.PerMonth(1000 + rate(1000)), minute, httpkey.PerDay(300 + rate(300))}
	}
}

func randomCharge(random *rand.Rand) *httpkey.Charge {
	c := &httpkey.Charge{Bucket: fmt.Sprint("token:", random.IntN(3)), Limits: randomLimits(random)}
	most := c.Limits[0].Resolve().Burst
	for _, l := range c.Limits {
		most = min(most, l.Resolve().Burst)
	}
	switch random.IntN(8) {
	case 0:
		c.Cost, c.Forced = random.IntN(2*most+3)-most-1, true
	case 1:
		c.Cost = random.IntN(most + 2)
	default:
		c.Cost = random.IntN(min(most, 5) + 1)
	}
	return c
}

func randomSteps(t *testing.T, n int) []limiterStep {
	random := rand.New(rand.NewPCG(17, 19))
	steps := make([]limiterStep, n)
	synctest.Test(t, func(t *testing.T) {
		limiter, start := memstore.NewLimiter(), time.Now()
		for i := range steps {
			step := limiterStep{at: time.Since(start), charge: randomCharge(random)}
			var err error
			if step.want, err = limiter.Allow(t.Context(), step.charge); err != nil {
				t.Fatal(err)
			}
			steps[i] = step
			switch random.IntN(100) {
			case 0:
				elapse(time.Duration(random.Int64N(int64(10 * time.Hour))).Truncate(time.Microsecond))
			case 1, 2, 3, 4, 5:
				elapse(time.Duration(random.Int64N(int64(20 * time.Second))).Truncate(time.Microsecond))
			default:
				elapse(time.Duration(random.Int64N(int64(500 * time.Millisecond))).Truncate(time.Microsecond))
			}
		}
	})
	return steps
}

// The answers are those of memstore's limiter, which has a model of its own, to the microsecond.
func testLimiterAgrees(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	tables.newClock(t).agrees(t, randomSteps(t, 20_000))
}

// agrees holds the limiter to the answers in steps.
func (c *sqlClock) agrees(t *testing.T, steps []limiterStep) {
	t.Helper()
	admitted, forced := 0, 0
	synctest.Test(t, func(t *testing.T) { // also the process's clock is that of the steps: quotas go by it
		c.start = time.Now()
		db := c.open(t, c.options)
		limiter := sqlstore.NewLimiter(db, c.dialect)
		for i, step := range steps {
			c.set(t, db, step.at)
			got, err := limiter.Allow(t.Context(), step.charge)
			if err != nil || !reflect.DeepEqual(got, step.want) {
				t.Fatalf("step %d, after %v, %+v: %+v (%v), memstore says %+v", i, step.at, step.charge, got, err, step.want)
			}
			if got.Allowed {
				admitted++
			}
			if step.charge.Forced {
				forced++
			}
		}
	})
	t.Logf("%d of %d were admitted, %d by force", admitted, len(steps), forced)
}

// model is a limiter by internal/gcra alone, for a clock that also goes back.
type model map[string]gcra.Bucket

func (m model) allow(c *httpkey.Charge, now time.Time) httpkey.Result {
	items := charge.Items(c, now)
	key := func(item charge.Item) string { return fmt.Sprintf("%q %q", c.Bucket, item.Name()) }
	owed := func(item charge.Item) int64 { return m[key(item)].Owed(item.Terms, now.UnixMicro()) }
	rooms, enough := make([]bool, len(items)), true
	for _, item := range items {
		bucket := m[key(item)]
		bucket.Heal(item.Terms, now.UnixMicro())
		m[key(item)] = bucket
	}
	for i, item := range items {
		rooms[i] = c.Forced || item.Terms.HasRoom(owed(item), int64(c.Cost))
		enough = enough && rooms[i]
	}
	each := make([]httpkey.Result, len(items))
	for i, item := range items {
		if enough {
			bucket := m[key(item)]
			bucket.Charge(item.Terms, now.UnixMicro(), owed(item), int64(c.Cost))
			m[key(item)] = bucket
		}
		each[i] = item.Result(item.Terms.Result(rooms[i], owed(item), int64(c.Cost)))
	}
	return c.Join(each)
}

// Where the database's clock is set back and forth, the answers are those of internal/gcra.
func testLimiterClockSetBack(t *testing.T, b *sqlBackend) {
	if b.driver == "sqlite" {
		t.Skip("the clock is this process's here")
	}
	tables := b.newTables(t)
	clock := tables.newClock(t)
	synctest.Test(t, func(t *testing.T) { // in which the limiter forgets each denial before the next step
		db := tables.open(t, clock.options)
		var limiter *sqlstore.Limiter
		model := model{}
		random := rand.New(rand.NewPCG(23, 29))
		at := time.Duration(1<<40) * time.Microsecond
		for i := range 3000 {
			if i%200 == 0 { // a new limiter does not sweep: a swept bucket is full even after the clock is set back
				limiter = sqlstore.NewLimiter(db, tables.dialect)
			}
			c := &httpkey.Charge{Bucket: fmt.Sprint(random.IntN(2)), Cost: random.IntN(9), Forced: random.IntN(8) == 0}
			for n := range 1 + random.IntN(2) {
				limit := httpkey.PerMinute(41 + random.IntN(20))
				limit.Name = fmt.Sprint("limit", n)
				c.Limits = append(c.Limits, limit)
			}
			clock.set(t, db, at)
			got, err := limiter.Allow(t.Context(), c)
			want := model.allow(c, time.UnixMicro(clockStart.UnixMicro()+at.Microseconds()))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("step %d, after %v, %+v: %+v (%v), internal/gcra says %+v", i, at, c, got, err, want)
			}
			step := 2 * time.Second
			if random.IntN(20) == 0 {
				step = 200 * time.Second
			}
			at += time.Duration(random.Int64N(2*int64(step)) - int64(step)*9/10).Truncate(time.Microsecond)
			elapse(time.Second)
		}
	})
}

// A database whose clock is set back delays a caller by one window at most. The limiter admits a
// denied client after its RetryAfter, and after a window the bucket is full.
func testLimiterClockBehind(t *testing.T, b *sqlBackend) {
	if b.server == nil {
		t.Skip("the clock is this process's here")
	}
	minute, hour := httpkey.PerMinute(60), httpkey.PerHour(3600)
	const now = 100 * time.Hour
	for _, back := range []time.Duration{time.Second, 30 * time.Second, 90 * time.Second, time.Hour, 99 * time.Hour} {
		for name, charge := range map[string]func(n int) *httpkey.Charge{
			"one limit":     func(n int) *httpkey.Charge { return of("key", n, minute) },
			"several":       func(n int) *httpkey.Charge { return of("key", n, minute, httpkey.PerDay(1000)) },
			"of two clocks": func(n int) *httpkey.Charge { return of("key", n, minute, hour) },
		} {
			t.Run(fmt.Sprintf("%s, %v", name, back), func(t *testing.T) {
				tables := b.newTables(t)
				clock := tables.newClock(t)
				synctest.Test(t, func(t *testing.T) { // in which the limiter forgets each denial before the next step
					db := tables.open(t, clock.options)
					limiter := sqlstore.NewLimiter(db, tables.dialect)
					at := now
					allow := func(n int, later time.Duration) httpkey.Result {
						t.Helper()
						at += later
						clock.set(t, db, at)
						elapse(time.Second)
						r, err := limiter.Allow(t.Context(), charge(n))
						if err != nil {
							t.Fatal(err)
						}
						return r
					}
					if r := allow(60, 0); !r.Allowed {
						t.Fatalf("a full bucket: %+v", r)
					}
					before := allow(1, 0)
					denied := allow(1, -back)
					if denied.Allowed || denied.RetryAfter-before.RetryAfter > time.Minute {
						t.Fatalf("%+v, and %v back: %+v", before, back, denied)
					}
					if r := allow(1, denied.RetryAfter-time.Microsecond); r.Allowed || r.RetryAfter != time.Microsecond {
						t.Errorf("a microsecond before RetryAfter (%v): %+v", denied.RetryAfter, r)
					}
					if r := allow(1, time.Microsecond); !r.Allowed {
						t.Errorf("after RetryAfter (%v): %+v", denied.RetryAfter, r)
					}
					if r := allow(60, time.Minute); !r.Allowed {
						t.Errorf("after a window: %+v", r)
					}
				})
			})
		}
	}
}

// A limit that changes at each request never lets in more than the greatest would.
func testLimiterMoves(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	clock := tables.newClock(t)
	random := rand.New(rand.NewPCG(31, 37))
	synctest.Test(t, func(t *testing.T) {
		clock.start = time.Now()
		db := tables.open(t, clock.options)
		limiter := sqlstore.NewLimiter(db, tables.dialect)
		const minutes = 5
		admitted := 0
		for at := time.Duration(0); at < minutes*time.Minute; at += 200 * time.Millisecond {
			clock.set(t, db, at)
			r, err := takeFrom(t.Context(), limiter, "key", 1, httpkey.PerMinute(41+random.IntN(20)))
			if err != nil {
				t.Fatal(err)
			}
			if r.Allowed {
				admitted++
			}
		}
		t.Logf("%d were admitted in %d minutes", admitted, minutes)
		if most := 60 + 60*minutes; admitted > most || admitted < 41*minutes {
			t.Errorf("%d were admitted in %d minutes, want %d to %d", admitted, minutes, 41*minutes, most)
		}
	})
}

// One bucket that holds garbage is an error of its own; the row stays, and the others go on.
func testLimiterDamaged(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db := tables.open(t)
	limiter := sqlstore.NewLimiter(db, tables.dialect)
	minute, day := httpkey.PerMinute(60), httpkey.PerDay(60)
	damages := []string{
		"debt = -1", "rate = -1", "rate = 0, debt = 5", "as_of = -1", "rate = 4294967296", "debt = 9223372036854775807",
		"debt = -9223372036854775808", "rate = 9223372036854775807", "as_of = -9223372036854775808",
	}
	if b.driver == "sqlite" { // its columns take any value
		for _, column := range []string{"debt", "as_of", "rate"} {
			damages = append(damages, column+" = 'text'", column+" = ''", column+" = 1.5", column+" = 9e99", column+" = x'00'")
		}
	}
	for _, damage := range damages {
		for name, limits := range map[string][]httpkey.Limit{
			"one limit": {minute}, "a quota": {day}, "several": {minute, day},
		} {
			tables.must(t, db, tables.named("DELETE FROM httpkey_buckets"))
			if r, err := takeFrom(t.Context(), limiter, "key", 2, limits...); err != nil || r.Remaining != 58 {
				t.Fatalf("%+v, %v", r, err)
			}
			tables.must(t, db, tables.named("UPDATE httpkey_buckets SET "+damage))
			before := tables.rowsOf(t, "httpkey_buckets")
			for n := range 2 {
				if r, err := takeFrom(t.Context(), limiter, "key", n, limits...); !errors.Is(err, gcra.ErrDamaged) {
					t.Errorf("%s, %s: %d of it: %+v, %v", damage, name, n, r, err)
				}
			}
			if after := tables.rowsOf(t, "httpkey_buckets"); after != before {
				t.Errorf("%s, %s: it was %s, and is %s", damage, name, before, after)
			}
			if r, err := takeFrom(t.Context(), limiter, "another key", 1, limits...); err != nil || r.Remaining != 59 {
				t.Errorf("%s, %s: another bucket: %+v, %v", damage, name, r, err)
			}
			if err := limiter.Reset(t.Context(), &httpkey.Charge{Bucket: "key", Limits: limits}); err != nil {
				t.Errorf("%s, %s: Reset: %v", damage, name, err)
			}
			if r, err := takeFrom(t.Context(), limiter, "key", 2, limits...); err != nil || r.Remaining != 58 {
				t.Errorf("%s, %s: after a Reset: %+v, %v", damage, name, r, err)
			}
		}
	}
}

// rowsOf returns the rows of a table of buckets as text.
func (b *sqlTables) rowsOf(t *testing.T, table string) (text string) {
	t.Helper()
	rows, err := b.open(t).Query(b.named("SELECT id, debt, as_of, rate, full_at FROM " + table + " ORDER BY id"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			id                       []byte
			debt, asOf, rate, fullAt any // SQLite has columns of any type
		)
		if err := rows.Scan(&id, &debt, &asOf, &rate, &fullAt); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("%x %v %v %v %v\n", id, debt, asOf, rate, fullAt)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return text
}

// sqlClock is a database whose clock stands still until it is set.
type sqlClock struct {
	*sqlTables
	options string
	start   time.Time // of the bubble
}

// clockStart is the first time on the clock of a server.
var clockStart = time.Unix(1000, 0)

func (b *sqlTables) newClock(t *testing.T) *sqlClock {
	t.Helper()
	clock := &sqlClock{sqlTables: b}
	switch b.driver {
	case "pgx", "postgres": // a function of that name which is found first
		db := b.open(t)
		schema := b.prefix + "clock"
		for _, statement := range []string{
			"CREATE SCHEMA " + schema,
			"CREATE TABLE " + schema + ".now (microseconds BIGINT)",
			"INSERT INTO " + schema + ".now VALUES (1000000000)",
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

// set sets the clock for db, and in a bubble that of the process, to so long after the start.
func (c *sqlClock) set(t *testing.T, db *sql.DB, at time.Duration) {
	t.Helper()
	micros := clockStart.UnixMicro() + at.Microseconds()
	var err error
	switch c.driver {
	case "pgx", "postgres":
		_, err = db.Exec("UPDATE "+c.prefix+"clock.now SET microseconds = $1::bigint", micros)
	case "mysql":
		// Each connection has a clock of its own, so the pool has one connection. The clock is in
		// floating point: MariaDB truncates it and MySQL rounds it. A quarter of a microsecond more
		// makes both exact.
		db.SetMaxOpenConns(1)
		_, err = db.Exec(fmt.Sprintf("SET timestamp = %d.%06d25", micros/1_000_000, micros%1_000_000))
	}
	if err != nil {
		t.Fatal(err)
	}
	if !c.start.IsZero() {
		elapse(at - time.Since(c.start))
	}
}
