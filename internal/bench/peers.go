package main

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/didip/tollbooth/v7"
	"github.com/go-chi/httprate"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	sethvargo "github.com/sethvargo/go-limiter/httplimit"
	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	throttledstore "github.com/throttled/throttled/v2/store/memstore"
	"github.com/ulule/limiter/v3"
	"github.com/ulule/limiter/v3/drivers/middleware/stdlib"
	ululestore "github.com/ulule/limiter/v3/drivers/store/memory"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

const keyHeader = "X-Api-Key" // as net/http spells it in a request's header map

// A contestant is a middleware, or two, in front of a handler.
type contestant struct {
	name    string
	module  string   // whose version is reported
	does    string   // one of the constants below
	headers []string // on every response to a known key

	// interval is that of its background work, if that is short enough to be
	// felt: a measurement has to cover it.
	interval time.Duration

	// build returns the contestant in front of next, for these keys under this
	// limit, and a function that ends it.
	build func(next http.Handler, keys []string, l limit) (http.Handler, func())
}

const (
	authAndLimit = "auth + limit"
	limitOnly    = "limit only"
	nothing      = "nothing"
)

// limit is how many requests a key has at once, and how many come back in an
// hour. A contestant that counts in windows knows but one number, and gets the latter.
type limit struct{ burst, hourly int }

func (l limit) perSecond() float64 { return float64(l.hourly) / time.Hour.Seconds() }

// ours returns l as httpkey has it, whose rates are less than 2^31.
func (l limit) ours() httpkey.Limit {
	if l.hourly > math.MaxInt32 {
		return httpkey.Limit{Rate: int(l.perSecond()), Burst: l.burst, Period: time.Second}
	}
	return httpkey.Limit{Rate: l.hourly, Burst: l.burst, Period: time.Hour}
}

// options are those of a Guard under l.
func (l limit) options() *httpkey.Options {
	return &httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {l.ours()}}}
}

// ours is the contestant that the others are compared with.
var ours = inMemory("httpkey",
	func() httpkey.TokenStore { return memstore.New() },
	func() httpkey.Limiter { return memstore.NewLimiter() })

// foreign has the same store and limiter in types that a Guard does not know, as a program
// has them that wraps ours: it asks them by their methods.
var foreign = []contestant{
	inMemory("httpkey, wrapped store",
		func() httpkey.TokenStore { return wrappedStore{memstore.New()} },
		func() httpkey.Limiter { return memstore.NewLimiter() }),
	inMemory("httpkey, wrapped store and limiter",
		func() httpkey.TokenStore { return wrappedStore{memstore.New()} },
		func() httpkey.Limiter { return wrappedLimiter{memstore.NewLimiter()} }),
}

type (
	wrappedStore   struct{ httpkey.TokenStore }
	wrappedLimiter struct{ httpkey.Limiter }
)

// inMemory returns a contestant that is a Guard over a store and a limiter.
func inMemory(name string, store func() httpkey.TokenStore, limiter func() httpkey.Limiter) contestant {
	return contestant{
		name: name, module: "github.com/httpkey/httpkey", does: authAndLimit,
		headers:  []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		interval: time.Second, // of writing LastUsed
		build: func(next http.Handler, keys []string, l limit) (http.Handler, func()) {
			guard := httpkey.New(store(), limiter(), l.options())
			token := httpkey.Token{Label: "bench", User: "u-1", IsActive: true}
			for _, key := range keys {
				_ = must(guard.Import(context.Background(), httpkey.Secret(key), token))
			}
			return guard.Handler(next), func() { _ = guard.Close(context.Background()) }
		},
	}
}

// contestants holds all, ours first.
var contestants = []contestant{
	ours,
	{
		name: "go-chi/httprate", module: "github.com/go-chi/httprate", does: limitOnly,
		headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		build:   buildHTTPRate,
	},
	{
		name: "ulule/limiter", module: "github.com/ulule/limiter/v3", does: limitOnly,
		headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		build:   buildUlule,
	},
	{
		name: "throttled GCRA", module: "github.com/throttled/throttled/v2", does: limitOnly,
		headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		build:   buildThrottled,
	},
	{
		name: "sethvargo/go-limiter", module: "github.com/sethvargo/go-limiter", does: limitOnly,
		headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		build:   buildSethvargo,
	},
	{
		name: "didip/tollbooth", module: "github.com/didip/tollbooth/v7", does: limitOnly,
		headers: []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"},
		build:   buildTollbooth,
	},
	{
		name: "echo KeyAuth + RateLimiter", module: "github.com/labstack/echo/v5", does: authAndLimit,
		headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining"},
		build:   buildEcho,
	},
	floor,
	bare,
}

// bare is the handler alone: the cost of the loop.
var bare = contestant{
	name: "bare handler", does: nothing,
	build: func(next http.Handler, _ []string, _ limit) (http.Handler, func()) { return next, func() {} },
}

func buildHTTPRate(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	return httprate.LimitBy(l.hourly, time.Hour, keyOrError)(next), func() {}
}

func buildUlule(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	// Its cleaner ends when the garbage collector finds the store.
	limiter := limiter.New(ululestore.NewStore(), limiter.Rate{Period: time.Hour, Limit: int64(l.hourly)})
	return stdlib.NewMiddleware(limiter, stdlib.WithKeyGetter(key)).Handler(next), func() {}
}

func buildThrottled(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	limiter := must(throttled.NewGCRARateLimiterCtx(
		must(throttledstore.NewCtx(0)), // a map, not the slower LRU
		throttled.RateQuota{MaxRate: throttled.PerHour(l.hourly), MaxBurst: l.burst - 1},
	))
	return (&throttled.HTTPRateLimiterCtx{
		RateLimiter: limiter,
		VaryBy:      varyByKey{},
	}).RateLimit(next), func() {}
}

// varyByKey stands for throttled.VaryBy, which folds the case of a header, in
// which keys differ, and allocates for it.
type varyByKey struct{}

func (varyByKey) Key(r *http.Request) string { return key(r) }

func buildSethvargo(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	store := must(memorystore.New(&memorystore.Config{Tokens: uint64(l.hourly), Interval: time.Hour}))
	return must(sethvargo.NewMiddleware(store, keyOrError)).Handle(next),
		func() { _ = store.Close(context.Background()) }
}

func buildTollbooth(next http.Handler, _ []string, l limit) (http.Handler, func()) {
	limiter := tollbooth.NewLimiter(l.perSecond(), nil).
		SetBurst(l.burst).
		SetIPLookups([]string{"RemoteAddr"}). // it limits no caller whose address it does not see
		SetIgnoreURL(true).
		SetHeader(keyHeader, nil)
	return tollbooth.LimitHandler(limiter, next), func() {}
}

func buildEcho(next http.Handler, keys []string, l limit) (http.Handler, func()) {
	// The cheapest that can be called authentication: no digest, no expiry, no lock.
	known := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		known[key] = struct{}{}
	}
	authenticate := middleware.KeyAuthWithConfig(middleware.KeyAuthConfig{
		KeyLookup: "header:" + keyHeader,
		Validator: func(_ *echo.Context, key string, _ middleware.ExtractorSource) (bool, error) {
			_, ok := known[key]
			return ok, nil
		},
	})
	limit := middleware.RateLimiterWithConfig(middleware.RateLimiterConfig{
		IdentifierExtractor: func(c *echo.Context) (string, error) { return keyOrError(c.Request()) },
		Store: middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
			Rate: l.perSecond(), Burst: l.burst, ExpiresIn: time.Hour,
		}),
	})
	router := echo.New()
	router.GET("/", echo.WrapHandler(next), authenticate, limit)
	return router, func() {}
}

func key(r *http.Request) string { return r.Header.Get(keyHeader) }

func keyOrError(r *http.Request) (string, error) { return key(r), nil }

// must returns v, and panics on an error: the parts of a contestant are valid.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
