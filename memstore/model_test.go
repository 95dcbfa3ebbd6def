package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/memstore"
)

// newLimiters are the limiters under their common interface.
var newLimiters = map[string]func() httpkey.Limiter{
	"GCRA":   func() httpkey.Limiter { return memstore.NewLimiter() },
	"Window": func() httpkey.Limiter { return memstore.NewWindow() },
}

// take asks for n under one limit.
func take(t testing.TB, l httpkey.Limiter, payer string, limit httpkey.Limit, n int) httpkey.Result {
	t.Helper()
	r, err := l.Allow(t.Context(), &httpkey.Charge{Bucket: payer, Limits: []httpkey.Limit{limit}, Cost: n})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// same reports whether two results say the same.
func same(a, b httpkey.Result) bool {
	return a.Allowed == b.Allowed && a.Limit == b.Limit && a.Remaining == b.Remaining &&
		a.ResetAfter == b.ResetAfter && a.RetryAfter == b.RetryAfter && slices.EqualFunc(a.Each, b.Each, same)
}

// randomLimit returns limits of every size, most of which do not divide their period. Many
// share one of two windows, though their rates differ.
func randomLimit(random *rand.Rand) httpkey.Limit {
	limit := httpkey.Limit{
		Rate:   1 + random.IntN([]int{3, 30, 300}[random.IntN(3)]),
		Period: time.Duration(1+random.Int64N([]int64{50, 1e6, 6e7, 3.6e9}[random.IntN(4)])) * time.Microsecond,
	}
	switch random.IntN(4) {
	case 0:
		limit.Burst = 1 + random.IntN(200)
	case 1:
		limit.Period = 1_000_003 * time.Microsecond
	case 2:
		limit.Period = time.Minute
	}
	return limit
}

// Some payers under limits that change all the time, with costs, quotas and refunds: every
// number of every answer is the model's.
func TestLimitersAgreeWithTheirModels(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range newLimiters {
		for _, count := range []int{1, 2, 3} {
			t.Run(fmt.Sprint(name, count), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					compare(t, newLimiter(), model.New(name == "Window"), count)
				})
			})
		}
	}
}

func compare(t *testing.T, limiter httpkey.Limiter, want *model.Limiter, count int) {
	random := rand.New(rand.NewPCG(7, uint64(count)))
	pool := make([]httpkey.Limit, 3*count) // three forms of each limit
	for i := range pool {
		pool[i] = randomLimit(random)
	}
	steps, allowed := model.Steps(200_000), 0
	for step := range steps {
		if random.IntN(200) == 0 {
			pool[random.IntN(len(pool))] = randomLimit(random)
		}
		c := randomCharge(random, pool)
		got, err := limiter.Allow(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if got.Allowed {
			allowed++
		}
		if want := want.Allow(c, time.Now()); !same(got, want) {
			t.Fatalf("step %d at %v: %+v returned\n%+v, the model says\n%+v", step, time.Now(), c, got, want)
		}
		httpkeytest.Elapse(randomPause(random, c.Limits[0]))
	}
	t.Logf("%d steps, %d admitted, 0 differences", steps, allowed)
	if allowed < steps/10 || allowed > steps*9/10 {
		t.Errorf("only one kind of answer was compared: %d of %d admitted", allowed, steps)
	}
}

func randomCharge(random *rand.Rand, pool []httpkey.Limit) *httpkey.Charge {
	c := &httpkey.Charge{Bucket: fmt.Sprint(random.IntN(2)), Cost: 1}
	for i := range len(pool) / 3 {
		limit := pool[3*i+random.IntN(3)]
		switch random.IntN(20) {
		case 0:
			limit = httpkey.PerDay(10 * limit.Rate)
		case 1:
			limit = httpkey.PerMonth(100 * limit.Rate)
		case 2:
			limit.Rate, limit.Burst = 0, 0
		}
		limit.Name = []string{"", "a", "b"}[i]
		c.Limits = append(c.Limits, limit)
	}
	most := c.Limits[0].Resolve().Burst
	switch random.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		c.Cost = random.IntN(most + 2)
	case 6:
		c.Cost, c.Forced = random.IntN(4*most+2)-2*most, true
	}
	return c
}

// randomPause returns how long no request comes: often not at all, mostly for a little, at
// times for hours.
func randomPause(random *rand.Rand, limit httpkey.Limit) time.Duration {
	period := limit.Period.Microseconds()
	micros := random.Int64N(2) * random.Int64N(period/max(1, int64(limit.Rate))/2+2)
	switch random.IntN(1000) {
	case 0:
		micros = random.Int64N(1e12)
	case 1, 2, 3, 4, 5:
		micros = random.Int64N(3*period + 1)
	}
	return time.Duration(micros) * time.Microsecond
}

// 64 goroutines on a clock that stands still admit exactly the smallest room, for 300 random
// sets of limits.
func TestConcurrentCallersAdmitExactly(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range newLimiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := newLimiter()
				random := rand.New(rand.NewPCG(7, 8))
				for round := range 300 {
					limits, room := randomSet(random, name == "Window")
					admitted := make([]int, 64)
					var wg sync.WaitGroup
					for caller := range admitted {
						c := &httpkey.Charge{Bucket: fmt.Sprint(round), Limits: slices.Clone(limits), Cost: 1}
						if caller%2 == 0 {
							slices.Reverse(c.Limits)
						}
						wg.Go(func() {
							for range 2 + room/32 {
								r, err := limiter.Allow(t.Context(), c)
								if err != nil {
									t.Error(err)
								}
								if r.Allowed {
									admitted[caller]++
								}
							}
						})
					}
					wg.Wait()
					total := 0
					for _, n := range admitted {
						total += n
					}
					if total != room {
						t.Fatalf("%+v admitted %d, want %d", limits, total, room)
					}
				}
			})
		})
	}
}

// randomSet returns one to three limits and the smallest room among them.
func randomSet(random *rand.Rand, isStrict bool) (limits []httpkey.Limit, room int) {
	room = 1000
	for n := range 1 + random.IntN(3) {
		limit := httpkey.Limit{Rate: 1 + random.IntN(200), Period: time.Duration(1+random.IntN(1e6)) * time.Millisecond}
		switch random.IntN(4) {
		case 0:
			limit = httpkey.PerDay(limit.Rate)
		case 1:
			limit.Burst = 1 + random.IntN(200)
		}
		limit.Name = fmt.Sprint("n", n)
		has := limit.Resolve().Burst
		if isStrict {
			has = limit.Rate
		}
		limits, room = append(limits, limit), min(room, has)
	}
	return limits, room
}

// In 10,000 random cases, waiting exactly RetryAfter admits, and a microsecond less does not.
func TestRetryAfterIsExact(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range newLimiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := newLimiter()
				random := rand.New(rand.NewPCG(9, 10))
				for cases := 0; cases < 10_000; {
					limit := randomLimit(random)
					limit.Burst = min(limit.Burst, limit.Rate)
					payer := fmt.Sprint(cases)
					var denied httpkey.Result
					n := 0
					for try := 0; try == 0 || denied.Allowed; try++ {
						n = 1 + random.IntN(limit.Resolve().Burst)
						denied = take(t, limiter, payer, limit, n)
						if random.IntN(4) == 0 {
							httpkeytest.Elapse(time.Duration(random.Int64N(int64(limit.Period)/int64(limit.Rate) + 1)))
						}
						if try > 0 && !denied.Allowed {
							denied = take(t, limiter, payer, limit, n) // after the pause
						}
					}
					if denied.Allowed {
						continue
					}
					cases++
					httpkeytest.Elapse(denied.RetryAfter - time.Microsecond)
					if r := take(t, limiter, payer, limit, n); r.Allowed {
						t.Fatalf("%d of %+v: a microsecond before RetryAfter (%v): %+v", n, limit, denied.RetryAfter, r)
					}
					httpkeytest.Elapse(time.Microsecond)
					if r := take(t, limiter, payer, limit, n); !r.Allowed {
						t.Fatalf("%d of %+v: after RetryAfter (%v): %+v", n, limit, denied.RetryAfter, r)
					}
				}
			})
		})
	}
}

// A Window never admits more than Rate in any Period, wherever the Period begins.
func TestWindowIsStrict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(11, 12))
		window := memstore.NewWindow()
		for round := range 50 {
			limit := httpkey.Limit{Rate: 1 + random.IntN(20), Period: time.Duration(1+random.IntN(1000)) * time.Millisecond}
			var admitted []time.Time // within the last Period
			for range 500 {
				n := 1 + random.IntN(2)*random.IntN(limit.Rate)
				r := take(t, window, fmt.Sprint(round), limit, n)
				for len(admitted) > 0 && time.Since(admitted[0]) >= limit.Period {
					admitted = admitted[1:]
				}
				for range n {
					if r.Allowed {
						admitted = append(admitted, time.Now())
					}
				}
				if len(admitted) > limit.Rate {
					t.Fatalf("%+v admitted %d within %v", limit, len(admitted), time.Since(admitted[0]))
				}
				httpkeytest.Elapse(time.Duration(random.Int64N(2 * int64(limit.Period) / int64(limit.Rate))))
			}
		}
	})
}

// A quota lasts until the last nanosecond of its day.
func TestQuotaInTheLastMicrosecond(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range newLimiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter, limit := newLimiter(), httpkey.PerDay(2)
				httpkeytest.Elapse(24*time.Hour - 500) // the bubble began at midnight
				for want := 1; want >= 0; want-- {
					if r := take(t, limiter, "key", limit, 1); r.Remaining != want || r.ResetAfter != time.Microsecond {
						t.Errorf("half a microsecond before midnight: %+v", r)
					}
				}
				if r := take(t, limiter, "key", limit, 1); r.Allowed || r.RetryAfter != time.Microsecond {
					t.Errorf("half a microsecond before midnight, a third request: %+v", r)
				}
				httpkeytest.Elapse(500)
				if r := take(t, limiter, "key", limit, 1); r.Remaining != 1 {
					t.Errorf("at midnight: %+v", r)
				}
			})
		})
	}
}
