package redisstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/storetest"
	"github.com/redis/go-redis/v9"
)

// miniredis keeps real time, but lets no key expire by itself; the module
// internal/integration runs the same suites on real servers.

// newServer returns a server of the test's own.
func newServer(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	return miniredis.RunT(t)
}

// newClient returns a client of server with the options that the package comment names.
func newClient(t *testing.T, server *miniredis.Miniredis) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{
		Addr: server.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: time.Second,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		server := newServer(t)
		return func() httpkey.TokenStore { return redisstore.New(newClient(t, server), nil) }
	})
}

func TestLimiterConforms(t *testing.T) {
	t.Parallel()
	storetest.RunLimiter(t, storetest.LimiterFactory{
		New: func(t *testing.T) func() httpkey.Limiter {
			server := newServer(t)
			return func() httpkey.Limiter { return redisstore.NewLimiter(newClient(t, server), nil) }
		},
		Wait: time.Sleep, // the server's clock is real
	})
}

// inTurn is a limiter that answers one caller after the other.
type inTurn struct {
	mu sync.Mutex
	httpkey.Limiter
}

func (l *inTurn) Allow(ctx context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Limiter.Allow(ctx, key, limit, n)
}

// A process that takes ahead sees by itself what it would see if it did not. Others, and who
// asks while another's question is under way, may be denied what it holds.
func TestLeasesConform(t *testing.T) {
	t.Parallel()
	storetest.RunLimiter(t, storetest.LimiterFactory{
		New: func(t *testing.T) func() httpkey.Limiter {
			one := &inTurn{Limiter: redisstore.NewLimiter(newClient(t, newServer(t)), &redisstore.Options{Lease: time.Minute})}
			return func() httpkey.Limiter { return one }
		},
		Wait: time.Sleep, // the server's clock is real
	})
}

func TestWindowConforms(t *testing.T) {
	t.Parallel()
	storetest.RunLimiter(t, storetest.LimiterFactory{
		New: func(t *testing.T) func() httpkey.Limiter {
			server := newServer(t)
			return func() httpkey.Limiter { return redisstore.NewWindow(newClient(t, server), nil) }
		},
		Wait:   time.Sleep, // the server's clock is real
		Window: true,
	})
}
