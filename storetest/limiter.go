package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
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

	// Wait returns after at least this much time on the limiter's clock. Nil is for
	// limiters in memory: each rule then runs in a bubble of testing/synctest, where time
	// is exact, and demands exact numbers. Otherwise the rules choose limits by the duration
	// of a call, and take 40 seconds if a call takes 20 ms.
	Wait func(time.Duration)

	// Window says that the limiter is strict: it admits no more than Rate in any Period.
	Window bool

	// Claims name the abilities that the limiter lacks.
	Claims Claims
}

// RunLimiter checks every rule of [httpkey.Limiter], each on a backend of its own.
func RunLimiter(t *testing.T, factory LimiterFactory) {
	t.Helper()
	for _, rule := range limiterRules {
		t.Run(rule.name, func(t *testing.T) {
			if lack := factory.Claims.lack(rule.needs); lack != "" {
				t.Skip(lack)
			}
			factory.inTime(t, func(t *testing.T) {
				report(t, rule.rule, rule.check(t.Context(), factory.bench(t)))
			})
		})
	}
}

func (f LimiterFactory) inTime(t *testing.T, test func(*testing.T)) {
	if f.Wait == nil {
		synctest.Test(t, func(t *testing.T) {
			test(t)
			time.Sleep(time.Minute) // goroutines of the limiter end now, since time stops after the test
		})
		return
	}
	test(t)
}

func (f LimiterFactory) bench(t *testing.T) limiterBench {
	b := limiterBench{open: f.New(t), wait: f.Wait, isExact: f.Wait == nil, isStrict: f.Window, claims: f.Claims}
	if b.isExact {
		b.wait = time.Sleep // exact in a bubble
	}
	return b
}

// limiterBench holds the limiter and the clock for a rule.
type limiterBench struct {
	open     func() httpkey.Limiter
	wait     func(time.Duration)
	isExact  bool // time passes only when a rule waits
	isStrict bool
	claims   Claims
}

type limiterRule struct {
	name  string
	needs ability
	check func(context.Context, limiterBench) error
	rule  string
}

var limiterRules = []limiterRule{
	{"FirstRemaining", 0, checkFirstRemaining,
		"a new bucket is full: the first request leaves Burst-1, and the result's Limit has Burst filled in"},
	{"Admits", 0, checkAdmits,
		"a full bucket admits Burst requests at once and not one more"},
	{"AdmitsConcurrently", 0, checkAdmitsConcurrently,
		"that holds for any number of callers and handles at once"},
	{"DenialIsFree", 0, checkDenialIsFree,
		"a denial takes nothing and puts nothing off, however often it is asked for"},
	{"Cost", 0, checkCost,
		"a Cost is taken whole or not at all"},
	{"CostZero", 0, checkCostZero,
		"a Cost of 0 is always admitted and takes nothing"},
	{"Never", 0, checkNever,
		"a Rate of 0, or a Cost above Burst, is denied without an error, with a RetryAfter of 0, and takes nothing"},
	{"Periods", 0, checkPeriods,
		"a Period is rounded up to a microsecond: limits that then have the same window share a bucket"},
	{"Invalid", 0, checkInvalid,
		"a charge that Charge.Validate refuses gets an error that wraps ErrInvalidLimit, is never admitted, and " +
			"changes nothing"},
	{"DryRun", 0, checkDryRun,
		"a limit with DryRun takes from the bucket of its Name and window, and denies as any other does"},
	{"Unlimited", 0, checkUnlimited,
		"a charge without limits is admitted"},
	{"ChargeStays", 0, checkChargeStays,
		"the limiter neither changes a charge nor keeps it"},
	{"PayersApart", 0, checkPayersApart,
		"payers that differ in any byte have buckets of their own"},
	{"NamesApart", 0, checkNamesApart,
		"limits whose Names differ in any byte have buckets of their own, and are not taken for a part of the payer"},
	{"WindowsApart", 0, checkWindowsApart,
		"a limit of another window has a bucket of its own, which is full"},
	{"Changed", 0, checkChanged,
		"a limit that changes within its window keeps the part that was used; a strict window and a quota keep the " +
			"number"},
	{"Moving", 0, checkMoving,
		"a limit that moves with every request admits no more than it would at its highest"},
	{"Several", 0, checkSeveral,
		"several limits take all or nothing, and the result is that of the limit that binds"},
	{"SeveralConcurrently", 0, checkSeveralConcurrently,
		"of callers at once that share some of their limits, the smallest room is what they get"},
	{"Forced", 0, checkForced,
		"a forced charge is admitted, takes from all limits down to one Burst below empty, and changes nothing else"},
	{"Refund", 0, checkRefund,
		"a refund gives back to all limits up to full, and changes nothing else"},
	{"ForcedAlone", 0, checkForcedAlone,
		"whatever is charged, forced and given back, each bucket owes just that, from full to one Burst below empty; " +
			"other payers, Names and windows are untouched"},
	{"Reset", resets, checkReset,
		"Reset makes the buckets of one payer under the given limits full at once, and changes nothing else"},
	{"ResetInvalid", resets, checkResetInvalid,
		"a Reset whose limits Charge.Validate refuses gets an error that wraps ErrInvalidLimit, and changes nothing"},
	{"ResetConcurrently", resets, checkResetConcurrently,
		"beside callers at once, each Reset makes room for Burst more, and leaves a bucket that counts"},
	{"Quotas", quotas, checkQuotas,
		"a quota counts what was let in, and is whole again at 00:00 UTC of the next day or month"},
	{"RetryAfter", 0, checkRetryAfter,
		"a caller that waits RetryAfter and asks again is admitted, and a microsecond earlier is not"},
	{"ResetAfter", 0, checkResetAfter,
		"a caller that waits ResetAfter finds the bucket full, and a microsecond earlier does not"},
	{"Rate", 0, checkRate,
		"in no stretch of time more is admitted than Burst and what Rate gives in it; a strict window admits no more " +
			"than Rate in any Period"},
	{"Steady", 0, checkSteady,
		"a caller that asks at just the rate of the limit is always admitted"},
	{"Model", 0, checkModel,
		"whatever is asked, the answers are those of the rules in rational numbers"},
}

// call calls a limiter and checks that the result is consistent.
func call(ctx context.Context, l httpkey.Limiter, c httpkey.Charge) (httpkey.Result, error) {
	given := c
	given.Limits = slices.Clone(c.Limits)
	r, err := l.Allow(ctx, &given)
	if err != nil {
		return r, fmt.Errorf("Allow(%+v): %w", c, err)
	}
	if err := contradiction(r, c); err != nil {
		return r, fmt.Errorf("Allow(%+v) returned %+v: %w", c, r, err)
	}
	return r, nil
}

// contradiction reports why r cannot be the result of c.
func contradiction(r httpkey.Result, c httpkey.Charge) error {
	if len(c.Limits) > 1 {
		if len(r.Each) != len(c.Limits) {
			return fmt.Errorf("there are %d results in Each, want one for each of the %d limits", len(r.Each), len(c.Limits))
		}
		for i, one := range r.Each {
			alone := c
			alone.Limits = c.Limits[i : i+1]
			if err := contradiction(one, alone); err != nil {
				return fmt.Errorf("limit %d: %w", i+1, err)
			}
		}
		joined := c.Join(r.Each)
		if joined.Each, r.Each = nil, nil; !same(joined, r) {
			return fmt.Errorf("Charge.Join makes %+v of its Each", joined)
		}
		return nil
	}
	if len(c.Limits) == 0 {
		return nil
	}
	limit := c.Limits[0].Resolve()
	couldPass := limit.Rate > 0 && c.Cost <= r.Limit.Burst
	switch {
	case r.Remaining < 0 || r.ResetAfter < 0 || r.RetryAfter < 0:
		return errors.New("no number may be negative")
	case r.Remaining > r.Limit.Burst:
		return errors.New("more remains than a full bucket holds")
	case r.Allowed && r.RetryAfter != 0:
		return errors.New("RetryAfter must be 0 if the charge is admitted")
	case c.Forced && !r.Allowed:
		return errors.New("a forced charge must be admitted")
	case !r.Allowed && couldPass != (r.RetryAfter > 0):
		return errors.New("RetryAfter must be positive if the charge is denied, and 0 if it can never pass")
	case !r.Allowed && c.Cost <= r.Remaining && limit.Rate > 0:
		return errors.New("as much remains as is denied")
	case r.Allowed && !c.Forced && !couldPass:
		return errors.New("the charge can never pass, yet it is admitted")
	case r.Limit.Name != limit.Name || r.Limit.Rate != limit.Rate ||
		r.Limit.Calendar != limit.Calendar || r.Limit.Period != limit.Period || r.Limit.DryRun != limit.DryRun:
		return errors.New("the result's Limit must be that of the charge, resolved")
	}
	return nil
}

// same reports whether two results are equal.
func same(a, b httpkey.Result) bool {
	return a.Allowed == b.Allowed && a.Limit == b.Limit && a.Remaining == b.Remaining &&
		a.ResetAfter == b.ResetAfter && a.RetryAfter == b.RetryAfter && slices.EqualFunc(a.Each, b.Each, same)
}

// allow asks for n under one limit.
func allow(ctx context.Context, l httpkey.Limiter, payer string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	return call(ctx, l, httpkey.Charge{Bucket: payer, Limits: []httpkey.Limit{limit}, Cost: n})
}

// force takes n from several limits, or gives it back, whether there is room or not.
func force(
	ctx context.Context, l httpkey.Limiter, payer string, n int, limits ...httpkey.Limit,
) (httpkey.Result, error) {
	return call(ctx, l, httpkey.Charge{Bucket: payer, Limits: limits, Cost: n, Forced: true})
}

// drain takes n from a bucket that has at least n.
func drain(ctx context.Context, l httpkey.Limiter, payer string, limit httpkey.Limit, n int) error {
	for i := range n {
		r, err := allow(ctx, l, payer, limit, 1)
		if err != nil {
			return err
		}
		if !r.Allowed {
			return fmt.Errorf("request %d of %d with %+v was denied: %+v", i+1, n, limit, r)
		}
	}
	return nil
}

// remains checks the Remaining of a payer's bucket.
func remains(ctx context.Context, l httpkey.Limiter, payer string, limit httpkey.Limit, want int) error {
	r, err := allow(ctx, l, payer, limit, 0)
	if err == nil && (r.Remaining != want || !r.Allowed) {
		err = fmt.Errorf("%q has %d left of %+v, want %d: %+v", payer, r.Remaining, limit, want, r)
	}
	return err
}

// slow returns a limit that does not refill while a test runs.
func slow(burst int) httpkey.Limit {
	return httpkey.Limit{Rate: burst, Burst: burst, Period: 100 * time.Duration(burst) * time.Hour}
}

// named returns slow with a name.
func named(name string, burst int) httpkey.Limit {
	limit := slow(burst)
	limit.Name = name
	return limit
}

func checkFirstRemaining(ctx context.Context, b limiterBench) error {
	l := b.open()
	for i, limit := range []httpkey.Limit{
		httpkey.PerSecond(10), httpkey.PerSecond(20), httpkey.PerMinute(7), httpkey.PerMinute(60),
		httpkey.PerMinute(100), httpkey.PerMinute(300), httpkey.PerMinute(600), httpkey.PerMinute(1000),
		httpkey.PerHour(1000), httpkey.PerHour(5000), {Rate: 1, Period: 24 * time.Hour},
		{Rate: 1_000_000, Period: 24 * time.Hour}, {Rate: 60, Burst: 60, Period: time.Minute},
		{Name: "named", Rate: 60, Period: time.Minute + 1}, // rounded up to a microsecond
	} {
		r, err := allow(ctx, l, fmt.Sprint("first", i), limit, 1)
		if err != nil {
			return err
		}
		applied := limit.Resolve()
		if want := limit.Rate - 1; !r.Allowed || r.Limit != applied || r.Remaining != want {
			return fmt.Errorf("the first request with %+v returned %+v, want it admitted, Remaining %d and Limit %+v",
				limit, r, want, applied)
		}
	}
	limit := httpkey.Limit{Rate: 10, Burst: 25, Period: time.Hour}
	want := limit
	if b.isStrict {
		want.Burst = 10
	}
	r, err := allow(ctx, l, "key", limit, 1)
	if err == nil && (r.Remaining != want.Burst-1 || r.Limit != want) {
		err = fmt.Errorf("the first request with %+v returned %+v, want Remaining %d of %+v", limit, r, want.Burst-1, want)
	}
	return err
}

func checkAdmits(ctx context.Context, b limiterBench) error {
	l := b.open()
	bursts := []int{1, 2, 7, 60, 300}
	switch pace, err := b.pace(ctx, l); {
	case err != nil:
		return err
	case pace > 10*time.Millisecond: // 300 calls would take seconds
		bursts = bursts[:4]
	}
	for _, burst := range bursts {
		limit, payer := slow(burst), fmt.Sprint("admits", burst)
		for n := 1; n <= burst; n++ {
			r, err := allow(ctx, l, payer, limit, 1)
			if err != nil {
				return err
			}
			if !r.Allowed || r.Remaining != burst-n {
				return fmt.Errorf("request %d of a burst of %d returned %+v, want it admitted and Remaining %d",
					n, burst, r, burst-n)
			}
		}
		r, err := allow(ctx, b.open(), payer, limit, 1)
		if err != nil {
			return err
		}
		if r.Allowed || r.Remaining != 0 {
			return fmt.Errorf("request %d of a burst of %d returned %+v, want it denied and Remaining 0", burst+1, burst, r)
		}
	}
	return nil
}

const callers = 64

// atOnce runs concurrent callers, each with its own handle, which repeat a charge. It returns
// the number of admissions of each.
func (b limiterBench) atOnce(
	ctx context.Context, times int, charge func(caller int) httpkey.Charge,
) ([callers]int, error) {
	var (
		admitted [callers]int
		errs     [callers]error
		wg       sync.WaitGroup
	)
	for i := range callers {
		l, c := b.open(), charge(i)
		wg.Go(func() {
			for range times {
				r, err := call(ctx, l, c)
				errs[i] = errors.Join(errs[i], err)
				if r.Allowed {
					admitted[i]++
				}
			}
		})
	}
	wg.Wait()
	return admitted, errors.Join(errs[:]...)
}

func checkAdmitsConcurrently(ctx context.Context, b limiterBench) error {
	for _, burst := range []int{1, 10, 100} {
		c := httpkey.Charge{Bucket: fmt.Sprint("concurrent", burst), Limits: []httpkey.Limit{slow(burst)}, Cost: 1}
		admitted, err := b.atOnce(ctx, max(1, 2*burst/callers)+1, func(int) httpkey.Charge { return c })
		if err != nil {
			return err
		}
		if total := sum(admitted[:]); total != burst {
			return fmt.Errorf("%d concurrent callers were admitted %d times by a burst of %d", callers, total, burst)
		}
	}
	return nil
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
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
			return fmt.Errorf("asking for %d returned %+v, want Allowed %v and Remaining %d",
				step.n, r, step.allowed, step.remaining)
		}
	}
	return nil
}

func checkCostZero(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(2)
	for remaining := 2; remaining >= 0; remaining-- {
		for range 3 {
			if err := remains(ctx, l, "key", limit, remaining); err != nil {
				return err
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

func checkNever(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(5)
	nothing := limit // has the same window, and so the same bucket
	nothing.Rate, nothing.Burst = 0, 0
	limits := []httpkey.Limit{nothing, {Name: "none", Period: time.Minute}}
	if !b.claims.NoQuotas {
		limits = append(limits, httpkey.PerDay(0))
	}
	for _, none := range limits {
		for _, n := range []int{0, 1} {
			if r, err := allow(ctx, l, "key", none, n); err != nil || r.Allowed {
				return fmt.Errorf("asking for %d of %+v returned %+v, %v, want a denial", n, none, r, err)
			}
		}
	}
	few := []httpkey.Limit{limit}
	if !b.claims.NoQuotas {
		few = append(few, httpkey.PerDay(5))
	}
	for _, n := range []int{6, math.MaxInt32, math.MaxInt, 6} {
		for _, limit := range few {
			if r, err := allow(ctx, l, "key", limit, n); err != nil || r.Allowed || r.Remaining != 5 {
				return fmt.Errorf("asking for %d of %+v returned %+v, %v, want a denial", n, limit, r, err)
			}
		}
	}
	both := httpkey.Charge{Bucket: "key", Limits: []httpkey.Limit{limit, {Name: "none", Period: time.Minute}}, Cost: 1}
	if r, err := call(ctx, l, both); err != nil || r.Allowed || r.RetryAfter != 0 {
		return fmt.Errorf("asking for %+v returned %+v, %v, want a denial for ever", both, r, err)
	}
	if err := drain(ctx, l, "key", limit, 3); err != nil {
		return err
	}
	if _, err := force(ctx, l, "key", 2, nothing); err != nil {
		return err
	}
	return remains(ctx, l, "key", limit, 2)
}

func checkPeriods(ctx context.Context, b limiterBench) error {
	l := b.open()
	for i, period := range []time.Duration{1, 999, 1001, time.Second + 1, 100*time.Hour - 1, 100*time.Hour + 1} {
		odd := httpkey.Limit{Name: "odd", Rate: 3, Burst: 3, Period: period}
		payer, whole := fmt.Sprint("period", i), odd.Resolve()
		r, err := allow(ctx, l, payer, odd, 1)
		if err != nil || !r.Allowed || r.Remaining != 2 || r.Limit != whole {
			return fmt.Errorf("the first request under %+v returned %+v, %v, want it admitted under %+v", odd, r, err, whole)
		}
		if period < time.Hour { // it may be full again
			continue
		}
		if err := remains(ctx, l, payer, whole, 2); err != nil {
			return fmt.Errorf("after a request under %+v: %w", odd, err)
		}
	}
	return nil
}

func checkInvalid(ctx context.Context, b limiterBench) error {
	l, good := b.open(), slow(5)
	two := func(limits ...httpkey.Limit) httpkey.Charge { return httpkey.Charge{Limits: limits, Cost: 1} }
	one := func(limit httpkey.Limit, n int) httpkey.Charge {
		return httpkey.Charge{Limits: []httpkey.Limit{limit}, Cost: n}
	}
	for what, c := range map[string]httpkey.Charge{
		"the zero limit":                one(httpkey.Limit{}, 1),
		"a negative Rate":               one(httpkey.Limit{Rate: -5, Burst: 5, Period: time.Minute}, 1),
		"a negative Burst":              one(httpkey.Limit{Rate: 5, Burst: -5, Period: time.Minute}, 1),
		"a Period of 0":                 one(httpkey.Limit{Rate: 5}, 1),
		"a negative Period":             one(httpkey.Limit{Rate: 5, Period: -time.Minute}, 1),
		"a Rate too large to count":     one(httpkey.Limit{Rate: math.MaxInt32, Period: math.MaxInt64 / 1000 * 1000}, 1),
		"a Name that is no scope":       one(httpkey.Limit{Name: "a b", Rate: 5, Period: time.Minute}, 1),
		"a Name that is too long":       one(httpkey.Limit{Name: strings.Repeat("a", 65), Rate: 5, Period: time.Minute}, 1),
		"an unknown Calendar":           one(httpkey.Limit{Rate: 5, Calendar: "year"}, 1),
		"a quota with a Period":         one(httpkey.Limit{Rate: 5, Calendar: "day", Period: time.Hour}, 1),
		"a quota with a Burst":          one(httpkey.Limit{Rate: 5, Calendar: "day", Burst: 2}, 1),
		"a negative Cost":               one(good, -1),
		"the most negative Cost":        one(good, math.MinInt),
		"a Cost of 0 of an invalid one": one(httpkey.Limit{}, 0),
		"a good and an invalid limit":   two(good, httpkey.Limit{Name: "b", Rate: -1, Period: time.Minute}),
		"two limits of one bucket":      two(good, good),
		"nine limits": two(good, named("b", 1), named("c", 1), named("d", 1), named("e", 1), named("f", 1),
			named("g", 1), named("h", 1), named("i", 1)),
		"a forced Cost too large to count": {Limits: []httpkey.Limit{good}, Cost: math.MaxInt, Forced: true},
		"a refund too large to count":      {Limits: []httpkey.Limit{good}, Cost: math.MinInt, Forced: true},
	} {
		c.Bucket = "key"
		for range 2 {
			r, err := l.Allow(ctx, &c)
			if !errors.Is(err, httpkey.ErrInvalidLimit) || r.Allowed {
				return fmt.Errorf("%s: Allow(%+v) returned %+v and the error %v, want ErrInvalidLimit", what, c, r, err)
			}
		}
	}
	return remains(ctx, l, "key", good, 5)
}

func checkDryRun(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(3)
	dry := limit
	dry.DryRun = true
	if err := drain(ctx, l, "key", dry, 2); err != nil {
		return err
	}
	if err := remains(ctx, l, "key", limit, 1); err != nil {
		return fmt.Errorf("after 2 requests under the same limit with DryRun: %w", err)
	}
	if err := drain(ctx, l, "key", limit, 1); err != nil {
		return err
	}
	if r, err := allow(ctx, l, "key", dry, 1); err != nil || r.Allowed {
		return fmt.Errorf("a request with %+v, of which none is left, returned %+v, %v, want a denial", dry, r, err)
	}
	return nil
}

func checkUnlimited(ctx context.Context, b limiterBench) error {
	for _, n := range []int{0, 1, 1_000_000} {
		r, err := call(ctx, b.open(), httpkey.Charge{Bucket: "key", Cost: n})
		if err != nil || !r.Allowed || r.Limit != (httpkey.Limit{}) {
			return fmt.Errorf("asking for %d under no limit returned %+v, %v", n, r, err)
		}
	}
	return nil
}

func checkChargeStays(ctx context.Context, b limiterBench) error {
	l := b.open()
	c := &httpkey.Charge{Limits: make([]httpkey.Limit, 2), Cost: 1} // reused for all calls, as a Guard does
	for n := range 3 {
		for _, payer := range []string{"a", "b"} {
			c.Bucket = payer
			copy(c.Limits, []httpkey.Limit{{Name: "x" + payer, Rate: 4, Period: 400 * time.Hour}, named("y", 9)})
			before := *c
			before.Limits = slices.Clone(c.Limits)
			r, err := l.Allow(ctx, c)
			if err != nil {
				return fmt.Errorf("Allow: %w", err)
			}
			if c.Bucket != before.Bucket || c.Cost != before.Cost || c.Forced || !slices.Equal(c.Limits, before.Limits) {
				return fmt.Errorf("Allow made %+v of %+v", *c, before)
			}
			if !r.Allowed || len(r.Each) != 2 || r.Each[0].Remaining != 3-n || r.Each[1].Remaining != 8-n {
				return fmt.Errorf("request %d of %q returned %+v, where each payer has made one more", n+1, payer, r)
			}
			clear(c.Limits)
		}
	}
	return nil
}

func checkPayersApart(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(2)
	for _, payer := range []string{
		"key", "Key", "key ", " key", "kéy", "ke\u0301y", "key\x00", "key\xff", "", "0", "{key}", "key:1", "*", "a\nb",
		"}", "{", "{}", "{}key", strings.Repeat("k", 255), strings.Repeat("k", 256), "token:key", "user:key", "probe",
	} {
		if err := drain(ctx, l, payer, limit, 2); err != nil {
			return fmt.Errorf("beside similar payers: %w", err)
		}
		r, err := allow(ctx, l, payer, limit, 1)
		if err != nil {
			return err
		}
		if r.Allowed {
			return fmt.Errorf("the bucket of %q forgot what was taken: %+v", payer, r)
		}
	}
	return nil
}

func checkNamesApart(ctx context.Context, b limiterBench) error {
	l := b.open()
	type bucket struct{ payer, name string }
	var all []bucket
	for _, name := range []string{"", "a", "A", "b", "a:b", ":", "a:", "0", "{a}", strings.Repeat("n", 64)} {
		all = append(all, bucket{"key", name})
	}
	// The names of these limits are equal when their parts are joined.
	all = append(all,
		bucket{"key:a", ""}, bucket{"key:a", "b"}, bucket{"key:", "a"}, bucket{"keya", ""}, bucket{"", "key"})
	for _, of := range all {
		if err := drain(ctx, l, of.payer, named(of.name, 2), 2); err != nil {
			return fmt.Errorf("%+v, beside similar names: %w", of, err)
		}
	}
	for _, of := range all {
		if err := remains(ctx, l, of.payer, named(of.name, 2), 0); err != nil {
			return err
		}
	}
	return nil
}

func checkWindowsApart(ctx context.Context, b limiterBench) error {
	l, low := b.open(), slow(10)
	if err := drain(ctx, l, "key", low, 10); err != nil {
		return err
	}
	others := []httpkey.Limit{slow(20), slow(5), {Rate: 10, Burst: 10, Period: time.Minute}}
	if !b.isStrict { // a strict limiter ignores Burst
		others = append(others, httpkey.Limit{Rate: 10, Burst: 11, Period: low.Period})
	}
	if !b.claims.NoQuotas {
		b.awayFromMidnight()
		others = append(others, httpkey.PerDay(10), httpkey.PerMonth(10))
	}
	for _, limit := range others {
		r, err := allow(ctx, l, "key", limit, 1)
		if err != nil {
			return err
		}
		if !r.Allowed || r.Remaining != limit.Resolve().Burst-1 {
			return fmt.Errorf("after %+v was used up, the first request under %+v returned %+v, want a full bucket",
				low, limit, r)
		}
	}
	return remains(ctx, l, "key", low, 0)
}
