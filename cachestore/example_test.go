package cachestore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/memstore"
)

// remote stands for a store that is worth a cache: a database, say.
type remote struct{ *memstore.Store }

func (s remote) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	fmt.Println("the store is asked")
	return s.Store.Lookup(ctx, d)
}

// A key is looked up once, and a revocation shows at once.
func Example() {
	ctx := context.Background()
	cache := cachestore.New(remote{memstore.New()}, nil)
	guard := httpkey.New(cache, memstore.NewLimiter(), nil)
	created, err := guard.Issue(ctx, httpkey.Token{User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	verify := func() {
		token, err := guard.Verify(ctx, created.Secret.Reveal())
		fmt.Printf("%q %v\n", token.User, errors.Is(err, httpkey.ErrInvalidKey))
	}
	verify()
	verify()
	if err := guard.Revoke(ctx, created.Token.ID, "leaked"); err != nil {
		log.Fatal(err)
	}
	verify()
	// Output:
	// the store is asked
	// "ann" false
	// "ann" false
	// the store is asked
	// "" true
}

// Several processes share a store that tells of changes. Each runs its cache, so that all
// refuse a key within moments once one has revoked it.
func ExampleStore_Run() {
	ctx, cancel := context.WithCancel(context.Background())
	var store httpkey.TokenStore = memstore.New() // redisstore, say
	cache := cachestore.New(store, &cachestore.Options{
		Observers: []httpkey.Observer{httpkey.SlogObserver(slog.Default())}, // the Guard's, say
	})
	ended := make(chan error)
	go func() { ended <- cache.Run(ctx) }()

	// Serve; then, when the server has shut down:
	cancel()
	err := <-ended
	fmt.Println(errors.Is(err, context.Canceled))
	// Output: true
}
