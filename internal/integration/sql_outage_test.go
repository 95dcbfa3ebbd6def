package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/sqlstore"
)

// sqlOutages are the ways in which a server fails to answer. down makes it fail, and returns
// what ends that.
var sqlOutages = []struct {
	name   string
	direct bool          // without the proxy
	lasts  time.Duration // 0: as usual
	down   func(t *testing.T, s *sqlServer, db *sql.DB, p *proxy) (up func())
}{
	{"refused", true, 0, func(t *testing.T, s *sqlServer, _ *sql.DB, _ *proxy) func() {
		s.stop(s.quit)
		return func() { s.start(t) }
	}},
	{"stopped, warm pool", true, 0, func(t *testing.T, s *sqlServer, _ *sql.DB, _ *proxy) func() {
		s.stall(t)
		return func() { s.resume(t) }
	}},
	{"stopped, cold pool", true, 0, func(t *testing.T, s *sqlServer, db *sql.DB, _ *proxy) func() {
		db.SetMaxIdleConns(-1)
		db.SetMaxIdleConns(sqlConnections)
		s.stall(t)
		return func() { s.resume(t) }
	}},
	{"black hole, accepting", false, 0, func(_ *testing.T, _ *sqlServer, _ *sql.DB, p *proxy) func() {
		p.silent.Store(true)
		return func() {
			p.silent.Store(false)
			p.cut() // the swallowed bytes do not come back
		}
	}},
	// The kernel tries to connect after 1, 3, 7 and 15 s: a program must not wait for that.
	{"black hole, not accepting", false, 8 * time.Second, func(_ *testing.T, _ *sqlServer, _ *sql.DB, p *proxy) func() {
		return p.jam()
	}},
	{"cut in the middle of a query", false, 0, func(_ *testing.T, _ *sqlServer, _ *sql.DB, p *proxy) func() {
		p.cuts.Store(true)
		return func() { p.cuts.Store(false) }
	}},
	{"pool exhausted", true, 0, func(t *testing.T, _ *sqlServer, db *sql.DB, _ *proxy) func() { return holdAll(t, db) }},
}

// holdAll takes every connection that a pool may have, until what it returns is called.
func holdAll(t testing.TB, db *sql.DB) (release func()) {
	t.Helper()
	conns := make([]*sql.Conn, sqlConnections)
	for i := range conns {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
	}
	return func() {
		for _, conn := range conns {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// An outage of the database is not one of the program, as with Redis.
func testSQLOutages(t *testing.T, b *sqlBackend) {
	if b.driver == "sqlite" {
		t.Skip("there is no server")
	}
	for _, o := range sqlOutages {
		for _, callers := range []int{1, 100} {
			t.Run(fmt.Sprintf("%s/%d", o.name, callers), func(t *testing.T) {
				labelGoroutines(t)
				tables := b.newTables(t)
				p := startProxy(t, b.server.address())
				aside := tables.open(t)
				if !o.direct {
					tables.dsn = strings.Replace(tables.dsn, b.server.address(), p.address(), 1)
				}
				connections := func() (n int) {
					if err := aside.QueryRow(b.connections).Scan(&n); err != nil {
						t.Error(err)
					}
					return n
				}
				others := connections()
				db := tables.open(t, b.outage)
				store := &readyStore{Store: sqlstore.New(db, tables.dialect, nil), ready: make(chan struct{})}
				cached := cachestore.Options{TTL: 500 * time.Millisecond}
				s := newSiteOn(t, store, sqlstore.NewLimiter(db, tables.dialect), cached, budget)
				inOutage(t, &outage{
					site:    s,
					proxy:   p,
					limiter: sqlstore.NewLimiter(aside, tables.dialect),
					warm: func() {
						s.follow(t)
						<-store.ready // it would make the cache drop what it has, later
						holdAll(t, db)()
					},
					lasts: o.lasts,
					down:  func() func() { return o.down(t, b.server, db, p) },
					leaks: func() error {
						stats, n := db.Stats(), connections()
						if stats.InUse > 0 || stats.OpenConnections > sqlConnections || n > others+stats.OpenConnections {
							return fmt.Errorf("the server has %d connections, %d of others; the pool has %+v", n, others, stats)
						}
						return nil
					},
				}, callers)
			})
		}
	}
}

// Without a cache in front there is nothing to answer from, but no request waits beyond its budget, and
// no connection that was given up is used again.
func testOutageWithoutCache(t *testing.T, b *sqlBackend) {
	if b.driver == "sqlite" {
		t.Skip("there is no server")
	}
	tables := b.newTables(t)
	db := tables.open(t, b.outage)
	guard := httpkey.New(sqlstore.New(db, tables.dialect, nil), httpkey.Unlimited, nil)
	created, err := guard.Issue(t.Context(), httpkey.Token{})
	if err != nil {
		t.Fatal(err)
	}
	verify := func() error {
		_, err := guard.Verify(t.Context(), created.Secret.Reveal())
		return err
	}
	eventually(t, 5*time.Second, verify)
	b.server.stall(t)
	defer time.AfterFunc(10*time.Second, func() { b.server.resume(t) }).Stop() // for a request beyond its deadline
	var took timings
	each(100, func(int) {
		start := time.Now()
		if err := verify(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the deadline's error", err)
		}
		took.add(time.Since(start))
	})
	b.server.resume(t)
	back := eventually(t, 10*time.Second, verify)
	t.Logf("quote | without a cache: %v | back %v", &took, back.Round(time.Millisecond))
	if took.quantile(1000) > slow {
		t.Errorf("%v, more than %v", &took, slow)
	}
}

// readyStore tells when its feed has begun.
type readyStore struct {
	*sqlstore.Store
	ready chan struct{}
	once  sync.Once
}

func (s *readyStore) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	return s.Store.Changes(ctx, func() {
		ready()
		s.once.Do(func() { close(s.ready) })
	}, changed)
}

// unwritable are the ways in which a database answers, but takes nothing. down makes it so, by
// way of another pool than the site's, and returns what ends that, or nil if nothing does.
var unwritable = []struct {
	name    string
	server  bool
	options string // of the site's data source name
	down    func(t *testing.T, tables *sqlTables, aside *sql.DB) (up func())
}{
	{"read-only server", true, "", func(t *testing.T, tables *sqlTables, aside *sql.DB) func() {
		tables.must(t, aside, tables.readOnly)
		up := func() { tables.must(t, aside, tables.readWrite) }
		t.Cleanup(up) // also after a failure, since other tests must write
		return up
	}},
	{"locked by another writer", false, "", func(t *testing.T, tables *sqlTables, aside *sql.DB) func() {
		tx, err := aside.Begin()
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = tx.Rollback() }
	}},
	{"read-only file", false, "&mode=ro", func(*testing.T, *sqlTables, *sql.DB) func() { return nil }},
}

// Where nothing can be written, as on a replica or with a full disk, keys are known as before,
// those too that no cache has. Each process limits by itself, and last_used is written when it can be.
func testUnwritable(t *testing.T, b *sqlBackend) {
	for _, u := range unwritable {
		if u.server != (b.driver != "sqlite") {
			continue
		}
		t.Run(u.name, func(t *testing.T) {
			tables := b.newTables(t)
			aside := tables.open(t)
			store, ttl := sqlstore.New(aside, tables.dialect, nil), cachestore.Options{TTL: 500 * time.Millisecond}
			holders := newSiteOn(t, store, httpkey.Unlimited, cachestore.Options{}, unhurried).issue(t, 20, slowly)
			db := tables.asUser(t).open(t, b.outage, u.options)
			s := newSiteOn(t, sqlstore.New(db, tables.dialect, nil), sqlstore.NewLimiter(db, tables.dialect), ttl, budget)
			const cached = 10 // the cache knows these
			for _, h := range holders[:cached] {
				s.enter(t, h.key)
			}
			begin, up := time.Now(), u.down(t, tables, aside)
			eventually(t, 10*time.Second, func() error { // PostgreSQL's processes hear of it in their own time
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				defer cancel()
				if _, err := db.ExecContext(ctx, tables.named("UPDATE httpkey_tokens SET label = label")); err == nil {
					return errors.New("it can be written")
				}
				return nil
			})
			var (
				known, unknown timings
				timedOut       atomic.Int64
			)
			ask := func(took *timings, key string, want int) {
				start := time.Now()
				status := s.get(key)
				waited := time.Since(start)
				took.add(waited)
				switch {
				case status == http.StatusServiceUnavailable && waited >= budget: // the machine is busy
					timedOut.Add(1)
				case status != want:
					t.Errorf("answered %d after %v, want %d", status, waited, want)
				}
			}
			madeUpKey := madeUpKeySource()
			s.load(t, len(holders), 2*time.Second, func(i int) {
				if i < cached {
					known.add(s.expect(t, holders[i].key, http.StatusOK))
				} else {
					ask(&known, holders[i].key, http.StatusOK)
				}
				ask(&unknown, madeUpKey(), http.StatusUnauthorized)
			})
			if n, all := int(timedOut.Load()), len(known.all)+len(unknown.all); n > all/40 {
				t.Errorf("%d of %d requests were not answered in time", n, all)
			}
			t.Logf("quote | known %v | unknown %v", &known, &unknown)
			for what, got := range map[string]*timings{"known keys": &known, "unknown keys": &unknown} {
				if got.quantile(1000) > slow {
					t.Errorf("%s: %v, more than %v", what, got, slow)
				}
			}
			limiterDown, limiterUp := s.times(httpkey.EventLimiterDown), s.times(httpkey.EventLimiterUp)
			if limiterDown != 1 || limiterUp > 0 || s.times(cachestore.EventStoreDown) > 0 {
				t.Errorf("told were %v", s.told)
			}
			if up == nil {
				return
			}
			up()
			back := eventually(t, 10*time.Second, func() error {
				for _, h := range holders {
					got, err := store.Get(t.Context(), h.id)
					if err != nil || got.LastUsed.Before(begin.Truncate(time.Microsecond)) {
						return fmt.Errorf("last_used is %v, %v", got.LastUsed, err)
					}
				}
				return nil
			})
			limits := back + eventually(t, 10*time.Second, func() error {
				s.get(holders[0].key)
				if s.times(httpkey.EventLimiterUp) == 0 {
					return errors.New("limits do not come from the database again")
				}
				return nil
			})
			t.Logf("quote | last_used is written %v, limits come %v after they can be", back, limits)
			if s.times(httpkey.EventLimiterDown) != 1 || s.times(httpkey.EventLimiterUp) != 1 {
				t.Errorf("told were %v", s.told)
			}
		})
	}
}
