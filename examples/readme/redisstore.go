package readme

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
)

// client is the code of the README of redisstore.
func client(ctx context.Context, addr string) *httpkey.Guard {
	rdb := redis.NewClient(&redis.Options{
		Addr:                  addr,
		ContextTimeoutEnabled: true, // heed Options.Timeout
		MaxRetries:            -1,   // never charge twice
		DialTimeout:           300 * time.Millisecond,
	})
	cache := cachestore.New(redisstore.New(rdb, nil), nil)
	go cache.Run(ctx) // hears of revocations in other processes
	guard := httpkey.New(cache, redisstore.NewLimiter(rdb, nil), nil)
	return guard
}
