package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// slowLimiter is a good limiter at the other end of a slow network.
type slowLimiter struct{ httpkey.Limiter }

func (s slowLimiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	time.Sleep(20 * time.Millisecond) // outside of a bubble, as a call to a server
	return s.Limiter.Allow(ctx, c)
}

// A good limiter passes on a clock that nobody can stop, also if each call takes 20 ms, and no
// rule is left unchecked.
func TestSlowLimitersPassOnARealClock(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes ten seconds of a real clock")
	}
	var wg sync.WaitGroup // more at once than tests that are parallel
	for _, rule := range limiterRules {
		for name, limiter := range map[string]httpkey.Limiter{"GCRA": memstore.NewLimiter(), "Window": memstore.NewWindow()} {
			one := func() httpkey.Limiter { return slowLimiter{limiter} }
			factory := LimiterFactory{
				New:  func(*testing.T) func() httpkey.Limiter { return one },
				Wait: time.Sleep, Window: name == "Window",
			}
			wg.Go(func() {
				if err := rule.check(t.Context(), factory.bench(t)); err != nil {
					t.Errorf("%s of %s: %v", rule.name, name, err)
				}
			})
		}
	}
	wg.Wait()
}
