package integration

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// charged is what happened to the charges of one payer.
type charged struct{ admitted, unknown atomic.Int64 }

// used returns what a payer has used of a limit.
func used(t *testing.T, rdb redis.Scripter, l newLimiter, payer string, limit httpkey.Limit) int64 {
	t.Helper()
	var r httpkey.Result
	eventually(t, 10*time.Second, func() (err error) {
		r, err = l(rdb, nil).Allow(t.Context(), of(payer, 0, limit))
		return err
	})
	return int64(limit.Rate - r.Remaining)
}

// slowest refills once an hour, so that a bucket shows what was taken from it.
var slowest = httpkey.Limit{Rate: 10_000, Period: 10_000 * time.Hour}

// Of 200 callers at once, as many pass as the limit says.
func TestRedisCallersAtOnceAreExact(t *testing.T) {
	t.Parallel()
	const callers, limit = 200, 60
	ring := redis.NewRing(&redis.RingOptions{
		Addrs: map[string]string{"one": startRedis(t).address(), "two": startRedis(t).address()}, MaxRetries: -1,
	})
	t.Cleanup(func() { _ = ring.Close() })
	standalone := startRedis(t).client(t)
	for name, rdb := range map[string]redis.Scripter{
		"standalone": standalone, "cluster": startRedisCluster(t).client(t, patientDial), "ring": ring,
		"another type": struct{ redis.Scripter }{standalone},
	} {
		for _, l := range redisLimiters {
			t.Run(name+"/"+l.name, func(t *testing.T) {
				limiter, admitted := l.new(rdb, &redisstore.Options{Prefix: name + ":"}), atomic.Int64{}
				each(callers, func(i int) {
					r, err := limiter.Allow(t.Context(), of("key", 1, httpkey.PerHour(limit)))
					if err != nil {
						t.Errorf("caller %d: %v", i, err)
					}
					if r.Allowed {
						admitted.Add(1)
					}
				})
				if n := admitted.Load(); n != limit {
					t.Errorf("%d of %d callers were admitted, want %d", n, callers, limit)
				}
			})
		}
	}
}

// A server that stalls while calls are shared charges nobody twice. Each caller gets its own
// answer or its own error, in its own time, and nothing stays behind.
func TestRedisStallsInACrowd(t *testing.T) {
	const callers, payers, rounds = 64, 8, 5
	for _, l := range redisLimiters {
		t.Run(l.name, func(t *testing.T) {
			server := startRedis(t)
			client := server.client(t)
			limiter := l.new(client, nil)
			if _, err := limiter.Allow(t.Context(), of("first", 1, slowest)); err != nil {
				t.Fatal(err)
			}
			before := runtime.NumGoroutine()
			var all [payers]charged
			over, end := context.WithCancel(t.Context())
			var group sync.WaitGroup
			for i := range callers {
				group.Go(func() {
					for over.Err() == nil {
						payer := i % payers
						ctx, cancel := context.WithTimeout(t.Context(), budget+time.Duration(i)*time.Millisecond)
						start := time.Now()
						r, err := limiter.Allow(ctx, of(fmt.Sprint("payer ", payer), 1, slowest))
						took, own := time.Since(start), ctx.Err()
						cancel()
						switch {
						case err == nil && r.Allowed:
							all[payer].admitted.Add(1)
							continue
						case err == nil:
							t.Errorf("denied: %+v", r)
							return
						case errors.Is(err, context.DeadlineExceeded) && own == nil && i == 0:
							t.Errorf("another caller's deadline is an error after %v: %v", took, err)
						}
						all[payer].unknown.Add(1)
						if took > slow {
							t.Errorf("a caller waited for %v", took)
						}
					}
				})
			}
			for range rounds {
				<-time.After(20 * time.Millisecond) // of load
				server.stall()
				<-time.After(2 * budget)
				server.resume()
			}
			end()
			group.Wait()
			for i := range all {
				admitted, unknown := all[i].admitted.Load(), all[i].unknown.Load()
				got := used(t, client, l.new, fmt.Sprint("payer ", i), slowest)
				t.Logf("payer %d: %d admitted, %d unknown, %d charged", i, admitted, unknown, got)
				if got < admitted || got > admitted+unknown || unknown == 0 {
					t.Errorf("payer %d: %d admitted, %d unknown, %d charged", i, admitted, unknown, got)
				}
			}
			eventually(t, 5*time.Second, func() error {
				if n := runtime.NumGoroutine(); n > before+5 {
					return fmt.Errorf("%d goroutines, %d before", n, before)
				}
				return nil
			})
		})
	}
}

// A server that forgets its scripts under load answers everybody, and charges each once.
func TestRedisForgetsScriptsOfACluster(t *testing.T) {
	t.Parallel()
	cluster := startRedisCluster(t)
	client := cluster.client(t, patientDial)
	exact(t, client, redisLimiters[0].new, func(context.Context) {
		for _, node := range cluster.nodes[:3] {
			node.must("SCRIPT", "FLUSH")
		}
	})
}

// Slots that move between servers under load move with their buckets: each caller gets an
// answer, and is charged once.
func TestRedisReshardsUnderLoad(t *testing.T) {
	t.Parallel()
	for _, l := range redisLimiters {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			cluster := startRedisCluster(t)
			client := cluster.client(t, patientDial)
			i := 0
			exact(t, client, l.new, func(ctx context.Context) {
				slot := client.ClusterKeySlot(ctx, fmt.Sprintf("{payer %d}", i%payersOfExact)).Val()
				cluster.move(t, slot, cluster.nodes[(i/payersOfExact)%3])
				i++
			})
			if i < 3*payersOfExact {
				t.Logf("only %d slots were moved", i)
			}
		})
	}
}

const payersOfExact = 16

// exact charges from many callers while disturb runs again and again. All must be admitted, and
// charged once.
func exact(t *testing.T, rdb redis.Scripter, l newLimiter, disturb func(context.Context)) {
	t.Helper()
	const callers, most = 64, 20_000
	limiter := l(rdb, nil)
	var admitted [payersOfExact]atomic.Int64
	var disturbances, n atomic.Int64
	var group sync.WaitGroup
	over, end := context.WithCancel(t.Context())
	for i := range callers {
		group.Go(func() {
			for over.Err() == nil && n.Add(1) < most {
				payer := i % payersOfExact
				r, err := limiter.Allow(t.Context(), of(fmt.Sprint("payer ", payer), 1, slowest))
				if err != nil || !r.Allowed {
					t.Errorf("payer %d: %+v, %v", payer, r, err)
					return
				}
				admitted[payer].Add(1)
			}
		})
	}
	for disturbances.Load() < 3*payersOfExact && !t.Failed() {
		disturb(t.Context())
		disturbances.Add(1)
	}
	end()
	group.Wait()
	total := int64(0)
	for i := range admitted {
		want := admitted[i].Load()
		total += want
		if got := used(t, rdb, l, fmt.Sprint("payer ", i), slowest); got != want {
			t.Errorf("payer %d was charged %d times, want %d", i, got, want)
		}
	}
	t.Logf("%d charges in %d disturbances", total, disturbances.Load())
	if total < 1000 {
		t.Errorf("%d charges show little", total)
	}
}

// move moves a slot with its keys to another server, as redis-cli --cluster reshard does.
func (c *redisCluster) move(t *testing.T, slot int64, to *redisServer) {
	t.Helper()
	ctx := t.Context()
	id := func(s *redisServer) string { return s.do(ctx, "CLUSTER", "MYID").Val().(string) }
	var from *redisServer
	for _, node := range c.nodes[:3] {
		nodes, err := node.do(ctx, "CLUSTER", "SLOTS").Slice()
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range nodes {
			part := entry.([]any)
			if first, last := part[0].(int64), part[1].(int64); slot < first || slot > last {
				continue
			}
			if part[2].([]any)[1].(int64) == int64(node.port) {
				from = node
			}
		}
	}
	if from == nil || from == to {
		return
	}
	to.must("CLUSTER", "SETSLOT", slot, "IMPORTING", id(from))
	from.must("CLUSTER", "SETSLOT", slot, "MIGRATING", id(to))
	for {
		keys, err := from.do(ctx, "CLUSTER", "GETKEYSINSLOT", slot, 100).StringSlice()
		if err != nil {
			t.Fatal(err)
		}
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			from.must("MIGRATE", "127.0.0.1", to.port, key, 0, 5000)
		}
	}
	for _, node := range []*redisServer{to, from} {
		if err := node.do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", id(to)).Err(); err != nil &&
			!strings.Contains(err.Error(), "Slot") {
			t.Fatal(err)
		}
	}
}
