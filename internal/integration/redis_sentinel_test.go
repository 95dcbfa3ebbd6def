package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisSentinel is a master, two replicas and three Sentinels that watch them.
type redisSentinel struct {
	servers   []*redisServer // the master is the first
	sentinels []*redisServer
}

func startRedisSentinel(t testing.TB) *redisSentinel {
	t.Helper()
	master := startRedis(t)
	r := &redisSentinel{servers: []*redisServer{master}}
	for range 2 {
		replica := startRedis(t, fmt.Sprint("replicaof 127.0.0.1 ", master.port), "repl-diskless-sync-delay 0")
		r.servers = append(r.servers, replica)
	}
	for range 3 {
		sentinel := redisProcess(t, []string{
			fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 2", master.port),
			"sentinel down-after-milliseconds main 1000",
			"sentinel failover-timeout main 5000",
		}, "--sentinel")
		sentinel.start()
		r.sentinels = append(r.sentinels, sentinel)
	}
	for _, sentinel := range r.sentinels {
		eventually(t, 20*time.Second, func() error {
			state, err := sentinel.do(t.Context(), "SENTINEL", "MASTER", "main").Result()
			text := fmt.Sprint(state)
			if err == nil && (!strings.Contains(text, "num-slaves:2") || !strings.Contains(text, "num-other-sentinels:2")) {
				err = fmt.Errorf("a Sentinel does not know all: %s", text)
			}
			return err
		})
	}
	for _, replica := range r.servers[1:] {
		eventually(t, 20*time.Second, func() error {
			state, err := replica.do(t.Context(), "INFO", "replication").Text()
			if err == nil && !strings.Contains(state, "master_link_status:up") {
				err = fmt.Errorf("a replica is not in step: %s", state)
			}
			return err
		})
	}
	return r
}

// client returns a client with the other options that package redisstore advises.
func (r *redisSentinel) client(t testing.TB, dial time.Duration) *redis.Client {
	var addresses []string
	for _, sentinel := range r.sentinels {
		addresses = append(addresses, sentinel.address())
	}
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "main", SentinelAddrs: addresses,
		MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: dial, DialerRetries: 1,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}
