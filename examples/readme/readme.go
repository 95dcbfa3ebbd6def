// Package readme has the code of the README that is no program, so that it compiles.
package readme

import (
	"context"
	"net/http"

	"github.com/redis/go-redis/v9"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/redisstore"
)

func severalProcesses(ctx context.Context, addr string) *httpkey.Guard {
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	cache := cachestore.New(redisstore.New(rdb, nil), nil)
	go cache.Run(ctx) // hears of revocations in other processes
	guard := httpkey.New(cache, redisstore.NewLimiter(rdb, nil), nil)
	return guard
}

func limits(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{
			httpkey.APIKey: {httpkey.PerMinute(60), httpkey.PerMonth(10_000)},
		},
		Charge: func(r *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			if t.Metadata["plan"] == "team" {
				c.Bucket = "team:" + t.Workspace // all keys of a workspace share
				c.Limits = []httpkey.Limit{httpkey.PerMinute(600)}
			}
			if r != nil && r.Method == http.MethodPost {
				c.Cost = 5
			}
		},
	})
	return guard
}

func page(mux *http.ServeMux, guard *httpkey.Guard, signedIn func(*http.Request) (console.Principal, error)) {
	tokens := console.New(guard, &console.Options{Principal: signedIn}) // signedIn asks your own login who it is
	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
}
