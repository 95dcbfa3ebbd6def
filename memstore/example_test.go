package memstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// The two limiters differ in what they let through after a burst: GCRA goes on
// with one request each second, a strict window waits until the minute is over.
func Example() {
	minute := &httpkey.Charge{Bucket: "ann", Limits: []httpkey.Limit{httpkey.PerMinute(60)}, Cost: 1}
	for _, limiter := range []httpkey.Limiter{memstore.NewLimiter(), memstore.NewWindow()} {
		var r httpkey.Result
		for range 61 {
			var err error
			if r, err = limiter.Allow(context.Background(), minute); err != nil {
				log.Fatal(err)
			}
		}
		fmt.Println(r.Allowed, r.RetryAfter.Round(1e9))
	}
	// Output:
	// false 1s
	// false 1m0s
}

func ExampleStore_List() {
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	for _, label := range []string{"laptop", "ci", "backup"} {
		if _, err := guard.Issue(context.Background(), httpkey.Token{Label: label, User: "ann"}); err != nil {
			log.Fatal(err)
		}
	}
	filter := httpkey.Filter{User: "ann", Limit: 2}
	for page := 1; page <= 2; page++ {
		tokens, err := store.List(context.Background(), filter)
		if err != nil {
			log.Fatal(err)
		}
		for _, token := range tokens {
			fmt.Println(page, token.Label)
		}
		filter.After = tokens[len(tokens)-1].Cursor()
	}
	// Output:
	// 1 backup
	// 1 ci
	// 2 laptop
}
