package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
)

// reset calls Reset of a limiter, and checks that it leaves the charge as it was.
func reset(ctx context.Context, l httpkey.Limiter, c httpkey.Charge) error {
	resetter, ok := l.(httpkey.Resetter)
	if !ok {
		return fmt.Errorf("%T is no httpkey.Resetter: if that is meant, claim NoReset", l)
	}
	given := c
	given.Limits = slices.Clone(c.Limits)
	err := resetter.Reset(ctx, &given)
	switch {
	case given.Bucket != c.Bucket || given.Cost != c.Cost || given.Forced != c.Forced,
		!slices.Equal(given.Limits, c.Limits):
		return fmt.Errorf("Reset(%+v) has changed its charge to %+v", c, given)
	case err != nil:
		return fmt.Errorf("Reset(%+v): %w", c, err)
	}
	return nil
}

// resettable returns limits of a rate with a bucket each.
func (b limiterBench) resettable(rate int) []httpkey.Limit {
	limits := []httpkey.Limit{slow(rate), named("a", rate), {Name: "b", Rate: 1, Burst: rate, Period: 100 * time.Hour}}
	if b.isStrict {
		limits[2] = named("b", rate)
	}
	if !b.claims.NoQuotas {
		b.awayFromMidnight()
		limits = append(limits, httpkey.PerDay(rate), httpkey.PerMonth(rate))
	}
	return limits
}

func checkReset(ctx context.Context, b limiterBench) error {
	l := b.open()
	limits := b.resettable(5)
	for i, limit := range limits {
		payer := fmt.Sprint("alone", i)
		of := httpkey.Charge{Bucket: payer, Limits: []httpkey.Limit{limit}, Cost: 3}
		if err := reset(ctx, l, of); err != nil {
			return fmt.Errorf("of a new bucket: %w", err)
		}
		debts := []int{1000} // below empty
		if i == 0 {
			debts = []int{3, 5, 1000} // used in part, and empty
		}
		for _, debt := range debts {
			if err := b.owe(ctx, l, payer, limit, debt); err != nil {
				return err
			}
			of.Cost = []int{0, -1, 1000}[debt%3] // to be ignored
			if err := reset(ctx, l, of); err != nil {
				return err
			}
			r, err := allow(ctx, l, payer, limit, 1)
			if err != nil || !r.Allowed || r.Remaining != 4 {
				return fmt.Errorf("after %d were taken and a Reset, the first request returned %+v, %v, want 4 left", debt, r, err)
			}
			if err := drain(ctx, l, payer, limit, 4); err != nil {
				return fmt.Errorf("after a Reset: %w", err)
			}
			if r, err := allow(ctx, l, payer, limit, 1); err != nil || r.Allowed {
				return fmt.Errorf("after a Reset, a bucket of 5 admitted a sixth request: %+v, %v", r, err)
			}
		}
	}
	return b.resetsNothingElse(ctx, l, limits)
}

// owe takes n from a bucket, and has a request denied that finds too little.
func (b limiterBench) owe(ctx context.Context, l httpkey.Limiter, payer string, limit httpkey.Limit, n int) error {
	if err := reset(ctx, l, httpkey.Charge{Bucket: payer, Limits: []httpkey.Limit{limit}}); err != nil {
		return err
	}
	if _, err := force(ctx, l, payer, n, limit); err != nil {
		return err
	}
	for range 2 { // a limiter may remember the first denial
		if r, err := allow(ctx, l, payer, limit, 5); err != nil || r.Allowed {
			return fmt.Errorf("after %d of 5 were taken, 5 more returned %+v, %v, want a denial", n, r, err)
		}
	}
	return nil
}

// resetsNothingElse resets some of a payer's buckets.
func (b limiterBench) resetsNothingElse(ctx context.Context, l httpkey.Limiter, limits []httpkey.Limit) error {
	payers := []string{"key", "ke", "key:a"}
	for _, payer := range payers {
		for _, limit := range limits {
			if r, err := allow(ctx, l, payer, limit, 3); err != nil || !r.Allowed {
				return fmt.Errorf("3 of 5 returned %+v, %v, want them admitted", r, err)
			}
		}
	}
	some := limits[1 : len(limits)-1]
	if err := reset(ctx, l, httpkey.Charge{Bucket: "key", Limits: some}); err != nil {
		return err
	}
	for _, payer := range payers {
		for i, limit := range limits {
			want := 2
			if payer == "key" && i > 0 && i < len(limits)-1 {
				want = 5
			}
			if err := remains(ctx, l, payer, limit, want); err != nil {
				return fmt.Errorf("after a Reset of %q under %+v: %w", "key", some, err)
			}
		}
	}
	shut := limits[0]
	shut.Rate, shut.Burst = 0, 0
	shut.Period = limits[0].Window()
	if err := reset(ctx, l, httpkey.Charge{Bucket: "key", Limits: []httpkey.Limit{shut}}); err != nil {
		return err
	}
	if err := remains(ctx, l, "key", limits[0], 5); err != nil {
		return fmt.Errorf("after a Reset under a Rate of 0 with the same window: %w", err)
	}
	return reset(ctx, l, httpkey.Charge{Bucket: "key"}) // of no bucket
}

func checkResetInvalid(ctx context.Context, b limiterBench) error {
	l, limit := b.open(), slow(5)
	if err := drain(ctx, l, "key", limit, 3); err != nil {
		return err
	}
	for what, limits := range map[string][]httpkey.Limit{
		"a negative Rate":            {limit, {Name: "other", Rate: -1, Period: time.Minute}},
		"limits that share a bucket": {limit, limit},
		"too many limits":            slices.Repeat([]httpkey.Limit{limit}, 9),
	} {
		if err := reset(ctx, l, httpkey.Charge{Bucket: "key", Limits: limits}); !errors.Is(err, httpkey.ErrInvalidLimit) {
			return fmt.Errorf("%s: Reset returned %v, want an error that wraps ErrInvalidLimit", what, err)
		}
		if err := remains(ctx, l, "key", limit, 2); err != nil {
			return fmt.Errorf("%s: after a Reset that failed: %w", what, err)
		}
	}
	return nil
}

// checkResetConcurrently resets two buckets beside callers who take from both.
func checkResetConcurrently(ctx context.Context, b limiterBench) error {
	const callers, resets, burst = 8, 5, 10
	pause := func(d time.Duration) {
		if b.isExact { // else time passes by itself
			b.wait(d)
		}
	}
	limits := []httpkey.Limit{slow(burst), named("a", burst)}
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		admitted int
		failed   error
		isOver   bool
	)
	for range callers {
		wg.Go(func() {
			l := b.open()
			for over := false; !over; pause(time.Millisecond) {
				r, err := call(ctx, l, httpkey.Charge{Bucket: "key", Limits: limits, Cost: 1})
				mu.Lock()
				if r.Allowed {
					admitted++
				}
				failed = errors.Join(failed, err)
				over = isOver || failed != nil
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		l := b.open()
		for range resets {
			err := reset(ctx, l, httpkey.Charge{Bucket: "key", Limits: limits})
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
			pause(10 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		isOver = true
	})
	wg.Wait()
	if failed != nil {
		return failed
	}
	if most := (resets + 1) * burst; admitted > most {
		return fmt.Errorf("%d callers were admitted beside %d resets of a bucket of %d, want %d at most",
			admitted, resets, burst, most)
	}
	l := b.open()
	if err := reset(ctx, l, httpkey.Charge{Bucket: "key", Limits: limits}); err != nil {
		return err
	}
	for _, limit := range limits {
		if err := drain(ctx, l, "key", limit, burst); err != nil {
			return fmt.Errorf("after the last Reset: %w", err)
		}
		if r, err := allow(ctx, l, "key", limit, 1); err != nil || r.Allowed {
			return fmt.Errorf("after the last Reset, a bucket of %d admitted another request: %+v, %v", burst, r, err)
		}
	}
	return nil
}
