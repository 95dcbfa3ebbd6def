package redisstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/storetest"
	"github.com/redis/go-redis/v9"
)

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		server := newServer(t)
		return func() httpkey.TokenStore { return redisstore.New(newClient(t, server), nil) }
	})
}

func TestLimiterConforms(t *testing.T) {
	t.Parallel()
	conforms(t, false, func(rdb redis.Scripter) httpkey.Limiter { return redisstore.NewLimiter(rdb, nil) })
}

func TestLimiterInACrowdConforms(t *testing.T) {
	t.Parallel()
	conforms(t, false, func(rdb redis.Scripter) httpkey.Limiter {
		return redisstore.Crowd(redisstore.NewLimiter(rdb, nil), false)
	})
}

func TestWindowConforms(t *testing.T) {
	t.Parallel()
	conforms(t, true, func(rdb redis.Scripter) httpkey.Limiter { return redisstore.NewWindow(rdb, nil) })
}

func conforms(t *testing.T, isWindow bool, newLimiter func(redis.Scripter) httpkey.Limiter) {
	storetest.RunLimiter(t, storetest.LimiterFactory{
		New: func(t *testing.T) func() httpkey.Limiter {
			server := newServer(t)
			return func() httpkey.Limiter { return newLimiter(newClient(t, server)) }
		},
		Wait:   time.Sleep, // the server's clock is real
		Window: isWindow,
	})
}

// inTurn is a limiter that answers one caller after the other.
type inTurn struct {
	mu sync.Mutex
	httpkey.Limiter
}

func (l *inTurn) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Limiter.Allow(ctx, c)
}

func (l *inTurn) Reset(ctx context.Context, c *httpkey.Charge) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Limiter.(httpkey.Resetter).Reset(ctx, c)
}

// A process that takes ahead sees by itself what it would see if it did not. Others, and a caller
// that asks while another's question is under way, may be denied what it holds.
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
