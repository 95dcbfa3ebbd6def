package integration

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// A client that sends many requests at once, all within its limits, causes no outage of the limiter.
// The transactions of its buckets wait for each other, each for some round trips.
func testHotPayer(t *testing.T, b *sqlBackend) {
	t.Parallel()
	if b.server == nil {
		t.Skip("no server")
	}
	tables := *b.newTables(t)
	p := startProxy(t, b.server.address())
	tables.dsn = strings.Replace(tables.dsn, b.server.address(), p.address(), 1)
	p.delay.Store(int64(10 * time.Millisecond))
	var down, fallbacks, hot, calm atomic.Int64
	guard := httpkey.New(memstore.New(), sqlstore.NewLimiter(tables.open(t), tables.dialect), &httpkey.Options{
		Timeout: time.Second,
		Observers: []httpkey.Observer{observerFunc(func(_ context.Context, e *httpkey.Event) {
			if e.Type == httpkey.EventLimiterDown {
				down.Add(1)
				t.Log(e.Err)
			}
		})},
		Fallback: limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
			if c.Limits[0].Name == "calm" {
				fallbacks.Add(1)
			}
			return httpkey.Result{Allowed: true}, nil
		}),
	})
	handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	send := func(key string, until time.Time, sent *atomic.Int64) {
		for time.Now().Before(until) {
			if w := httpkeytest.Get(handler, key); w.Code != http.StatusOK {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			sent.Add(1)
		}
	}
	issue := func(limits ...httpkey.Limit) string {
		return httpkeytest.Issue(t, guard, httpkey.Token{Limits: limits}).Secret.Reveal()
	}
	key, until := issue(httpkey.PerHour(1_000_000), httpkey.PerMonth(10_000_000)), time.Now().Add(3*time.Second)
	var callers sync.WaitGroup
	for range 200 {
		callers.Go(func() { send(key, until, &hot) })
	}
	for range 4 {
		callers.Go(func() { send(issue(httpkey.Limit{Name: "calm", Rate: 1_000_000, Period: time.Hour}), until, &calm) })
	}
	callers.Wait()
	t.Logf("%d requests of the hot client, %d of others", hot.Load(), calm.Load())
	if down.Load() > 0 || fallbacks.Load() > 0 || calm.Load() == 0 {
		t.Errorf("the limiter was down %d times, and did not decide on %d of %d requests of others",
			down.Load(), fallbacks.Load(), calm.Load())
	}
}

// Waves of requests of one client get no more than its limit, however slow the database is.
func testWaves(t *testing.T, b *sqlBackend) {
	t.Parallel()
	if b.server == nil {
		t.Skip("no server")
	}
	tables := *b.newTables(t)
	p := startProxy(t, b.server.address())
	tables.dsn = strings.Replace(tables.dsn, b.server.address(), p.address(), 1)
	p.delay.Store(int64(10 * time.Millisecond))
	guard := httpkey.New(memstore.New(), sqlstore.NewLimiter(tables.open(t), tables.dialect), &httpkey.Options{
		Timeout: unhurried,
	})
	handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	day := httpkey.Limit{Rate: 60, Period: 24 * time.Hour}
	for _, limits := range [][]httpkey.Limit{{day}, {day, httpkey.PerHour(500)}} {
		key := httpkeytest.Issue(t, guard, httpkey.Token{Limits: limits}).Secret.Reveal()
		var admitted, denied atomic.Int64
		for range 3 {
			var callers sync.WaitGroup
			for range 200 {
				callers.Go(func() {
					switch w := httpkeytest.Get(handler, key); w.Code {
					case http.StatusOK:
						admitted.Add(1)
					case http.StatusTooManyRequests:
						denied.Add(1)
					default:
						t.Errorf("status %d: %s", w.Code, w.Body)
					}
				})
			}
			callers.Wait()
		}
		if admitted.Load() != 60 || denied.Load() != 540 {
			t.Errorf("under %d limits %d were admitted and %d denied, want 60 and 540",
				len(limits), admitted.Load(), denied.Load())
		}
	}
}

type observerFunc func(context.Context, *httpkey.Event)

func (f observerFunc) Observe(ctx context.Context, e *httpkey.Event) { f(ctx, e) }

type limiterFunc func(context.Context, *httpkey.Charge) (httpkey.Result, error)

func (f limiterFunc) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return f(ctx, c)
}
