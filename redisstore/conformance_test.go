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

// eachConforms runs the suite with a limiter whose orders go alone, and with orders that share calls.
func eachConforms(t *testing.T, isWindow bool, newLimiter func(redis.Scripter) httpkey.Limiter) {
	t.Helper()
	t.Parallel()
	for name, crowd := range map[string]func(httpkey.Limiter) httpkey.Limiter{
		"alone":               func(l httpkey.Limiter) httpkey.Limiter { return l },
		"in a crowd":          func(l httpkey.Limiter) httpkey.Limiter { return redisstore.Crowd(l, false) },
		"in a crowd of slots": func(l httpkey.Limiter) httpkey.Limiter { return redisstore.Crowd(l, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.RunLimiter(t, storetest.LimiterFactory{
				New: func(t *testing.T) func() httpkey.Limiter {
					server := newServer(t)
					return func() httpkey.Limiter { return crowd(newLimiter(newClient(t, server))) }
				},
				Wait:   time.Sleep, // the server's clock is real
				Window: isWindow,
			})
		})
	}
}

func TestLimiterConforms(t *testing.T) {
	eachConforms(t, false, func(rdb redis.Scripter) httpkey.Limiter { return redisstore.NewLimiter(rdb, nil) })
}

func TestWindowConforms(t *testing.T) {
	eachConforms(t, true, func(rdb redis.Scripter) httpkey.Limiter { return redisstore.NewWindow(rdb, nil) })
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
