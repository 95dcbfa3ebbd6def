package redisstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/redisstore"
)

// Peek says what the next request finds in Redis, and changes nothing there. The limits refill too
// slowly for the time of the test to matter.
func TestPeek(t *testing.T) {
	t.Parallel()
	perHour := func(n int) httpkey.Limit { return httpkey.Limit{Rate: 1, Burst: n, Period: time.Hour} }
	for name, limits := range map[string][]httpkey.Limit{
		"one":          {perHour(6)},
		"several":      {perHour(6), {Name: "slow", Rate: 1, Burst: 4, Period: 2 * time.Hour}},
		"a quota":      {httpkey.PerMonth(5)},
		"with a quota": {perHour(5), httpkey.PerMonth(4)},
		"a dry run":    {perHour(6), {Name: "new", Rate: 1, Burst: 2, Period: time.Hour, DryRun: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			limiter := redisstore.NewLimiter(newClient(t, server), nil)
			opts := &httpkey.Options{Timeout: 5 * time.Second, Fallback: httpkey.FailClosed}
			guard := httpkey.New(memstore.New(), limiter, opts)
			t.Cleanup(func() { _ = guard.Close(context.Background()) })
			created := httpkeytest.Issue(t, guard, httpkey.Token{Limits: limits})
			peek := func() httpkey.Result {
				t.Helper()
				before := server.Dump()
				r, err := guard.Peek(t.Context(), created.Token)
				if err != nil {
					t.Fatal(err)
				}
				if after := server.Dump(); after != before {
					t.Errorf("Peek made\n%sof\n%s", after, before)
				}
				return r
			}
			denials := 0
			for range 7 {
				before := peek()
				admission, err := guard.Admit(t.Context(), created.Secret.Reveal(), 1)
				if hasRoom := before.Remaining > 0; hasRoom != (err == nil) {
					t.Fatalf("%d remained, and the request returned %v", before.Remaining, err)
				}
				if err != nil {
					denials++
					continue
				}
				all, left := before.Each, admission.Result.Each
				if len(all) == 0 {
					all, left = []httpkey.Result{before}, []httpkey.Result{admission.Result}
				}
				for i := range all {
					if want := max(0, all[i].Remaining-1); left[i].Remaining != want || left[i].Limit != all[i].Limit {
						t.Errorf("Peek returned %+v, and the request left %+v", all[i], left[i])
					}
				}
			}
			if denials == 0 {
				t.Error("no request was denied")
			}
		})
	}
}
