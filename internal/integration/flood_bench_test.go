package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/internal/flood"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
)

const floodTime = 3 * time.Second

// The pool of connections to each server is smaller than that of package flood, so that the
// processors do not bound the load.
const (
	distantConnections = 4
	distantLatency     = 4 * time.Millisecond
)

// floodTarget is a store and a limiter that share a pool of connections.
type floodTarget struct {
	connections   int
	latency       time.Duration
	store         httpkey.TokenStore
	limiter       httpkey.Limiter
	direct        httpkey.TokenStore // the same store by connections of its own
	stall, resume func()
}

// BenchmarkFlood prints what clients with valid keys notice of a flood of made-up keys, with a
// cache and without.
func BenchmarkFlood(b *testing.B) {
	var table strings.Builder
	for _, target := range []struct {
		name  string
		start func(b *testing.B) floodTarget
	}{
		{"`database/sql`, in memory", floodMemory},
		{"PostgreSQL", floodPostgreSQL},
		{"Redis", floodRedis},
	} {
		b.Run(target.name, func(b *testing.B) {
			started := target.start(b)
			capacity := started.capacity(b)
			for _, load := range []float64{0.75, 1.25, 2} {
				for _, isCached := range []bool{false, true} {
					f := started.attack(b, capacity, load, isCached)
					fmt.Fprintf(&table, "| %s, %d × %v | %.2f | %t | %s |\n",
						target.name, started.connections, started.latency, load, isCached, floodRow(&f))
				}
			}
		})
	}
	fmt.Printf("\n%d CPUs, %s; %v each.\n\n", runtime.NumCPU(), runtime.Version(), floodTime)
	fmt.Printf("| connections × time of a call | made-up keys / capacity | cachestore | keys in use | unused keys "+
		"| revoked in 100 ms | made-up keys | store_down | limiter_down | feed_down | goroutines |\n"+
		"|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n%s\n", table.String())
}

// floodRow has the shares of requests and revocations that succeeded, the events, and the
// goroutines beside one for each request.
func floodRow(f *flood.Figures) string {
	percent := func(s flood.Share) string { return fmt.Sprintf("%.0f %%", 100*s.Of()) }
	return fmt.Sprintf("%s | %s | %s | %s | %d | %d | %d | %d",
		percent(f.InUse), percent(f.Unused), percent(f.Revoked), percent(f.MadeUp),
		f.Events[cachestore.EventStoreDown], f.Events[httpkey.EventLimiterDown], f.Events[cachestore.EventFeedDown],
		f.Goroutines)
}

// capacity returns how many keys a second the store looks up with all its connections. That is
// fewer than the latency allows.
func (target *floodTarget) capacity(b *testing.B) int {
	b.Helper()
	var over atomic.Bool
	var looked atomic.Int64
	time.AfterFunc(time.Second, func() { over.Store(true) })
	atOnce(b, target.connections, func(int) error {
		for !over.Load() {
			if _, err := target.store.Lookup(b.Context(), httpkey.Digest{1}); !errors.Is(err, httpkey.ErrNotFound) {
				return err
			}
			looked.Add(1)
		}
		return nil
	})
	return int(looked.Load())
}

// attack attacks a Guard over the target.
func (target *floodTarget) attack(b *testing.B, capacity int, load float64, isCached bool) flood.Figures {
	b.Helper()
	events, store := new(flood.Events), target.store
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	if isCached {
		cache := cachestore.New(store, &cachestore.Options{
			Observers: []httpkey.Observer{events}, MaxUnknown: target.connections})
		running.Go(func() { _ = cache.Run(ctx) })
		store = cache
	}
	guard := httpkey.New(store, target.limiter, &httpkey.Options{Observers: []httpkey.Observer{events}})
	a := flood.Attack{
		Guard:    guard,
		Issuer:   httpkey.New(target.direct, httpkey.Unlimited, nil),
		Events:   events,
		Capacity: capacity,
		Load:     load,
		Time:     floodTime,
		Stall:    target.stall,
		Resume:   target.resume,
	}
	f, err := a.Run(ctx)
	if err != nil {
		b.Fatal(err)
	}
	cancel()
	running.Wait()
	_ = guard.Close(b.Context()) // the uses do not matter
	<-time.After(time.Second)    // the loads end
	return f
}

func floodMemory(b *testing.B) floodTarget {
	pool := flood.OpenPool()
	b.Cleanup(func() { _ = pool.Close() })
	return floodTarget{
		flood.Connections, flood.Latency,
		pool.Store(), pool.Limiter(), pool.Tokens,
		pool.Stall, pool.Resume,
	}
}

func floodPostgreSQL(b *testing.B) floodTarget {
	backend := startPostgreSQL(b)
	tables := backend.newTables(b)
	distant := *tables
	distant.dsn = strings.Replace(tables.dsn, backend.server.address(), distantProxy(b, backend.server.address()), 1)
	pool := distant.open(b)
	pool.SetMaxOpenConns(distantConnections)
	store := func(db *sql.DB) *sqlstore.Store { return sqlstore.New(db, tables.dialect, nil) }
	return floodTarget{
		distantConnections, distantLatency,
		store(pool), sqlstore.NewLimiter(pool, tables.dialect), store(tables.open(b)),
		func() { backend.server.stall(b) }, func() { backend.server.resume(b) },
	}
}

func floodRedis(b *testing.B) floodTarget {
	server := startRedis(b)
	client := redis.NewClient(&redis.Options{
		Addr: distantProxy(b, server.address()), PoolSize: distantConnections, MaxRetries: -1, ContextTimeoutEnabled: true,
		DialTimeout: advisedDial, DialerRetries: 1,
	})
	b.Cleanup(func() { _ = client.Close() })
	return floodTarget{
		distantConnections, distantLatency,
		redisstore.New(client, nil), redisstore.NewLimiter(client, nil), redisstore.New(server.client(b), nil),
		server.stall, server.resume,
	}
}

// distantProxy returns the address of a proxy to a server, through which each call takes
// distantLatency longer.
func distantProxy(b *testing.B, server string) string {
	p := startProxy(b, server)
	p.delay.Store(int64(distantLatency))
	return p.address()
}
