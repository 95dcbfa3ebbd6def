package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

func feedToken(n byte) httpkey.Token {
	return httpkey.Token{
		ID: fmt.Sprintf("token-%d", n), Digest: httpkey.Digest{n}, Kind: httpkey.APIKey,
		IsActive: true, CreatedAt: time.Now(),
	}
}

// create puts a token into a store.
func create(ctx context.Context, store *redisstore.Store, token httpkey.Token) error {
	_, err := store.Create(ctx, token)
	return err
}

// relabel changes a token.
func relabel(ctx context.Context, store *redisstore.Store, id string) error {
	_, err := store.Update(ctx, id, func(t *httpkey.Token) error {
		t.Label += "'"
		return nil
	})
	return err
}

// feed runs Changes until it ends.
type feed struct {
	ready   chan struct{}
	changed chan httpkey.Digest
	ended   chan error
	cancel  context.CancelFunc
}

func listen(t *testing.T, store *redisstore.Store) *feed {
	ctx, cancel := context.WithCancel(t.Context())
	f := &feed{make(chan struct{}, 1), make(chan httpkey.Digest, 10_000), make(chan error, 1), cancel}
	go func() {
		f.ended <- store.Changes(ctx, func() { f.ready <- struct{}{} }, func(d httpkey.Digest) { f.changed <- d })
	}()
	return f
}

// next returns the next value of c, or ends the test.
func next[T any](t *testing.T, c chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("no %T came", v)
	}
	return v
}

// The feed of one client tells what another changes, and nothing of a Touch.
func TestRedisChangesAreTold(t *testing.T) {
	t.Parallel()
	standalone, cluster, sentinel := startRedis(t), startRedisCluster(t), startRedisSentinel(t)
	for name, connect := range map[string]func() redis.UniversalClient{
		"standalone": func() redis.UniversalClient { return standalone.client(t) },
		"cluster":    func() redis.UniversalClient { return cluster.client(t, patientDial) },
		"sentinel":   func() redis.UniversalClient { return sentinel.client(t, patientDial) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := redisstore.New(connect(), nil)
			f := listen(t, redisstore.New(connect(), nil))
			next(t, f.ready)
			token, ctx := feedToken(1), t.Context()
			for what, change := range map[string]func() error{
				"create": func() error { return errors.Join(store.Delete(ctx, token.ID), create(ctx, store, token)) },
				"update": func() error {
					_ = create(ctx, store, token)
					return relabel(ctx, store, token.ID)
				},
				"delete": func() error {
					_ = create(ctx, store, token)
					return store.Delete(ctx, token.ID)
				},
			} {
				if err := change(); err != nil {
					t.Fatal(what, err)
				}
				if got := next(t, f.changed); got != token.Digest {
					t.Errorf("%s: another digest was told", what)
				}
				for len(f.changed) > 0 {
					<-f.changed
				}
			}
			latencies := revocations(t, store, f)
			t.Logf("200 changes were told: median %v, p99 %v", latencies[100], latencies[198])
			if latencies[198] > slow {
				t.Errorf("p99 is %v", latencies[198])
			}
			f.cancel()
			if err := next(t, f.ended); !errors.Is(err, context.Canceled) {
				t.Errorf("a feed whose context ended returned %v", err)
			}
		})
	}
}

// revocations returns how long after an Update began it was told, sorted.
func revocations(t *testing.T, store *redisstore.Store, f *feed) []time.Duration {
	var latencies []time.Duration
	token := feedToken(2)
	if err := create(t.Context(), store, token); err != nil {
		t.Fatal(err)
	}
	for next(t, f.changed) != token.Digest {
	}
	for range 200 {
		start := time.Now()
		if err := store.Touch(t.Context(), map[string]time.Time{token.ID: start}); err != nil { // which is no change
			t.Fatal(err)
		}
		if err := relabel(t.Context(), store, token.ID); err != nil {
			t.Fatal(err)
		}
		next(t, f.changed)
		latencies = append(latencies, time.Since(start))
	}
	if n := len(f.changed); n > 0 {
		t.Errorf("%d more were told than there were", n)
	}
	slices.Sort(latencies)
	return latencies
}

// A feed that is cut ends, and one that is begun anew is ready anew.
func TestRedisFeedEndsAndBeginsAnew(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	store := redisstore.New(server.client(t), nil)
	for name, cut := range map[string]func(){
		"killed":  func() { server.must("CLIENT", "KILL", "TYPE", "pubsub") },
		"stalled": func() { server.stall() },
		"ended":   func() { server.end() },
	} {
		t.Run(name, func(t *testing.T) {
			f := listen(t, store)
			next(t, f.ready)
			cut()
			if err := next(t, f.ended); err == nil || errors.Is(err, context.Canceled) {
				t.Errorf("the feed ended with %v", err)
			}
			switch name {
			case "stalled":
				server.resume()
			case "ended":
				ready := func() { t.Error("ready without a server") }
				if err := store.Changes(t.Context(), ready, func(httpkey.Digest) {}); err == nil {
					t.Error("a feed without a server ended without an error")
				}
				server.start()
				eventually(t, 10*time.Second, server.ping)
			}
			again := listen(t, store)
			next(t, again.ready)
			token := feedToken(3)
			if err := errors.Join(store.Delete(t.Context(), token.ID), create(t.Context(), store, token)); err != nil {
				t.Fatal(err)
			}
			if got := next(t, again.changed); got != token.Digest {
				t.Error("the new feed tells another digest")
			}
			again.cancel()
			if err := next(t, again.ended); !errors.Is(err, context.Canceled) {
				t.Errorf("the new feed ended with %v", err)
			}
		})
	}
}
