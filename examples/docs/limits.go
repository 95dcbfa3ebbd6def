package docs

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

func several(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{
			httpkey.APIKey: {httpkey.PerSecond(5), httpkey.PerMinute(60), httpkey.PerMonth(10_000)},
		},
	})
	return guard
}

var exports = httpkey.Limit{Name: "exports", Rate: 10, Period: time.Hour}

func chargeByRoute(r *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
	switch {
	case r == nil: // Guard.Admit has no request
	case strings.HasPrefix(r.URL.Path, "/exports/"):
		c.Limits = append(c.Limits, exports) // beside the limits of the key
	case r.URL.Path == "/healthz":
		c.Cost = 0
	case r.Method == http.MethodPost:
		c.Cost = 5
	}
}

// query is a handler that knows the cost of a request only once it has answered it.
func query(w http.ResponseWriter, r *http.Request) {
	rows := 25 // that the query has read
	fmt.Fprintf(w, "%d rows", rows)
	if admission, ok := httpkey.AdmissionFrom(r.Context()); ok {
		if err := admission.Charge(r.Context(), rows-1); err != nil { // 1 is paid already
			log.Print(err)
		}
	}
}

func onTrial(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	trial := httpkey.Limit{Name: "trial", Rate: 30, Period: time.Minute, DryRun: true}
	guard := httpkey.New(store, limiter, &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerMinute(60), trial}},
	})
	return guard
}

// refill makes the buckets of a token full, under the limit of API keys and that of the route.
func refill(ctx context.Context, limiter httpkey.Resetter, t httpkey.Token) error {
	return limiter.Reset(ctx, &httpkey.Charge{
		Bucket: t.Payer(),
		Limits: []httpkey.Limit{httpkey.PerMinute(60), exports},
	})
}
