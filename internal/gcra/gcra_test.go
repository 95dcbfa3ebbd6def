package gcra_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/internal/ram"
)

// limiter is the arithmetic, with nothing around it but a map.
type limiter map[ram.Term]*gcra.Bucket

func (l limiter) allow(c *httpkey.Charge, now time.Time) httpkey.Result {
	items := charge.Items(c, now)
	at, n := now.UnixMicro(), int64(c.Cost)
	each, isEnough := make([]httpkey.Result, len(items)), true
	for i, item := range items {
		b := l.bucket(item.Term)
		each[i].Allowed = c.Forced || item.Terms.HasRoom(b.Owed(item.Terms, at), n)
		isEnough = isEnough && each[i].Allowed
	}
	for i, item := range items {
		b := l.bucket(item.Term)
		owed := b.Owed(item.Terms, at)
		if isEnough {
			owed = b.Charge(item.Terms, at, owed, n)
		}
		each[i] = item.Result(item.Terms.Result(each[i].Allowed, owed, n))
	}
	return c.Join(each)
}

func (l limiter) bucket(t ram.Term) *gcra.Bucket {
	if l[t] == nil {
		l[t] = new(gcra.Bucket)
	}
	return l[t]
}

// randomLimit returns limits of every size, most of which do not divide their period. Many
// share one of two windows, though their rates differ.
func randomLimit(random *rand.Rand) httpkey.Limit {
	limit := httpkey.Limit{
		Rate:   1 + random.IntN([]int{3, 60, 1000, 100_000}[random.IntN(4)]),
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
	if random.IntN(20) == 0 {
		limit.Rate, limit.Burst = 0, 0
	}
	return limit
}

// randomStep returns how far the clock moves: often not at all, mostly a little, at times by
// hours, and now and then backwards.
func randomStep(random *rand.Rand, limit httpkey.Limit) time.Duration {
	period := limit.Period.Microseconds()
	interval := max(1, period/max(1, int64(limit.Rate)))
	micros := random.Int64N(2) * random.Int64N(interval/2+2)
	switch random.IntN(100) {
	case 0:
		micros = random.Int64N(1e12)
	case 1, 2:
		micros = random.Int64N(3*period + 1)
	case 3, 4, 5, 6, 7:
		micros = -random.Int64N(3 * interval)
	case 8:
		micros = -random.Int64N(3*period + 1) // beyond two windows
	}
	return time.Duration(micros) * time.Microsecond
}

// Some buckets under limits that change all the time, with costs, refunds and clock jumps:
// every number of every answer is the model's.
func TestBucketsAgreeWithTheModel(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(count, " limits"), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(5, uint64(count)))
			got, want := make(limiter), model.New(false)
			now, allowed := time.UnixMicro(1e15), 0
			pool := make([]httpkey.Limit, 3*count)
			for i := range pool {
				pool[i] = randomLimit(random)
			}
			steps := model.Steps(200_000)
			for step := range steps {
				if random.IntN(100) == 0 {
					pool[random.IntN(len(pool))] = randomLimit(random)
				}
				c := &httpkey.Charge{Cost: 1}
				for i := range count { // three forms of each name
					limit := pool[3*i+random.IntN(3)]
					if random.IntN(20) == 0 {
						limit = []httpkey.Limit{httpkey.PerDay(limit.Rate), httpkey.PerMonth(limit.Rate)}[random.IntN(2)]
					}
					limit.Name = []string{"a", "b", "c"}[i]
					c.Limits = append(c.Limits, limit)
				}
				if random.IntN(3) == 0 {
					c.Cost = random.IntN(c.Limits[0].Resolve().Burst + 2)
				}
				if c.Forced = random.IntN(20) == 0; c.Forced {
					c.Cost = random.IntN(4*c.Limits[0].Resolve().Burst+2) - 2*c.Limits[0].Resolve().Burst
				}
				now = now.Add(randomStep(random, c.Limits[0]))
				got, want := got.allow(c, now), want.Allow(c, now)
				if got.Allowed {
					allowed++
				}
				if !same(got, want) {
					t.Fatalf("step %d at %v: %+v returned\n%+v, the model says\n%+v", step, now, c, got, want)
				}
			}
			t.Logf("%d steps, %d admitted, 0 differences", steps, allowed)
			if allowed < steps/10 || allowed > steps*9/10 {
				t.Errorf("only one kind of answer was compared: %d of %d admitted", allowed, steps)
			}
		})
	}
}

func same(a, b httpkey.Result) bool {
	return a.Allowed == b.Allowed && a.Limit == b.Limit && a.Remaining == b.Remaining &&
		a.ResetAfter == b.ResetAfter && a.RetryAfter == b.RetryAfter && slices.EqualFunc(a.Each, b.Each, same)
}

// The largest debt that Validate lets through neither overflows nor admits too much, also where
// a forced charge doubles it.
func TestLargestDebt(t *testing.T) {
	t.Parallel()
	terms := gcra.Terms{Rate: 1 << 20, Burst: 1 << 20, Period: 1 << 41}
	var bucket gcra.Bucket
	for i, want := range []bool{true, false} {
		if r := bucket.Take(terms, 0, terms.Burst, false); r.Allowed != want || r.Remaining != 0 {
			t.Errorf("%d: %+v", i, r)
		}
	}
	for range 3 {
		r := bucket.Take(terms, 0, math.MaxInt32, true)
		if r.Remaining != 0 || r.ResetAfter != 2*terms.Window() || bucket.Debt != 2*terms.Capacity() {
			t.Errorf("overdrawn: %+v, %+v", r, bucket)
		}
	}
	slower := terms
	slower.Rate, slower.Burst = math.MaxInt32, 1
	if owed := bucket.Owed(slower, 0); owed != 2*slower.Capacity() {
		t.Errorf("under another rate it owes %d, want the most, %d", owed, 2*slower.Capacity())
	}
	if r := bucket.Take(terms, 0, -terms.Burst, true); r.ResetAfter != terms.Window() {
		t.Errorf("after a refund: %+v", r)
	}
	if r := bucket.Take(terms, 0, -math.MaxInt32, true); r.Remaining != terms.Burst || bucket.Debt != 0 {
		t.Errorf("after a refund above full: %+v, %+v", r, bucket)
	}
}

// A clock that is set back keeps nobody out for longer than two windows: a bucket that lies
// further ahead is empty as of now.
func TestClockIsSetBack(t *testing.T) {
	t.Parallel()
	terms := gcra.Terms{Rate: 10, Burst: 10, Period: 1000}
	for back, want := range map[int64]int64{0: 500, 500: 1000, 1500: 2000, 1501: 1000, 1e6: 1000, 1e15: 1000} {
		bucket := gcra.Bucket{Debt: 5000, AsOf: 1e15, Rate: 10} // a half, 500 microseconds
		r := bucket.Take(terms, 1e15-back, 0, false)
		if r.ResetAfter != want {
			t.Errorf("set back by %d µs, the bucket is full in %d, want %d", back, r.ResetAfter, want)
		}
	}
}

// A bucket that lies too far ahead owes the same before and after it is healed. It then refills
// within a window, even if the limiter denies.
func TestHeal(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 5))
	healed := 0
	for range 100_000 {
		terms := gcra.Terms{Rate: random.Int64N(5), Burst: 1 + random.Int64N(20), Period: 1 + random.Int64N(1000)}
		if random.IntN(20) == 0 {
			terms.Left = 5
		}
		now := int64(1e15)
		before := gcra.Bucket{Debt: random.Int64N(3 * terms.Capacity()), AsOf: now + random.Int64N(40_000) - 5000,
			Rate: 1 + random.Int64N(5)}
		if random.IntN(100) == 0 {
			before.AsOf = math.MaxInt64
		}
		after := before
		changed := after.Heal(terms, now)
		if got, want := after.Owed(terms, now), before.Owed(terms, now); got != want || changed != (after != before) {
			t.Fatalf("%+v under %+v is healed (%v) to %+v: it owes %d, and did %d", before, terms, changed, after, got, want)
		}
		if !changed {
			continue
		}
		healed++
		if after.Heal(terms, now) {
			t.Fatalf("%+v is healed twice", after)
		}
		if owed := after.Owed(terms, now+terms.Window()); owed != 0 {
			t.Fatalf("%+v owes %d after a window of %+v", after, owed, terms)
		}
	}
	if healed < 10_000 {
		t.Errorf("only %d buckets were healed", healed)
	}
}

// A look leaves the bucket as it was, to the last bit.
func TestLooksChangeNothing(t *testing.T) {
	t.Parallel()
	before := gcra.Bucket{Debt: 12_345, AsOf: 100, Rate: 7}
	for _, terms := range []gcra.Terms{
		{Rate: 7, Burst: 7, Period: 5000}, {Rate: 60, Burst: 60, Period: 5000},
		{Period: 5000}, {Rate: 1, Burst: 1, Period: 1},
	} {
		for _, n := range []int64{0, 1, 1 << 31} {
			bucket := before
			if r := bucket.Take(terms, 200, n, n == 0); n == 0 && bucket != before || !r.Allowed && bucket != before {
				t.Errorf("%+v made %+v of %+v", terms, bucket, before)
			}
		}
	}
}
