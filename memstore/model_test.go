package memstore

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

const steps = 200_000

// randomLimit returns limits of every size, most of which do not divide their period.
func randomLimit(random *rand.Rand) httpkey.Limit {
	limit := httpkey.Limit{
		Rate:   1 + random.IntN([]int{3, 60, 1000, 100_000}[random.IntN(4)]),
		Period: time.Duration(1+random.Int64N([]int64{50, 1e6, 6e7, 3.6e9}[random.IntN(4)])) * time.Microsecond,
	}
	limit.Burst = limit.Rate
	if random.IntN(2) == 0 {
		limit.Burst = 1 + random.IntN(200)
	}
	return limit
}

// randomStep returns how far the clock moves: often not at all, mostly a little,
// at times by hours, and now and then backwards.
func randomStep(random *rand.Rand, limit httpkey.Limit) int64 {
	interval := max(1, limit.Period.Microseconds()/int64(limit.Rate))
	switch random.IntN(100) {
	case 0:
		return random.Int64N(1e12)
	case 1, 2:
		return random.Int64N(3 * limit.Period.Microseconds())
	case 3, 4, 5, 6, 7:
		return -random.Int64N(3 * interval)
	}
	return random.Int64N(2) * random.Int64N(interval/2+2)
}

func randomCost(random *rand.Rand, limit httpkey.Limit) int {
	if random.IntN(3) > 0 {
		return 1
	}
	return random.IntN(limit.Burst + 1)
}

// gcraModel is GCRA as it is written in books, in rational numbers: a bucket
// that leaks Rate a Period and holds Burst.
type gcraModel struct {
	level *big.Rat // requests
	at    int64
}

func (m *gcraModel) allow(limit httpkey.Limit, now int64, n int) httpkey.Result {
	now = max(now, m.at)
	perMicro := big.NewRat(int64(limit.Rate), limit.Period.Microseconds())
	level := new(big.Rat).Mul(perMicro, big.NewRat(now-m.at, 1))
	level.Sub(m.level, level)
	if level.Sign() < 0 {
		level.SetInt64(0)
	}
	burst := big.NewRat(int64(limit.Burst), 1)
	filled := new(big.Rat).Add(level, big.NewRat(int64(n), 1))
	r := httpkey.Result{Limit: limit, Allowed: filled.Cmp(burst) <= 0}
	if r.Allowed {
		level, m.level, m.at = filled, filled, now
	} else {
		r.RetryAfter = ceil(new(big.Rat).Quo(filled.Sub(filled, burst), perMicro))
	}
	left := new(big.Rat).Sub(burst, level)
	r.Remaining = int(new(big.Int).Quo(left.Num(), left.Denom()).Int64())
	r.ResetAfter = ceil(new(big.Rat).Quo(level, perMicro))
	return r
}

// ceil rounds microseconds up.
func ceil(micros *big.Rat) time.Duration {
	q, rest := new(big.Int).QuoRem(micros.Num(), micros.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return time.Duration(q.Int64()) * time.Microsecond
}

// windowModel is a strict window as a plain list of every single request let in.
type windowModel struct {
	admitted []int64
}

func (m *windowModel) allow(limit httpkey.Limit, now int64, n int) httpkey.Result {
	period := limit.Period.Microseconds()
	if len(m.admitted) > 0 {
		now = max(now, m.admitted[len(m.admitted)-1])
	}
	var counting []int64
	for _, at := range m.admitted {
		if at+period > now {
			counting = append(counting, at)
		}
	}
	m.admitted = counting
	r := httpkey.Result{Limit: limit, Allowed: len(counting)+n <= limit.Rate}
	if r.Allowed {
		for range n {
			m.admitted = append(m.admitted, now)
		}
	} else {
		last := counting[len(counting)+n-limit.Rate-1] // the last that has to leave
		r.RetryAfter = time.Duration(last+period-now) * time.Microsecond
	}
	r.Remaining = limit.Rate - len(m.admitted)
	if len(m.admitted) > 0 {
		r.ResetAfter = time.Duration(m.admitted[len(m.admitted)-1]+period-now) * time.Microsecond
	}
	return r
}

// A few keys under a few limits that change all the time, with costs and clock
// jumps: every number of every answer is the model's.
func TestLimitersAgreeWithTheirModels(t *testing.T) {
	t.Parallel()
	t.Run("GCRA", func(t *testing.T) {
		t.Parallel()
		compare(t,
			randomLimit,
			newBuckets[gcra](), (*gcra).take,
			func() *gcraModel { return &gcraModel{level: new(big.Rat)} }, (*gcraModel).allow)
	})
	t.Run("Window", func(t *testing.T) {
		t.Parallel()
		compare(t,
			func(random *rand.Rand) httpkey.Limit {
				limit := randomLimit(random)
				limit.Rate = min(limit.Rate, 300) // the model looks at each single request
				limit.Burst = limit.Rate
				return limit
			},
			newBuckets[slidingLog](), (*slidingLog).take,
			func() *windowModel { return new(windowModel) }, (*windowModel).allow)
	})
}

type bucketName struct {
	key   string
	limit httpkey.Limit
}

func compare[S, M any](
	t *testing.T, newLimit func(*rand.Rand) httpkey.Limit,
	buckets *buckets[S], take func(*S, httpkey.Limit, int64, int) httpkey.Result,
	newModel func() *M, allow func(*M, httpkey.Limit, int64, int) httpkey.Result,
) {
	random := rand.New(rand.NewPCG(5, 6))
	var slots [4]httpkey.Slot
	models := make(map[bucketName]*M)
	limits := []httpkey.Limit{newLimit(random), newLimit(random), newLimit(random)}
	var now int64 = 1e12
	allowed, differences := 0, 0
	for step := range steps {
		if random.IntN(500) == 0 {
			limits[random.IntN(len(limits))] = newLimit(random)
		}
		limit := limits[random.IntN(len(limits))]
		name := bucketName{fmt.Sprint(random.IntN(2)), limit}
		now = max(0, now+randomStep(random, limit))
		n := randomCost(random, limit)

		bucket := buckets.lockIn(&slots[random.IntN(len(slots))], name.key, limit, 0) // a clock that jumps back must not turn generations
		got := take(&bucket.state, limit, now, n)
		bucket.mu.Unlock()
		if models[name] == nil {
			models[name] = newModel()
		}
		want := allow(models[name], limit, now, n)
		if got.Allowed {
			allowed++
		}
		if got != want {
			differences++
			t.Errorf("step %d: %d of %+v at %d: %+v, the model says %+v", step, n, limit, now, got, want)
			if differences > 5 {
				t.FailNow()
			}
		}
	}
	t.Logf("%d steps, %d admitted, %d differences", steps, allowed, differences)
	if allowed < steps/10 || allowed > steps*9/10 {
		t.Errorf("only one kind of answer was compared: %d of %d admitted", allowed, steps)
	}
}

// newLimiters are the limiters under their common interface.
var newLimiters = map[string]func() httpkey.Limiter{
	"GCRA":   func() httpkey.Limiter { return NewLimiter() },
	"Window": func() httpkey.Limiter { return NewWindow() },
}

// 64 goroutines on a clock that stands still admit exactly Burst, for 300 random limits.
func TestConcurrentCallersAdmitExactlyBurst(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range newLimiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := newLimiter()
				random := rand.New(rand.NewPCG(7, 8))
				for range 300 {
					limit := httpkey.Limit{Rate: 1 + random.IntN(200), Period: time.Duration(1+random.IntN(1e6)) * time.Millisecond}
					if name == "GCRA" {
						limit.Burst = 1 + random.IntN(200)
					}
					resolved, err := limit.Resolve(1)
					if err != nil {
						t.Fatal(err)
					}
					admitted := make([]int, 64)
					var wg sync.WaitGroup
					for caller := range admitted {
						wg.Go(func() {
							for range 2 + resolved.Burst/32 {
								r, err := limiter.Allow(t.Context(), "key", limit, 1)
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
					if total != resolved.Burst {
						t.Fatalf("%+v admitted %d, want %d", resolved, total, resolved.Burst)
					}
				}
			})
		})
	}
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
				allow := func(key string, limit httpkey.Limit, n int) httpkey.Result {
					r, err := limiter.Allow(t.Context(), key, limit, n)
					if err != nil {
						t.Fatal(err)
					}
					return r
				}
				for cases := 0; cases < 10_000; {
					limit := randomLimit(random)
					limit.Rate = min(limit.Rate, 300)
					limit.Burst = min(limit.Burst, limit.Rate)
					key := fmt.Sprint(cases)
					var denied httpkey.Result
					n := 0
					for try := 0; try == 0 || denied.Allowed; try++ {
						n = 1 + random.IntN(limit.Burst)
						denied = allow(key, limit, n)
						if random.IntN(4) == 0 {
							elapse(time.Duration(random.Int64N(int64(limit.Period)/int64(limit.Rate) + 1)))
						}
						if try > 0 && !denied.Allowed {
							denied = allow(key, limit, n) // after the pause
						}
					}
					if denied.Allowed {
						continue
					}
					cases++
					elapse(denied.RetryAfter - time.Microsecond)
					if r := allow(key, limit, n); r.Allowed {
						t.Fatalf("%d of %+v: a microsecond before RetryAfter (%v): %+v", n, limit, denied.RetryAfter, r)
					}
					elapse(time.Microsecond)
					if r := allow(key, limit, n); !r.Allowed {
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
		window := NewWindow()
		for round := range 50 {
			limit := httpkey.Limit{Rate: 1 + random.IntN(20), Period: time.Duration(1+random.IntN(1000)) * time.Millisecond}
			var admitted []time.Time // within the last Period
			for range 500 {
				n := 1 + random.IntN(2)*random.IntN(limit.Rate)
				r, err := window.Allow(t.Context(), fmt.Sprint(round), limit, n)
				if err != nil {
					t.Fatal(err)
				}
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
				elapse(time.Duration(random.Int64N(2 * int64(limit.Period) / int64(limit.Rate))))
			}
		}
	})
}
