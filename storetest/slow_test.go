package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// distant returns a limiter behind a slow network. Both directions take the same time.
func distant(limiter httpkey.Limiter, trip func() time.Duration) httpkey.Limiter {
	far := allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
		way := trip() / 2
		httpkeytest.Elapse(way)
		defer httpkeytest.Elapse(way)
		return limiter.Allow(ctx, c)
	})
	resetter, ok := limiter.(httpkey.Resetter)
	if !ok {
		return far
	}
	return resetBy(far, func(c *httpkey.Charge) error {
		way := trip() / 2
		httpkeytest.Elapse(way)
		defer httpkeytest.Elapse(way)
		return resetter.Reset(ctx, c)
	})
}

// checkDistant runs a rule in a bubble, but as if on a real clock. It makes the backend in the
// bubble, by near.
func checkDistant(
	t *testing.T, rule limiterRule, isStrict bool, near func() func() httpkey.Limiter, trip func() time.Duration,
) (took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		httpkeytest.Elapse(10 * time.Hour) // the bubble begins at midnight
		handle := near()
		b := limiterBench{wait: time.Sleep, isStrict: isStrict}
		b.open = func() httpkey.Limiter { return distant(handle(), trip) }
		begun := time.Now()
		err = rule.check(t.Context(), b)
		took = time.Since(begun)
	})
	return took, err
}

// good returns a function that makes a backend with a good limiter.
func good(isStrict bool) func() func() httpkey.Limiter {
	return func() func() httpkey.Limiter {
		var one httpkey.Limiter = memstore.NewLimiter()
		if isStrict {
			one = memstore.NewWindow()
		}
		return func() httpkey.Limiter { return one }
	}
}

// A good limiter passes on a real clock in reasonable time, however long its calls take. All rules
// are checked, unless the time of a call varies.
func TestDistantLimitersPass(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 10))
	var mu sync.Mutex // of random
	for name, tt := range map[string]struct {
		trip   func() time.Duration
		varies bool
		most   time.Duration
	}{
		"20 ms":  {func() time.Duration { return 20 * time.Millisecond }, false, 45 * time.Second},
		"100 ms": {func() time.Duration { return 100 * time.Millisecond }, false, 225 * time.Second},
		"1 s":    {func() time.Duration { return time.Second }, false, 2250 * time.Second},
		"1 to 100 ms": {func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Millisecond + time.Duration(random.IntN(99_000))*time.Microsecond
		}, true, 225 * time.Second},
	} {
		for _, isStrict := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				var total time.Duration
				for _, rule := range limiterRules {
					took, err := checkDistant(t, rule, isStrict, good(isStrict), tt.trip)
					if err != nil && (!tt.varies || !errors.Is(err, errUnchecked)) {
						t.Errorf("%s, strict: %v: %v", rule.name, isStrict, err)
					}
					total += took
				}
				t.Logf("all rules took %v, strict: %v", total.Round(time.Second), isStrict)
				if total > tt.most {
					t.Errorf("all rules took %v, strict: %v", total, isStrict)
				}
			})
		}
	}
}

// tooSlight are the faults that no rule can see if time is not exact.
var tooSlight = []string{
	"promises a RetryAfter too short", "promises a RetryAfter too long", "promises a ResetAfter too short",
	"promises a ResetAfter too long", "is a microsecond off under one rate", "takes every month for 31 days",
}

// The rules find out wrong limiters at a distance, too.
func TestDistantWrongLimitersAreFoundOut(t *testing.T) {
	t.Parallel()
	for _, wrong := range wrongLimiters {
		if slices.Contains(tooSlight, wrong.name) {
			continue
		}
		for _, trip := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
			t.Run(wrong.name, func(t *testing.T) {
				t.Parallel()
				i := slices.IndexFunc(limiterRules, func(r limiterRule) bool { return r.name == wrong.rule })
				_, err := checkDistant(t, limiterRules[i], wrong.isStrict, wrong.open, func() time.Duration { return trip })
				if err == nil || errors.Is(err, errUnchecked) {
					t.Errorf("at a distance of %v, the rule %s did not find it out (%v)", trip, wrong.rule, err)
				}
			})
		}
	}
}

// On a real clock, a good limiter that takes 20 ms passes, too.
func TestSlowLimiterPassesOnARealClock(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes some seconds of a real clock")
	}
	var wg sync.WaitGroup // more at once than tests that are parallel
	for _, rule := range limiterRules {
		one := distant(memstore.NewLimiter(), func() time.Duration { return 20 * time.Millisecond })
		wg.Go(func() {
			b := limiterBench{open: func() httpkey.Limiter { return one }, wait: time.Sleep}
			if err := rule.check(context.Background(), b); err != nil {
				t.Errorf("%s: %v", rule.name, err)
			}
		})
	}
	wg.Wait()
}
