package integration

import (
	"context"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// With the options that the package comment of redisstore names, a master that dies
// is missed for as long as its Cluster or its Sentinels need to replace it.
func TestRedisFailover(t *testing.T) {
	t.Parallel()
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		cluster := startRedisCluster(t)
		client := cluster.client(t, advisedDial)
		survives(t, client, 10*time.Second, func(key string) {
			master := cluster.master(t, client, key)
			// An acknowledged write is lost with a master that has not replicated it yet.
			connection := master.client(t).Conn()
			defer func() { _ = connection.Close() }()
			if err := connection.Set(t.Context(), key, 1, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if n, err := connection.Wait(t.Context(), 1, 20*time.Second).Result(); n < 1 {
				t.Fatalf("the master has no replica: %d, %v", n, err)
			}
			master.end()
		})
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		sentinel := startRedisSentinel(t)
		survives(t, sentinel.client(t, advisedDial), 5*time.Second, func(string) { sentinel.servers[0].end() })
	})
}

// survives checks that store and limiters work again within a time after the server of a key was killed.
func survives(t *testing.T, client redis.UniversalClient, limit time.Duration, kill func(key string)) {
	t.Helper()
	store := redisstore.New(client, nil)
	token := feedToken(1)
	if _, err := store.Create(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	// All that is asked for below is in the slot of this tag.
	const key = "tokens"
	ask := map[string]func(context.Context) error{
		"Lookup": func(ctx context.Context) error {
			_, err := store.Lookup(ctx, token.Digest)
			return err
		},
		"Update": func(ctx context.Context) error { return relabel(ctx, store, token.ID) },
	}
	for _, l := range redisLimiters {
		limiter := l.new(client, nil)
		ask[l.name] = func(ctx context.Context) error {
			_, err := limiter.Allow(ctx, of(key, 1, httpkey.PerMinute(1000)))
			return err
		}
	}
	for what, call := range ask {
		if err := call(t.Context()); err != nil {
			t.Fatal(what, err)
		}
	}
	// An acknowledged write is lost if its master dies before it is replicated.
	if client, ok := client.(*redis.Client); ok {
		client.Wait(t.Context(), 1, time.Second)
	}
	kill("{" + key + "}")
	start := time.Now()
	for what, call := range ask {
		eventually(t, limit-time.Since(start), func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			return call(ctx)
		})
		t.Logf("%s works %v after the master's death", what, time.Since(start).Round(time.Millisecond))
	}
}
