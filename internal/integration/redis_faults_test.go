package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

type newLimiter func(redis.Scripter, *redisstore.Options) httpkey.Limiter

// redisLimiters are both limiters, and where they keep a bucket.
var redisLimiters = []struct {
	name   string
	new    newLimiter
	bucket string // of "key" and perHour
}{
	{"Limiter", func(rdb redis.Scripter, o *redisstore.Options) httpkey.Limiter { return redisstore.NewLimiter(rdb, o) },
		"rate:httpkey:{key}::3600000000"},
	{"Window", func(rdb redis.Scripter, o *redisstore.Options) httpkey.Limiter { return redisstore.NewWindow(rdb, o) },
		"httpkey:window:{key}::3600000000"},
}

var perHour = httpkey.PerHour(5)

// A bucket that holds what no request put there is an error about that bucket, never a
// panic, and never lets in for ever.
func TestRedisDamagedBuckets(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	now := time.Now().UnixMicro()
	for _, l := range redisLimiters {
		for name, damage := range map[string][]any{
			"text":                {"SET", l.bucket, "damaged"},
			"nothing":             {"SET", l.bucket, ""},
			"not a number":        {"SET", l.bucket, "nan"},
			"minus not a number":  {"SET", l.bucket, "-nan"},
			"infinity":            {"SET", l.bucket, "inf"},
			"a hash":              {"HSET", l.bucket, "a", "b"},
			"one entry":           {"RPUSH", l.bucket, "1"},
			"two entries":         {"RPUSH", l.bucket, "0", now},
			"entries of text":     {"RPUSH", l.bucket, "0", now, "x"},
			"moments of text":     {"RPUSH", l.bucket, "0", "x", "1"},
			"moments without end": {"RPUSH", l.bucket, "0", "inf", "1"},
			"no moments":          {"RPUSH", l.bucket, "0", "nan", "1"},
			"a debt":              {"RPUSH", l.bucket, "1000", now, "1"},
			"no count":            {"RPUSH", l.bucket, "0", now, "nan"},
		} {
			t.Run(l.name+"/"+name, func(t *testing.T) {
				limiter := l.new(server.client(t), nil)
				for _, n := range []int{1, 5, 0} {
					server.must("DEL", l.bucket)
					server.must(damage...)
					r, err := limiter.Allow(t.Context(), of("key", n, perHour))
					if !errors.Is(err, gcra.ErrDamaged) || r.Allowed || r.Limit != (httpkey.Limit{}) {
						t.Errorf("asking for %d: %+v and the error %v", n, r, err)
					}
				}
			})
		}
		t.Run(l.name+"/mended", func(t *testing.T) {
			server.must("DEL", l.bucket)
			if r, err := l.new(server.client(t), nil).Allow(t.Context(), of("key", 1, perHour)); err != nil || r.Remaining != 4 {
				t.Errorf("after the bucket was deleted: %+v, %v", r, err)
			}
		})
	}
}

// A bucket that lies too far ahead of the server's clock, as after that was set back, is
// empty as of now: a client waits for one window at most.
func TestRedisBucketsFarAhead(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	limit := httpkey.Limit{Rate: 5, Period: time.Second}
	now := time.Now().UnixMicro()
	for i, tt := range []struct {
		name  string
		state []any
	}{
		{"2286", []any{"SET", "rate:httpkey:{key}::1000000", "9999999999"}},
		{"three seconds", []any{"SET", "rate:httpkey:{key}::1000000", float64(now)/1e6 - 1483228800 + 600}},
		{"the next day", []any{"RPUSH", "httpkey:window:{key}::1000000", "0", now + 86_400_000_000, "5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			limiter := redisLimiters[i/2].new(server.client(t), nil)
			server.must("DEL", tt.state[1])
			server.must(tt.state...)
			start := time.Now()
			r, err := limiter.Allow(t.Context(), of("key", 1, limit))
			if err != nil || r.Allowed || r.ResetAfter > time.Second || r.RetryAfter <= 0 || r.RetryAfter > time.Second {
				t.Fatalf("%+v, %v", r, err)
			}
			took := eventually(t, slow, func() error {
				if r, err := limiter.Allow(t.Context(), of("key", 1, limit)); err != nil || !r.Allowed {
					return fmt.Errorf("%+v, %w", r, err)
				}
				return nil
			})
			if early := r.RetryAfter - time.Since(start); early > 0 {
				t.Errorf("it passed after %v, %v early", took, early)
			}
		})
	}
}

// A server that refuses a command makes every call return an error at once.
func TestRedisRefusals(t *testing.T) {
	t.Parallel()
	master := startRedis(t)
	for _, tt := range []struct {
		name, says string
		server     func(*testing.T) *redisServer
	}{
		{"read-only replica", "READONLY", func(t *testing.T) *redisServer {
			return startRedis(t, fmt.Sprint("replicaof 127.0.0.1 ", master.port), "repl-diskless-sync-delay 0")
		}},
		{"no memory", "OOM", func(t *testing.T) *redisServer {
			return startRedis(t, "maxmemory 1", "maxmemory-policy noeviction")
		}},
		{"no password", "auth", func(t *testing.T) *redisServer { return startRedis(t, "requirepass secret") }},
		{"loading", "LOADING", loadingRedis},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := tt.server(t)
			client := server.client(t)
			check := func(what string, err error) {
				t.Helper()
				// Redis closes a connection that is not authenticated when it sends more than ten arguments.
				if tt.says == "auth" && errors.Is(err, io.EOF) {
					return
				}
				if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.says)) {
					t.Errorf("%s: the error %v, want one that says %s", what, err, tt.says)
				}
			}
			for _, l := range redisLimiters {
				limiter := l.new(client, nil)
				start := time.Now()
				r, err := limiter.Allow(t.Context(), of("key", 1, perHour))
				check(l.name, err)
				if r.Allowed || r.Limit != (httpkey.Limit{}) {
					t.Errorf("%s: %+v beside the error", l.name, r)
				}
				if took := time.Since(start); took > slow {
					t.Errorf("%s took %v", l.name, took)
				}
			}
			store := redisstore.New(client, nil)
			check("Create", create(t.Context(), store, httpkey.Token{ID: "id", Kind: httpkey.APIKey}))
			store = redisstore.New(server.client(t), nil)
			if _, err := store.Lookup(t.Context(), httpkey.Digest{}); tt.says == "auth" || tt.says == "LOADING" {
				check("Lookup", err)
			}
		})
	}
}

// A user with the ACL that README.md shows may do all that is asked of Redis, and nothing beside it.
func TestRedisACL(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../redisstore/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "An ACL needs")
	quoted := strings.Split(text, "`")
	rules, onCluster := strings.Fields(quoted[1]), strings.Fields(quoted[3])
	allow := func(server *redisServer, rules ...string) {
		setUser := []any{"ACL", "SETUSER", "app", "on", ">secret"}
		for _, rule := range rules {
			setUser = append(setUser, rule)
		}
		server.must(setUser...)
	}
	// Redis 6.2 and KeyDB allow a new user all channels, and refuse a pattern.
	standalone, cluster := startRedis(t, "acl-pubsub-default allchannels"), startRedisCluster(t)
	allow(standalone, rules...)
	for _, node := range cluster.nodes {
		allow(node, append(rules, onCluster...)...)
	}
	for name, address := range map[string][]string{"standalone": {standalone.address()}, "cluster": cluster.addresses()} {
		t.Run(name, func(t *testing.T) {
			client := redis.NewUniversalClient(&redis.UniversalOptions{
				Addrs: address, Username: "app", Password: "secret", MaxRetries: -1,
			})
			t.Cleanup(func() { _ = client.Close() })
			doAll(t, client)
			for _, command := range [][]any{{"GET", "another"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"KEYS", "*"}} {
				if err := client.Do(t.Context(), command...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
					t.Errorf("%v: %v", command, err)
				}
			}
			if err := client.Publish(t.Context(), "another", "").Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
				t.Errorf("PUBLISH to another channel: %v", err)
			}
		})
	}
}

// doAll calls all that there is.
func doAll(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	store, token, ctx := redisstore.New(client, nil), feedToken(1), t.Context()
	f := listen(t, store)
	next(t, f.ready)
	if err := create(ctx, store, token); err != nil {
		t.Fatal(err)
	}
	next(t, f.changed)
	_, lookup := store.Lookup(ctx, token.Digest)
	_, get := store.Get(ctx, token.ID)
	_, list := store.List(ctx, httpkey.Filter{})
	for what, err := range map[string]error{
		"Lookup": lookup, "Get": get, "List": list, "Update": relabel(ctx, store, token.ID),
		"Touch": store.Touch(ctx, map[string]time.Time{token.ID: time.Now()}), "Delete": store.Delete(ctx, token.ID),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, l := range redisLimiters {
		limiter, soon := l.new(client, &redisstore.Options{AskAlways: true}), httpkey.Limit{Rate: 1, Period: time.Microsecond}
		for _, n := range []int{1, 1, 0} {
			if _, err := limiter.Allow(ctx, of("key", n, soon)); err != nil {
				t.Errorf("%s, asked for %d: %v", l.name, n, err)
			}
		}
	}
}

// loadingRedis returns a server that takes some ten seconds to read its data.
func loadingRedis(t *testing.T) *redisServer {
	server := redisProcess(t, []string{"appendonly no", "loading-process-events-interval-bytes 1024"})
	server.start()
	eventually(t, 10*time.Second, server.ping)
	server.must("EVAL", "for i = 1, 10000 do redis.call('SET', i, string.rep('x', 100)) end", 0)
	server.must("SAVE")
	server.end()
	server.args = append(server.args, "--key-load-delay", "1000") // microseconds
	server.start()
	eventually(t, 10*time.Second, func() error {
		if err := server.ping(); err == nil || !strings.Contains(err.Error(), "LOADING") {
			return fmt.Errorf("not loading, but %v", err)
		}
		return nil
	})
	return server
}

// A script that the server forgets is sent again, and nothing is charged twice or not at all.
func TestRedisForgetsScripts(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	for _, l := range redisLimiters {
		t.Run(l.name, func(t *testing.T) {
			const callers, each = 16, 500
			limit := httpkey.Limit{Rate: callers * each / 2, Period: 24 * time.Hour}
			var admitted atomic.Int64
			done, cancel := context.WithCancel(t.Context())
			var flusher, group sync.WaitGroup
			flusher.Go(func() {
				for done.Err() == nil {
					server.must("SCRIPT", "FLUSH")
				}
			})
			limiter := l.new(server.client(t), &redisstore.Options{AskAlways: true})
			for range callers {
				group.Go(func() {
					for range each {
						r, err := limiter.Allow(t.Context(), of("forgotten", 1, limit))
						if err != nil {
							t.Error(err)
							return
						}
						if r.Allowed {
							admitted.Add(1)
						}
					}
				})
			}
			group.Wait()
			cancel()
			flusher.Wait()
			if got := admitted.Load(); got != callers*each/2 {
				t.Errorf("admitted %d, want %d", got, callers*each/2)
			}
		})
	}
}

// A server that does not answer costs what the context gives, and no request is
// charged more than once when it goes on.
func TestRedisStalls(t *testing.T) {
	t.Parallel()
	const callers = 20
	for _, warm := range []bool{true, false} {
		t.Run(fmt.Sprint("warm ", warm), func(t *testing.T) {
			server := startRedis(t)
			client := server.client(t)
			store := redisstore.New(client, nil)
			if warm {
				for range callers {
					if err := client.Ping(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			server.stall()
			var group sync.WaitGroup
			for range callers {
				group.Go(func() {
					for _, l := range redisLimiters {
						within(t, budget, l.name, func(ctx context.Context) error {
							_, err := l.new(client, nil).Allow(ctx, of("key", 1, perHour))
							return err
						})
					}
					within(t, budget, "Lookup", func(ctx context.Context) error {
						_, err := store.Lookup(ctx, httpkey.Digest{1})
						return err
					})
				})
			}
			group.Wait()
			server.resume()
			for _, l := range redisLimiters {
				limiter := l.new(client, nil)
				var r httpkey.Result
				took := eventually(t, 2*time.Second, func() (err error) {
					r, err = limiter.Allow(t.Context(), of("another", 1, perHour))
					return err
				})
				t.Logf("%s: the first success came %v after the server went on: %+v", l.name, took, r)
			}
		})
	}
}

// within checks that ask fails when its budget is over, and not long after.
func within(t *testing.T, budget time.Duration, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	start := time.Now()
	err := ask(ctx)
	if took := time.Since(start); took > slow {
		t.Errorf("%s took %v", what, took)
	}
	if err == nil || errors.Is(err, httpkey.ErrNotFound) {
		t.Errorf("%s of a server that does not answer returned the error %v", what, err)
	}
}

// A charge that was sent to a server that stalled is made at most once when it goes on.
func TestRedisChargesOnce(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	for _, l := range redisLimiters {
		t.Run(l.name, func(t *testing.T) {
			limiter := l.new(server.client(t), nil)
			if _, err := limiter.Allow(t.Context(), of("once", 0, perHour)); err != nil {
				t.Fatal(err)
			}
			server.stall()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if r, err := limiter.Allow(ctx, of("once", 1, perHour)); err == nil {
				t.Fatalf("a server that stalls answered %+v", r)
			}
			server.resume()
			r, err := limiter.Allow(t.Context(), of("once", 0, perHour))
			if err != nil || r.Remaining < 4 {
				t.Errorf("one request was charged %d times: %+v, %v", 5-r.Remaining, r, err)
			}
		})
	}
}
