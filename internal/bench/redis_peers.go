package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/throttled/throttled/v2"
	throttledredis "github.com/throttled/throttled/v2/store/goredisstore.v9"
	"github.com/ulule/limiter/v3"
	"github.com/ulule/limiter/v3/drivers/middleware/stdlib"
	ululeredis "github.com/ulule/limiter/v3/drivers/store/redis"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
)

// redisContestants holds all: first the one that all are compared with, then the one that
// does as much as we do, then us.
func redisContestants(s *redisServer) []contestant {
	return []contestant{
		{
			name: "redis_rate.Allow", module: "github.com/go-redis/redis_rate/v10", does: limitOnly,
			build: s.buildRate(false),
		},
		{
			name: "GET + redis_rate.Allow", module: "github.com/redis/go-redis/v9", does: authAndLimit,
			build: s.buildGetAndRate,
		},
		s.ours("httpkey", redisSetup{}),
		s.ours("httpkey, AutoPipeline", redisSetup{pipelined: true}),
		s.ours("httpkey without cachestore", redisSetup{uncached: true}),
		s.ours("httpkey with NewWindow", redisSetup{window: true}),
		s.ours("httpkey, leases of a second", redisSetup{options: redisstore.Options{Lease: time.Second}}),
		{name: "redisstore.Limiter.Allow", module: "github.com/httpkey/httpkey", does: limitOnly, build: s.buildLimiter},
		{name: "redis_rate.Allow, AutoPipeline", does: limitOnly, build: s.buildRate(true)},
		{
			name: "ulule/limiter, Redis", module: "github.com/ulule/limiter/v3", does: limitOnly,
			headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
			build:   s.buildUlule,
		},
		{
			name: "throttled GCRA, Redis", module: "github.com/throttled/throttled/v2", does: limitOnly,
			headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
			build:   s.buildThrottled,
		},
	}
}

// redisSetup is how httpkey is put together. The zero value is the code of redisstore/README.md.
type redisSetup struct {
	uncached  bool
	pipelined bool // by an AutoPipeliner
	window    bool
	options   redisstore.Options // of the limiter
}

func (s *redisServer) ours(name string, as redisSetup) contestant {
	build := func(next http.Handler, keys []string, l limit) (http.Handler, func()) {
		o := l.options()
		o.Fallback = httpkey.FailClosed // a request that Redis did not decide is wrong
		guard, end := s.guard(as, o)
		if !as.uncached { // the cache fills here, not while it is measured
			inParallel(len(keys), func(caller *client, i int) {
				var err error
				for range 100 { // all keys are new at once, so that one may wait for longer than Options.Timeout
					if _, err = guard.Verify(caller.request.Context(), keys[i]); !errors.Is(err, httpkey.ErrUnavailable) {
						break
					}
				}
				if err != nil {
					panic(err)
				}
			})
		}
		return guard.Handler(next), end
	}
	return contestant{name: name, module: ours.module, does: authAndLimit, headers: ours.headers, build: build}
}

// guard returns a Guard over Redis with a client of its own, and a function that ends both.
func (s *redisServer) guard(as redisSetup, o *httpkey.Options) (*httpkey.Guard, func()) {
	client := s.connect(advised)
	ctx, cancel := context.WithCancel(context.Background())
	var store httpkey.TokenStore = redisstore.New(client, nil)
	if !as.uncached {
		cache := cachestore.New(store, nil)
		go func() { _ = cache.Run(ctx) }()
		store = cache
	}
	var scripter redis.Scripter = client
	if as.pipelined {
		scripter = must(client.AutoPipeline())
	}
	var limiter httpkey.Limiter = redisstore.NewLimiter(scripter, &as.options)
	if as.window {
		limiter = redisstore.NewWindow(scripter, &as.options)
	}
	guard := httpkey.New(store, limiter, o)
	return guard, func() {
		_ = guard.Close(context.Background())
		cancel()
		_ = client.Close()
	}
}

// buildRate does as little as is possible with redis_rate: it sets no header.
func (s *redisServer) buildRate(pipelined bool) func(http.Handler, []string, limit) (http.Handler, func()) {
	return func(next http.Handler, _ []string, l limit) (http.Handler, func()) {
		client := s.connect(plain)
		limiter := redis_rate.NewLimiter(client)
		if pipelined {
			limiter = redis_rate.NewLimiter(must(client.AutoPipeline()))
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			allow(limiter, l, key(r), next, w, r)
		}), func() { _ = client.Close() }
	}
}

// buildLimiter is our limiter alone, as buildRate is redis_rate's.
func (s *redisServer) buildLimiter(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	client := s.connect(advised)
	limiter := redisstore.NewLimiter(client, nil)
	limits := []httpkey.Limit{l.ours()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := limiter.Allow(r.Context(), &httpkey.Charge{Bucket: key(r), Limits: limits, Cost: 1})
		switch {
		case err != nil:
			w.WriteHeader(http.StatusInternalServerError)
		case !result.Allowed:
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			next.ServeHTTP(w, r)
		}
	}), func() { _ = client.Close() }
}

// byHand begins the names of keys that no digest hides: that is the cheapest.
const byHand = "apikey:"

// buildGetAndRate is the code that people write by hand: GET the caller, then limit.
func (s *redisServer) buildGetAndRate(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	client := s.connect(plain)
	limiter := redis_rate.NewLimiter(client)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := client.Get(r.Context(), byHand+key(r)).Result()
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		allow(limiter, l, id, next, w, r)
	}), func() { _ = client.Close() }
}

func allow(
	limiter *redis_rate.Limiter, l limit, key string, next http.Handler, w http.ResponseWriter, r *http.Request,
) {
	result, err := limiter.Allow(r.Context(), key, redis_rate.Limit{Rate: l.hourly, Burst: l.burst, Period: time.Hour})
	switch {
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError)
	case result.Allowed == 0:
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		next.ServeHTTP(w, r)
	}
}

func (s *redisServer) buildUlule(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	client := s.connect(plain)
	limiter := limiter.New(must(ululeredis.NewStore(client)), limiter.Rate{Period: time.Hour, Limit: int64(l.hourly)})
	return stdlib.NewMiddleware(limiter, stdlib.WithKeyGetter(key)).Handler(next), func() { _ = client.Close() }
}

func (s *redisServer) buildThrottled(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	client := s.connect(plain)
	limiter := must(throttled.NewGCRARateLimiterCtx(
		must(throttledredis.NewCtx(client, "throttled:")),
		throttled.RateQuota{MaxRate: throttled.PerHour(l.hourly), MaxBurst: l.burst - 1},
	))
	return (&throttled.HTTPRateLimiterCtx{
		RateLimiter: limiter,
		VaryBy:      varyByKey{},
	}).RateLimit(next), func() { _ = client.Close() }
}
