package integration

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/storetest"
	"github.com/httpkey/httpkey/usage"
	"github.com/redis/go-redis/v9"
)

func TestRedisStandaloneConforms(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	conforms(t, func(t *testing.T) redis.UniversalClient { return server.client(t) })
}

func TestRedisClusterConforms(t *testing.T) {
	t.Parallel()
	cluster := startRedisCluster(t)
	conforms(t, func(t *testing.T) redis.UniversalClient { return cluster.client(t, patientDial) })
}

func TestRedisSentinelConforms(t *testing.T) {
	t.Parallel()
	sentinel := startRedisSentinel(t)
	conforms(t, func(t *testing.T) redis.UniversalClient { return sentinel.client(t, patientDial) })
}

var prefixes atomic.Int64

// emptied returns options under which a server is as good as empty.
func emptied() *redisstore.Options {
	return &redisstore.Options{Prefix: fmt.Sprintf("test%d:", prefixes.Add(1))}
}

// conforms runs every suite on the servers of a client.
func conforms(t *testing.T, connect func(*testing.T) redis.UniversalClient) {
	t.Run("Store", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) func() httpkey.TokenStore {
			opts := emptied()
			return func() httpkey.TokenStore { return redisstore.New(connect(t), opts) }
		})
	})
	for name, askAlways := range map[string]bool{"": false, "AskAlways": true} {
		t.Run("Limiter"+name, func(t *testing.T) {
			limiterConforms(t, false, func(t *testing.T, opts *redisstore.Options) httpkey.Limiter {
				opts.AskAlways = askAlways
				return redisstore.NewLimiter(connect(t), opts)
			})
		})
		t.Run("Window"+name, func(t *testing.T) {
			limiterConforms(t, true, func(t *testing.T, opts *redisstore.Options) httpkey.Limiter {
				opts.AskAlways = askAlways
				return redisstore.NewWindow(connect(t), opts)
			})
		})
	}
	t.Run("Usage", func(t *testing.T) {
		storetest.RunUsage(t, func(t *testing.T) func() usage.Store {
			opts := emptied()
			return func() usage.Store { return redisstore.NewUsage(connect(t), opts) }
		})
	})
	t.Run("AutoPipeline", func(t *testing.T) {
		limiterConforms(t, false, func(t *testing.T, opts *redisstore.Options) httpkey.Limiter {
			return redisstore.NewLimiter(pipelined(t, connect(t)), opts)
		})
	})
}

func limiterConforms(t *testing.T, window bool, open func(*testing.T, *redisstore.Options) httpkey.Limiter) {
	storetest.RunLimiter(t, storetest.LimiterFactory{
		New: func(t *testing.T) func() httpkey.Limiter {
			opts := emptied()
			return func() httpkey.Limiter { return open(t, opts) }
		},
		Wait:   time.Sleep, // the server's clock is real
		Window: window,
	})
}

// pipelined returns the client's AutoPipeliner.
func pipelined(t *testing.T, client redis.UniversalClient) redis.Scripter {
	t.Helper()
	pipeliner, err := client.(interface {
		AutoPipeline() (*redis.AutoPipeliner, error)
	}).AutoPipeline()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pipeliner.Close() })
	return pipeliner
}

// A Ring is for limits only: see New of redisstore.
func TestRedisRingLimitersConform(t *testing.T) {
	t.Parallel()
	addresses := map[string]string{"one": startRedis(t).address(), "two": startRedis(t).address()}
	connect := func(t *testing.T) redis.UniversalClient {
		ring := redis.NewRing(&redis.RingOptions{Addrs: addresses, MaxRetries: -1, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = ring.Close() })
		return ring
	}
	for i, l := range redisLimiters {
		t.Run(l.name, func(t *testing.T) {
			limiterConforms(t, i == 1, func(t *testing.T, opts *redisstore.Options) httpkey.Limiter {
				return l.new(connect(t), opts)
			})
		})
	}
}
