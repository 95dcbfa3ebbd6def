package storetest

import (
	"context"
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

// A good limiter passes on a clock that nobody can stop, also if each call takes 20 ms.
func TestLimitersOnARealClockPass(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes half a minute of a real clock")
	}
	for name, wrap := range map[string]func(httpkey.Limiter) httpkey.Limiter{
		"quick": func(l httpkey.Limiter) httpkey.Limiter { return l },
		"slow":  func(l httpkey.Limiter) httpkey.Limiter { return slowLimiter{l} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("GCRA", func(t *testing.T) {
				t.Parallel()
				RunLimiter(t, LimiterFactory{Wait: time.Sleep, New: func(*testing.T) func() httpkey.Limiter {
					l := wrap(memstore.NewLimiter())
					return func() httpkey.Limiter { return l }
				}})
			})
			t.Run("Window", func(t *testing.T) {
				t.Parallel()
				RunLimiter(t, LimiterFactory{Window: true, Wait: time.Sleep, New: func(*testing.T) func() httpkey.Limiter {
					l := wrap(memstore.NewWindow())
					return func() httpkey.Limiter { return l }
				}})
			})
		})
	}
}
