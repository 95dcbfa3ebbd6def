package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/model"
)

// The rules in this file wait.

// pace returns the longest duration of a few calls, and 0 in a bubble.
func (b limiterBench) pace(ctx context.Context, l httpkey.Limiter) (longest time.Duration, err error) {
	for range 5 {
		asked := time.Now()
		if _, err := allow(ctx, l, "pace", slow(10), 1); err != nil {
			return 0, err
		}
		longest = max(longest, time.Since(asked))
	}
	return longest, nil
}

// brisk returns limits that refill soon, but not within a few calls. If time is not exact, a
// call takes less than a tenth of the time in which a limit refills by one. So the rules find
// out a limiter that refills a tenth late.
func (b limiterBench) brisk(ctx context.Context, l httpkey.Limiter) ([]httpkey.Limit, error) {
	if b.isExact {
		return []httpkey.Limit{
			{Rate: 5, Burst: 5, Period: 100 * time.Millisecond},
			{Rate: 7, Burst: 7, Period: 200 * time.Millisecond}, // does not divide its period
			{Rate: 1, Burst: 1, Period: 50 * time.Millisecond},
		}, nil
	}
	pace, err := b.pace(ctx, l)
	interval := max(20*time.Millisecond, 12*pace).Truncate(time.Microsecond)
	return []httpkey.Limit{
		{Rate: 3, Burst: 3, Period: 3*interval + time.Microsecond}, // does not divide its period
		{Rate: 2, Burst: 2, Period: 2 * interval},
		{Rate: 1, Burst: 1, Period: interval},
	}, err
}

// grain returns the tolerance for a limiter's numbers if time is not exact.
func (b limiterBench) grain() time.Duration {
	if b.isExact {
		return 0
	}
	return time.Millisecond
}

// payback returns the time until a full bucket is full again after a charge of n.
func (b limiterBench) payback(limit httpkey.Limit, n int) time.Duration {
	if b.isStrict {
		return limit.Period
	}
	micros := int64(n) * limit.Period.Microseconds()
	return time.Duration((micros+int64(limit.Rate)-1)/int64(limit.Rate)) * time.Microsecond
}

func checkRetryAfter(ctx context.Context, b limiterBench) error {
	l := b.open()
	limits, err := b.brisk(ctx, l)
	if err != nil {
		return err
	}
	for i, limit := range limits {
		for n := 1; n <= limit.Burst; n++ {
			if err := b.waitsForRetry(ctx, l, fmt.Sprint("retry", i, "-", n), limit, n); err != nil {
				return fmt.Errorf("%+v: %w", limit, err)
			}
		}
	}
	return nil
}

// denied asks for n of a bucket that was just emptied. It tries several times, since the
// bucket may refill if the machine stops in between.
func (b limiterBench) denied(
	ctx context.Context, l httpkey.Limiter, payer string, limit httpkey.Limit, n int,
) (r httpkey.Result, used string, asked time.Time, err error) {
	for try := range 20 {
		used = fmt.Sprint(payer, " ", try)
		if r, err = allow(ctx, l, used, limit, limit.Burst); err != nil || !r.Allowed {
			return r, used, asked, fmt.Errorf("a full bucket returned %+v, %v, want all of it", r, err)
		}
		asked = time.Now()
		if r, err = allow(ctx, l, used, limit, n); err != nil || !r.Allowed {
			return r, used, asked, err
		}
		if b.isExact {
			return r, used, asked, fmt.Errorf("an empty bucket returned %+v, want %d denied", r, n)
		}
	}
	return r, used, asked, fmt.Errorf("%w: 20 times, an empty bucket had room again for the next call", errUnchecked)
}

func (b limiterBench) waitsForRetry(
	ctx context.Context, l httpkey.Limiter, payer string, limit httpkey.Limit, n int,
) error {
	denied, payer, asked, err := b.denied(ctx, l, payer, limit, n)
	if err != nil {
		return err
	}
	if longest := b.payback(limit, n) + b.grain(); denied.RetryAfter > longest {
		return fmt.Errorf("asking an empty bucket for %d returned %+v, want a RetryAfter of %v at most", n, denied, longest)
	}
	left := denied.RetryAfter
	if b.isExact {
		b.wait(left - time.Microsecond)
		left = time.Microsecond
	}
	early, err := allow(ctx, l, payer, limit, n)
	if err != nil {
		return err
	}
	if early.Allowed && time.Since(asked) < denied.RetryAfter {
		return fmt.Errorf("asking for %d before RetryAfter (%v) returned %+v, want a denial", n, denied.RetryAfter, early)
	}
	if early.Allowed {
		return nil // the machine stopped for longer than RetryAfter, so the admission is right
	}
	b.wait(left)
	if r, err := allow(ctx, l, payer, limit, n); err != nil || !r.Allowed {
		return fmt.Errorf("asking for %d after RetryAfter (%v) returned %+v, %v, want it admitted",
			n, denied.RetryAfter, r, err)
	}
	return nil
}

func checkResetAfter(ctx context.Context, b limiterBench) error {
	l := b.open()
	limits, err := b.brisk(ctx, l)
	if err != nil {
		return err
	}
	for i, limit := range limits {
		for taken := 1; taken <= limit.Burst; taken++ {
			if err := b.waitsForReset(ctx, l, fmt.Sprint("reset", i, "-", taken), limit, taken); err != nil {
				return fmt.Errorf("%+v: %w", limit, err)
			}
		}
	}
	return nil
}

func (b limiterBench) waitsForReset(
	ctx context.Context, l httpkey.Limiter, payer string, limit httpkey.Limit, taken int,
) error {
	asked := time.Now()
	r, err := allow(ctx, l, payer, limit, taken)
	if err != nil {
		return err
	}
	if want := b.payback(limit, taken); (r.ResetAfter - want).Abs() > b.grain() {
		return fmt.Errorf("after %d were taken, ResetAfter is %v, want %v", taken, r.ResetAfter, want)
	}
	left := r.ResetAfter
	if b.isExact {
		b.wait(left - time.Microsecond)
		left = time.Microsecond
	}
	early, err := allow(ctx, l, payer, limit, 0)
	if err != nil {
		return err
	}
	if early.Remaining == limit.Burst && time.Since(asked) < r.ResetAfter {
		return fmt.Errorf("before ResetAfter (%v) the bucket shows %+v, want it not full yet", r.ResetAfter, early)
	}
	b.wait(left)
	if full, err := allow(ctx, l, payer, limit, 0); err != nil || full.Remaining != limit.Burst || full.ResetAfter != 0 {
		return fmt.Errorf("after ResetAfter (%v) the bucket shows %+v, %v, want it full", r.ResetAfter, full, err)
	}
	return nil
}

func checkRate(ctx context.Context, b limiterBench) error {
	l := b.open()
	limits, err := b.brisk(ctx, l)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i, limit := range limits {
		begun := time.Now()
		var before, after []time.Time // of the calls that were admitted
		for n := 0; b.isExact && n < 400 || !b.isExact && time.Since(begun) < 3*limit.Period; n++ {
			asked := time.Now()
			r, err := allow(ctx, l, fmt.Sprint("rate", i), limit, 1)
			if err != nil {
				return err
			}
			if r.Allowed {
				before, after = append(before, asked), append(after, time.Now())
			}
			if b.isExact { // else time passes by itself
				twice := 2 * limit.Period / time.Duration(limit.Rate)
				b.wait(time.Duration(random.Int64N(twice.Microseconds())) * time.Microsecond)
			}
		}
		for first := range before {
			for last := first; last < len(after); last++ {
				n, stretch := last-first+1, after[last].Sub(before[first]) // at least as long as the real one
				if b.isStrict && stretch < limit.Period && n > limit.Rate ||
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
	limits, err := b.brisk(ctx, l)
	if err != nil {
		return err
	}
	for i, limit := range limits {
		interval := (limit.Period / time.Duration(limit.Rate)).Truncate(time.Microsecond) + time.Microsecond
		for n := range 2*limit.Rate + 1 {
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

func checkModel(ctx context.Context, b limiterBench) error {
	l, want := b.open(), model.New(b.isStrict)
	random := rand.New(rand.NewPCG(3, 4))
	if !b.isExact {
		return b.agrees(ctx, l, want, random)
	}
	for step := range 3000 {
		c := b.randomCharge(random)
		if !b.claims.NoReset && random.IntN(30) == 0 {
			if err := reset(ctx, l, c); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
			want.Reset(&c, time.Now())
		}
		got, err := call(ctx, l, c)
		if err != nil {
			return err
		}
		if want := want.Allow(&c, time.Now()); !same(got, want) {
			return fmt.Errorf("step %d at %v: Allow(%+v) returned\n%+v, the model says\n%+v",
				step, time.Now().UTC(), c, got, want)
		}
		pauses := []time.Duration{40 * time.Hour, time.Minute, 10 * time.Second, time.Second, 100 * time.Millisecond}
		if n := random.IntN(40); n < len(pauses) {
			b.wait(time.Duration(random.Int64N(pauses[n].Microseconds())) * time.Microsecond)
		}
	}
	return nil
}

// agrees compares with the model where time is not exact: under limits that give nothing back
// meanwhile, and without their times.
func (b limiterBench) agrees(ctx context.Context, l httpkey.Limiter, want *model.Limiter, random *rand.Rand) error {
	pace, err := b.pace(ctx, l)
	if err != nil {
		return err
	}
	now := time.Now()
	for step := range min(500, max(50, int(3*time.Second/max(1, pace)))) {
		c := httpkey.Charge{Bucket: fmt.Sprint("payer", random.IntN(2)), Cost: 1 + random.IntN(20)}
		for _, name := range [][]string{{""}, {"a"}, {"", "a"}}[random.IntN(3)] {
			limit := sixty([]int{30, 60, 120}[random.IntN(3)])
			limit.Name = name
			c.Limits = append(c.Limits, limit)
		}
		if c.Forced = random.IntN(5) == 0; c.Forced {
			c.Cost -= 15
		}
		if !b.claims.NoReset && random.IntN(30) == 0 {
			if err := reset(ctx, l, c); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
			want.Reset(&c, now)
		}
		got, err := call(ctx, l, c)
		if err != nil {
			return err
		}
		if want := want.Allow(&c, now); !sameCounts(got, want) {
			return fmt.Errorf("step %d: Allow(%+v) returned\n%+v, the model says\n%+v", step, c, got, want)
		}
	}
	return nil
}

// sameCounts is same for each limit of its own, without the times. Which limit binds may
// depend on the time.
func sameCounts(a, b httpkey.Result) bool {
	return a.Allowed == b.Allowed && slices.EqualFunc(a.Each, b.Each, sameCounts) &&
		(a.Remaining == b.Remaining || len(a.Each) > 0)
}

// randomCharge returns a charge of one to three limits that change all the time, and among
// them are quotas.
func (b limiterBench) randomCharge(random *rand.Rand) httpkey.Charge {
	c := httpkey.Charge{Bucket: fmt.Sprint("payer", random.IntN(3)), Cost: 1}
	names := random.Perm(4)[:1+random.IntN(3)]
	for _, name := range names {
		rate := 1 + random.IntN(20)
		limit := httpkey.Limit{Rate: rate, Period: time.Second}
		switch kind := random.IntN(12); {
		case kind == 0:
			limit.Rate = 0
		case kind < 3:
			limit.Burst = 1 + random.IntN(20)
		case kind < 6:
			limit.Period = 10 * time.Second
		case kind == 6 && !b.claims.NoQuotas:
			limit = httpkey.PerDay(rate)
		case kind == 7 && !b.claims.NoQuotas:
			limit = httpkey.PerMonth(rate)
		}
		limit.Name = []string{"", "a", "b", "c"}[name]
		c.Limits = append(c.Limits, limit)
	}
	switch random.IntN(10) {
	case 0:
		c.Cost = 0
	case 1, 2, 3:
		c.Cost = random.IntN(8)
	case 4:
		c.Forced, c.Cost = true, random.IntN(30)-15
	}
	return c
}
