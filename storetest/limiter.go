package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// LimiterFactory describes the limiter that [RunLimiter] checks.
type LimiterFactory struct {
	// New makes a new and empty backend for one rule, and returns the function
	// that opens a handle on it. All handles of one backend share its buckets.
	New func(t *testing.T) (open func() httpkey.Limiter)

	// Wait lets at least this much time pass on the limiter's clock. Nil is for
	// limiters in memory: each rule then runs in a bubble of testing/synctest,
	// where time is exact, and so is what is asked of the limiter.
	Wait func(time.Duration)

	// Window says that the limiter is strict: never more than Rate in any Period.
	Window bool
}

// RunLimiter checks every rule of [httpkey.Limiter], each on a backend of its own,
// and those of [httpkey.SlotLimiter] if it is one.
func RunLimiter(t *testing.T, factory LimiterFactory) {
	factory.run(t, limiterRules)
	for name, foreign := range map[string]bool{"Slots": false, "ForeignSlots": true} {
		slotted := factory
		slotted.New = func(t *testing.T) func() httpkey.Limiter { return slottersOf(factory.New(t), foreign) }
		if slotted.New(t) != nil {
			t.Run(name, func(t *testing.T) { slotted.run(t, slices.Concat(limiterRules, slotRules)) })
		}
	}
}

func (f LimiterFactory) run(t *testing.T, rules []limiterRule) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			f.inTime(t, func(t *testing.T) {
				if err := rule.check(t.Context(), f.bench(t)); err != nil {
					t.Errorf("%v\nThe rule: %s", err, rule.rule)
				}
			})
		})
	}
}

func (f LimiterFactory) inTime(t *testing.T, test func(*testing.T)) {
	if f.Wait == nil {
		synctest.Test(t, func(t *testing.T) {
			test(t)
			time.Sleep(time.Minute) // what the limiter does in the background ends; after the test, time stands still
		})
		return
	}
	test(t)
}

func (f LimiterFactory) bench(t *testing.T) limiterBench {
	b := limiterBench{open: f.New(t), wait: f.Wait, exact: f.Wait == nil, window: f.Window}
	if b.exact {
		b.wait = time.Sleep // in a bubble, that is to the nanosecond and takes no time
	}
	return b
}

// limiterBench is what a rule works with.
type limiterBench struct {
	open   func() httpkey.Limiter
	wait   func(time.Duration)
	exact  bool
	window bool
}

type limiterRule struct {
	name  string
	rule  string
	check func(context.Context, limiterBench) error
}

var limiterRules = []limiterRule{
	{"FirstRemaining", "a new bucket is full: the first request leaves Burst-1, and the result's Limit has Burst filled in", checkFirstRemaining},
	{"Admits", "a full bucket admits Burst requests at once and not one more", checkAdmits},
	{"AdmitsConcurrently", "that holds for any number of callers and handles at once", checkAdmitsConcurrently},
	{"DenialIsFree", "a denial takes nothing and puts nothing off, however often it is asked for", checkDenialIsFree},
	{"Cost", "an n is taken whole or not at all", checkCost},
	{"CostZero", "an n of 0 is always admitted and takes nothing", checkCostZero},
	{"Invalid", "a limit or an n that Limit.Resolve refuses gets an error that wraps ErrInvalidLimit, is never admitted, and changes nothing", checkInvalid},
	{"KeysApart", "keys that differ in any byte have buckets of their own", checkKeysApart},
	{"LimitsApart", "a key under another limit is another bucket, and full: a limit that changes locks nobody out, nor does it refill the former bucket", checkLimitsApart},
	{"RetryAfter", "who waits RetryAfter and asks again is admitted, and a microsecond earlier is not", checkRetryAfter},
	{"ResetAfter", "who waits ResetAfter finds the bucket full, and a microsecond earlier does not", checkResetAfter},
	{"Rate", "in no stretch of time more is admitted than Burst and what Rate gives in it; a strict window admits no more than Rate in any Period", checkRate},
	{"Steady", "who asks at just the rate of the limit is always admitted", checkSteady},
}

func allow(ctx context.Context, l httpkey.Limiter, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	r, err := l.Allow(ctx, key, limit, n)
	if err != nil {
		return r, fmt.Errorf("Allow(%q, %+v, %d): %w", key, limit, n, err)
	}
	switch {
	case r.Remaining < 0 || r.ResetAfter < 0 || r.RetryAfter < 0:
		err = fmt.Errorf("Allow(%q, %+v, %d) returned %+v: no number may be negative", key, limit, n, r)
	case r.Allowed && r.RetryAfter != 0:
		err = fmt.Errorf("Allow(%q, %+v, %d) returned %+v: RetryAfter must be 0 if n is admitted", key, limit, n, r)
	case !r.Allowed && r.RetryAfter <= 0:
		err = fmt.Errorf("Allow(%q, %+v, %d) returned %+v: RetryAfter must be positive if n is denied", key, limit, n, r)
	case !r.Allowed && r.Remaining >= n:
		err = fmt.Errorf("Allow(%q, %+v, %d) returned %+v: what remains would do, yet n is denied", key, limit, n, r)
	}
	return r, err
}

// drain takes n from a bucket that has at least n.
func drain(ctx context.Context, l httpkey.Limiter, key string, limit httpkey.Limit, n int) error {
	for i := range n {
		r, err := allow(ctx, l, key, limit, 1)
		if err != nil {
			return err
		}
		if !r.Allowed {
			return fmt.Errorf("request %d of %d with %+v was denied: %+v", i+1, n, limit, r)
		}
	}
	return nil
}

// slow is a limit that gives nothing back while a test runs.
func slow(burst int) httpkey.Limit {
	return httpkey.Limit{Rate: burst, Burst: burst, Period: 100 * time.Duration(burst) * time.Hour}
}

func checkFirstRemaining(ctx context.Context, b limiterBench) error {
	l := b.open()
	for i, limit := range []httpkey.Limit{
		httpkey.PerSecond(10), httpkey.PerSecond(20), httpkey.PerMinute(7), httpkey.PerMinute(60),
		httpkey.PerMinute(100), httpkey.PerMinute(300), httpkey.PerMinute(600), httpkey.PerMinute(1000),
		httpkey.PerHour(1000), httpkey.PerHour(5000), {Rate: 1, Period: 24 * time.Hour},
		{Rate: 1_000_000, Period: 24 * time.Hour}, {Rate: 60, Burst: 60, Period: time.Minute},
	} {
		r, err := allow(ctx, l, fmt.Sprint("first", i), limit, 1)
		if err != nil {
			return err
		}
		applied := limit
		applied.Burst = limit.Rate
		if want := limit.Rate - 1; !r.Allowed || r.Limit != applied || r.Remaining != want {
			return fmt.Errorf("the first request with %+v returned %+v, want it admitted, Remaining %d and Limit %+v", limit, r, want, applied)
		}
	}
	if b.window {
		return nil
	}
	limit := httpkey.Limit{Rate: 10, Burst: 25, Period: time.Hour}
	r, err := allow(ctx, l, "key", limit, 1)
	if err == nil && (r.Remaining != 24 || r.Limit != limit) {
		err = fmt.Errorf("the first request with %+v returned %+v, want Remaining 24", limit, r)
	}
	return err
}

func checkAdmits(ctx context.Context, b limiterBench) error {
	l := b.open()
	for _, burst := range []int{1, 2, 7, 60, 300} {
		limit, key := slow(burst), fmt.Sprint("admits", burst)
		for n := 1; n <= burst; n++ {
			r, err := allow(ctx, l, key, limit, 1)
			if err != nil {
				return err
			}
			if !r.Allowed || r.Remaining != burst-n {
				return fmt.Errorf("request %d of a burst of %d returned %+v, want it admitted and Remaining %d", n, burst, r, burst-n)
			}
		}
		r, err := allow(ctx, b.open(), key, limit, 1)
		if err != nil {
			return err
		}
		if r.Allowed || r.Remaining != 0 {
			return fmt.Errorf("request %d of a burst of %d returned %+v, want it denied and Remaining 0", burst+1, burst, r)
		}
	}
	return nil
}

func checkAdmitsConcurrently(ctx context.Context, b limiterBench) error {
	const callers = 64
	for _, burst := range []int{1, 10, 100} {
		limit, key := slow(burst), fmt.Sprint("concurrent", burst)
		admitted := make([]int, callers)
		errs := make([]error, callers)
		var wg sync.WaitGroup
		for c := range callers {
			l := b.open()
			wg.Go(func() {
				for range max(1, 2*burst/callers) + 1 {
					r, err := allow(ctx, l, key, limit, 1)
					errs[c] = errors.Join(errs[c], err)
					if r.Allowed {
						admitted[c]++
					}
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		total := 0
		for _, n := range admitted {
			total += n
		}
		if total != burst {
			return fmt.Errorf("%d concurrent callers were admitted %d times by a burst of %d", callers, total, burst)
		}
	}
	return nil
}

func checkDenialIsFree(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(3)
	if err := drain(ctx, l, "key", limit, 3); err != nil {
		return err
	}
	first, err := allow(ctx, l, "key", limit, 1)
	if err != nil {
		return err
	}
	for range 50 {
		r, err := allow(ctx, l, "key", limit, 1)
		if err != nil {
			return err
		}
		if r.Allowed || r.RetryAfter > first.RetryAfter || r.ResetAfter > first.ResetAfter {
			return fmt.Errorf("a further request returned %+v, where the first denied one returned %+v", r, first)
		}
	}
	return nil
}

func checkCost(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(10)
	for _, step := range []struct {
		n, remaining int
		allowed      bool
	}{{7, 3, true}, {4, 3, false}, {10, 3, false}, {3, 0, true}, {1, 0, false}} {
		r, err := allow(ctx, l, "key", limit, step.n)
		if err != nil {
			return err
		}
		if r.Allowed != step.allowed || r.Remaining != step.remaining {
			return fmt.Errorf("asking for %d returned %+v, want Allowed %v and Remaining %d", step.n, r, step.allowed, step.remaining)
		}
	}
	return nil
}

func checkCostZero(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(2)
	for remaining := 2; remaining >= 0; remaining-- {
		for range 3 {
			r, err := allow(ctx, l, "key", limit, 0)
			if err != nil {
				return err
			}
			if !r.Allowed || r.Remaining != remaining {
				return fmt.Errorf("asking for 0 of %d returned %+v, want it admitted and Remaining %d", remaining, r, remaining)
			}
		}
		if remaining > 0 {
			if err := drain(ctx, l, "key", limit, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkInvalid(ctx context.Context, b limiterBench) error {
	l := b.open()
	good := slow(5)
	for what, call := range map[string]struct {
		limit httpkey.Limit
		n     int
	}{
		"the zero limit":              {httpkey.Limit{}, 1},
		"a Rate of 0":                 {httpkey.Limit{Burst: 5, Period: time.Minute}, 1},
		"a negative Rate":             {httpkey.Limit{Rate: -5, Burst: 5, Period: time.Minute}, 1},
		"a negative Burst":            {httpkey.Limit{Rate: 5, Burst: -5, Period: time.Minute}, 1},
		"a Period of 0":               {httpkey.Limit{Rate: 5}, 1},
		"a negative Period":           {httpkey.Limit{Rate: 5, Period: -time.Minute}, 1},
		"half a microsecond":          {httpkey.Limit{Rate: 5, Period: time.Second + 500}, 1},
		"a Rate too large to count":   {httpkey.Limit{Rate: math.MaxInt, Period: math.MaxInt64 / 1000 * 1000}, 1},
		"a negative n":                {good, -1},
		"the most negative n":         {good, math.MinInt},
		"an n above Burst":            {good, 6},
		"an n whose cost overflows":   {good, math.MaxInt},
		"an n of 0 of an invalid one": {httpkey.Limit{}, 0},
	} {
		for range 2 {
			r, err := l.Allow(ctx, "key", call.limit, call.n)
			if !errors.Is(err, httpkey.ErrInvalidLimit) || r.Allowed {
				return fmt.Errorf("%s: Allow(%+v, %d) returned %+v and the error %v, want ErrInvalidLimit", what, call.limit, call.n, r, err)
			}
		}
	}
	r, err := allow(ctx, l, "key", good, 0)
	if err == nil && r.Remaining != 5 {
		err = fmt.Errorf("after invalid calls, %+v remains of an untouched bucket, want 5", r)
	}
	return err
}

func checkKeysApart(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(2)
	for _, key := range []string{
		"key", "Key", "key ", " key", "kéy", "ke\u0301y", "key\x00", "key\xff", "", "0", "{key}", "key:1", "*", "a\nb",
		strings.Repeat("k", 255), strings.Repeat("k", 256),
	} {
		if err := drain(ctx, l, key, limit, 2); err != nil {
			return fmt.Errorf("beside similar keys: %w", err)
		}
		r, err := allow(ctx, l, key, limit, 1)
		if err != nil {
			return err
		}
		if r.Allowed {
			return fmt.Errorf("the bucket of %q forgot what was taken: %+v", key, r)
		}
	}
	return nil
}

func checkLimitsApart(ctx context.Context, b limiterBench) error {
	l := b.open()
	low := slow(10)
	if err := drain(ctx, l, "key", low, 10); err != nil {
		return err
	}
	others := []httpkey.Limit{slow(20), slow(5), {Rate: 10, Burst: 10, Period: time.Minute}}
	if !b.window { // which does not look at Burst
		others = append(others, httpkey.Limit{Rate: 10, Burst: 11, Period: low.Period})
	}
	for _, limit := range others {
		r, err := allow(ctx, l, "key", limit, 1)
		if err != nil {
			return err
		}
		if !r.Allowed || r.Remaining != limit.Burst-1 {
			return fmt.Errorf("after %+v was used up, the first request under %+v returned %+v, want a full bucket", low, limit, r)
		}
	}
	r, err := allow(ctx, l, "key", low, 1)
	if err == nil && r.Allowed {
		err = fmt.Errorf("a change of limit and back refilled the bucket of %+v: %+v", low, r)
	}
	return err
}

// brisk returns limits that give something back soon, for rules that must wait.
func brisk() []httpkey.Limit {
	return []httpkey.Limit{
		{Rate: 5, Burst: 5, Period: 100 * time.Millisecond},
		{Rate: 7, Burst: 7, Period: 200 * time.Millisecond}, // does not divide its period
		{Rate: 1, Burst: 1, Period: 50 * time.Millisecond},
	}
}

func checkRetryAfter(ctx context.Context, b limiterBench) error {
	l := b.open()
	for i, limit := range brisk() {
		key := fmt.Sprint("retry", i)
		for n := 1; n <= limit.Burst; n++ {
			if err := b.drainAll(ctx, l, key, limit); err != nil {
				return err
			}
			denied, err := allow(ctx, l, key, limit, n)
			if err != nil {
				return err
			}
			if denied.Allowed {
				continue // time does not stand still for this limiter
			}
			left := denied.RetryAfter
			if b.exact {
				b.wait(left - time.Microsecond)
				left = time.Microsecond
				if r, err := allow(ctx, l, key, limit, n); err != nil || r.Allowed {
					return fmt.Errorf("%+v: asking for %d a microsecond before RetryAfter (%v) returned %+v, %v, want a denial", limit, n, denied.RetryAfter, r, err)
				}
			}
			b.wait(left)
			if r, err := allow(ctx, l, key, limit, n); err != nil || !r.Allowed {
				return fmt.Errorf("%+v: asking for %d after RetryAfter (%v) returned %+v, %v, want it admitted", limit, n, denied.RetryAfter, r, err)
			}
		}
	}
	return nil
}

// drainAll takes from a bucket until it denies.
func (b limiterBench) drainAll(ctx context.Context, l httpkey.Limiter, key string, limit httpkey.Limit) error {
	for range 10 * limit.Burst {
		r, err := allow(ctx, l, key, limit, 1)
		if err != nil || !r.Allowed {
			return err
		}
	}
	return fmt.Errorf("%+v admitted %d requests in a row", limit, 10*limit.Burst)
}

func checkResetAfter(ctx context.Context, b limiterBench) error {
	l := b.open()
	for i, limit := range brisk() {
		for taken := 1; taken <= limit.Burst; taken++ {
			key := fmt.Sprint("reset", i, taken)
			r, err := allow(ctx, l, key, limit, taken)
			if err != nil {
				return err
			}
			left := r.ResetAfter
			if b.exact {
				b.wait(left - time.Microsecond)
				left = time.Microsecond
				if early, err := allow(ctx, l, key, limit, 0); err != nil || early.Remaining == limit.Burst {
					return fmt.Errorf("%+v: a microsecond before ResetAfter (%v) the bucket shows %+v, %v, want it not full yet", limit, r.ResetAfter, early, err)
				}
			}
			b.wait(left)
			if full, err := allow(ctx, l, key, limit, 0); err != nil || full.Remaining != limit.Burst || full.ResetAfter != 0 {
				return fmt.Errorf("%+v: after ResetAfter (%v) the bucket shows %+v, %v, want it full", limit, r.ResetAfter, full, err)
			}
		}
	}
	return nil
}

func checkRate(ctx context.Context, b limiterBench) error {
	l := b.open()
	random := rand.New(rand.NewPCG(1, 2))
	for i, limit := range brisk() {
		var before, after []time.Time // of the calls that were admitted
		for range 400 {
			asked := time.Now()
			r, err := allow(ctx, l, fmt.Sprint("rate", i), limit, 1)
			if err != nil {
				return err
			}
			if r.Allowed {
				before, after = append(before, asked), append(after, time.Now())
			}
			if b.exact { // else time passes by itself
				twice := 2 * limit.Period / time.Duration(limit.Rate)
				b.wait(time.Duration(random.Int64N(twice.Microseconds())) * time.Microsecond)
			}
		}
		for first := range before {
			for last := first; last < len(after); last++ {
				n, stretch := last-first+1, after[last].Sub(before[first]) // at least as long as the real one
				if b.window && stretch < limit.Period && n > limit.Rate ||
					int64(n-limit.Burst)*int64(limit.Period) > int64(limit.Rate)*int64(stretch) {
					return fmt.Errorf("%+v admitted %d requests within %v", limit, n, stretch)
				}
			}
		}
	}
	return nil
}

func checkSteady(ctx context.Context, b limiterBench) error {
	l := b.open()
	for i, limit := range brisk() {
		interval := (limit.Period / time.Duration(limit.Rate)).Truncate(time.Microsecond) + time.Microsecond
		for n := range 3 * limit.Rate {
			r, err := allow(ctx, l, fmt.Sprint("steady", i), limit, 1)
			if err != nil {
				return err
			}
			if !r.Allowed {
				return fmt.Errorf("%+v denied request %d of a client that asks each %v: %+v", limit, n+1, interval, r)
			}
			b.wait(interval)
		}
	}
	return nil
}
