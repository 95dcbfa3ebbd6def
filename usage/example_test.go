package usage_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

// A Recorder is the Observer of a Guard. It tells what a token was used for.
func Example() {
	recorder := usage.NewRecorder(usage.NewMemory(), nil)
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{Observers: []httpkey.Observer{recorder}})
	created, err := guard.Issue(context.Background(), httpkey.Token{Limits: []httpkey.Limit{httpkey.PerHour(3)}})
	if err != nil {
		log.Fatal(err)
	}
	api := guard.Handler(httpkey.RequireScope("reports:read")(http.NotFoundHandler()))
	for range 5 {
		r := httptest.NewRequest(http.MethodGet, "/reports/", http.NoBody)
		r.Header.Set("X-Api-Key", created.Secret.Reveal())
		api.ServeHTTP(httptest.NewRecorder(), r)
	}

	now := time.Now()
	hours, err := recorder.Of(context.Background(), created.Token.ID, now.Add(-23*time.Hour), now, usage.Hour)
	if err != nil {
		log.Fatal(err)
	}
	for _, hour := range hours {
		fmt.Println(hour.Throttled, "throttled,", hour.Refused, "refused:", hour.Reasons)
	}
	if err := recorder.Close(context.Background()); err != nil { // when the server has shut down
		log.Fatal(err)
	}
	// Output:
	// 2 throttled, 3 refused: map[scope:3]
}
