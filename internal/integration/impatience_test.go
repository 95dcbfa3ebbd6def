package integration

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// The clients in this file hang up, or do not stop at a 429.

// shared is a store and a limiter behind a proxy that delays their replies, in one pool of
// sqlConnections connections.
type shared struct {
	store   httpkey.TokenStore
	limiter httpkey.Limiter
	proxy   *proxy
}

func sharedSQL(b *sqlBackend) func(t *testing.T) shared {
	return func(t *testing.T) shared {
		tables, p := b.newTables(t), startProxy(t, b.server.address())
		tables.dsn = strings.Replace(tables.dsn, b.server.address(), p.address(), 1)
		db := tables.open(t)
		return shared{sqlstore.New(db, tables.dialect, nil), sqlstore.NewLimiter(db, tables.dialect), p}
	}
}

func sharedRedis(t *testing.T) shared {
	p := startProxy(t, startRedis(t).address())
	client := redis.NewClient(&redis.Options{
		Addr: p.address(), MaxRetries: -1, ContextTimeoutEnabled: true, PoolSize: sqlConnections,
	})
	t.Cleanup(func() { _ = client.Close() })
	return shared{redisstore.New(client, nil), redisstore.NewLimiter(client, nil), p}
}

// eachShared runs a test on each server that a fleet may share.
func eachShared(t *testing.T, test func(*testing.T, shared)) {
	for name, open := range map[string]func(*testing.T) shared{
		"PostgreSQL": func(t *testing.T) shared { return sharedSQL(startPostgreSQL(t, "-c", "fsync=off"))(t) },
		"MariaDB":    func(t *testing.T) shared { return sharedSQL(startMariaDB(t))(t) },
		"Redis":      sharedRedis,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// A client that hangs up costs no connection: the pool opens as many as for patient clients.
func TestHangUpsCostNoConnection(t *testing.T) {
	eachShared(t, func(t *testing.T, s shared) {
		guard := httpkey.New(s.store, s.limiter, &httpkey.Options{Timeout: unhurried})
		t.Cleanup(func() { _ = guard.Close(context.Background()) })
		key := httpkeytest.Issue(t, guard, httpkey.Token{Limits: []httpkey.Limit{slowly}}).Secret.Reveal()
		server := httptest.NewServer(guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		defer server.Close()
		s.proxy.delay.Store(int64(10 * time.Millisecond))
		var hungUp atomic.Int64
		each(sqlConnections, func(int) {
			for range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
				defer cancel()
				r := httpkeytest.Request(http.MethodGet, server.URL, key).WithContext(ctx)
				r.RequestURI = "" // it is a client's
				if response, err := server.Client().Do(r); err != nil {
					hungUp.Add(1)
				} else {
					_ = response.Body.Close()
				}
			}
		})
		server.Close() // waits for the handlers
		opened := s.proxy.opened.Load()
		t.Logf("%d requests were given up; the pool has opened %d connections", hungUp.Load(), opened)
		if hungUp.Load() < 100 || opened > sqlConnections {
			t.Errorf("%d requests were given up, and the pool opened %d connections, want %d at most",
				hungUp.Load(), opened, sqlConnections)
		}
	})
}

// Clients that do not stop at a 429 cause no outage of the limiter, whether under one limit or several.
// The limiter denies their requests from memory, so they cannot overload the server.
func TestThrottledClientsAreNoOutage(t *testing.T) {
	eachShared(t, func(t *testing.T, s shared) {
		site := newSiteOn(t, s.store, s.limiter, cachestore.Options{}, time.Second)
		var greedy []string
		for _, limits := range [][]httpkey.Limit{
			{httpkey.PerHour(1)}, {httpkey.PerDay(1)}, {httpkey.PerHour(1), httpkey.PerDay(1000)},
		} {
			key := httpkeytest.Issue(t, site.Guard, httpkey.Token{Limits: limits}).Secret.Reveal()
			site.enter(t, key)
			site.expect(t, key, http.StatusTooManyRequests)
			greedy = append(greedy, key)
		}
		s.proxy.delay.Store(int64(200 * time.Millisecond)) // the pool now makes 80 calls a second at most
		before, asked, denied := s.proxy.passed.Load(), atomic.Int64{}, atomic.Int64{}
		site.load(t, 200, 3*time.Second, func(i int) {
			asked.Add(1)
			if site.get(greedy[i%len(greedy)]) == http.StatusTooManyRequests {
				denied.Add(1)
			}
		})
		replies := s.proxy.passed.Load() - before
		t.Logf("%d requests, %d denied, took %d replies of the server", asked.Load(), denied.Load(), replies)
		if n := site.times(httpkey.EventLimiterDown); n > 0 || replies > 80 {
			t.Errorf("the limiter went down %d times, and the server answered %d times", n, replies)
		}
	})
}
