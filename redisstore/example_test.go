package redisstore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// Two processes that share one Redis share keys and limits.
func Example() {
	server, err := miniredis.Run() // in place of a real one
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	connect := func() redis.UniversalClient {
		return redis.NewUniversalClient(&redis.UniversalOptions{
			Addrs:                 []string{server.Addr()},
			ContextTimeoutEnabled: true,
			MaxRetries:            -1,
			DialTimeout:           300 * time.Millisecond,
		})
	}
	ctx := context.Background()
	var guards []*httpkey.Guard
	for range 2 {
		rdb := connect()
		defer func() { _ = rdb.Close() }()
		guard := httpkey.New(redisstore.New(rdb, nil), redisstore.NewLimiter(rdb, nil), nil)
		defer func() { _ = guard.Close(ctx) }()
		guards = append(guards, guard)
	}
	created, err := guards[0].Issue(ctx, httpkey.Token{Label: "laptop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := guards[1].Verify(ctx, created.Secret.Reveal())
	fmt.Println(found.Label, err)
	if err := guards[0].Revoke(ctx, created.Token.ID, "lost"); err != nil {
		fmt.Println(err)
		return
	}
	_, err = guards[1].Verify(ctx, created.Secret.Reveal())
	fmt.Println(err)
	// Output:
	// laptop <nil>
	// httpkey: the key is not valid: inactive
}
