package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/httpkey/httpkey"
)

// The rules in this file concern limits that change, several limits together, and forced
// charges. No bucket refills while they run.

// sixty returns a limit with a window of 6,000 hours, whatever its rate.
func sixty(rate int) httpkey.Limit {
	return httpkey.Limit{Rate: rate, Burst: rate, Period: 6000 * time.Hour}
}

// counters returns functions that make limits of one bucket each from a rate. Their buckets
// keep the number of admissions. A bucket of GCRA keeps the used part instead.
func (b limiterBench) counters() []func(int) httpkey.Limit {
	var all []func(int) httpkey.Limit
	if b.isStrict {
		all = append(all, sixty)
	}
	if !b.claims.NoQuotas {
		b.awayFromMidnight()
		all = append(all, httpkey.PerDay, httpkey.PerMonth)
	}
	return all
}

// awayFromMidnight waits if quotas are about to reset.
func (b limiterBench) awayFromMidnight() {
	now := time.Now()
	if _, end := httpkey.PerDay(1).Calendar.Span(now); !b.isExact && end.Sub(now) < time.Minute {
		b.wait(end.Sub(now) + time.Second)
	}
}

func checkChanged(ctx context.Context, b limiterBench) error {
	l := b.open()
	if !b.isStrict {
		if err := keepsPart(ctx, l); err != nil {
			return err
		}
	}
	for _, limit := range b.counters() {
		if err := keepsNumber(ctx, l, limit); err != nil {
			return err
		}
	}
	return nil
}

// keepsPart changes a limit whose bucket is half used.
func keepsPart(ctx context.Context, l httpkey.Limiter) error {
	if r, err := allow(ctx, l, "part", sixty(60), 30); err != nil || !r.Allowed {
		return fmt.Errorf("30 of 60: %+v, %v", r, err)
	}
	slower := httpkey.Limit{Rate: 120, Burst: 60, Period: 12_000 * time.Hour}
	for limit, want := range map[httpkey.Limit]int{sixty(60): 30, sixty(120): 60, sixty(30): 15, sixty(7): 3, slower: 30} {
		if err := remains(ctx, l, "part", limit, want); err != nil {
			return fmt.Errorf("after half of 60 was used: %w", err)
		}
	}
	if r, err := allow(ctx, l, "part", sixty(120), 10); err != nil || !r.Allowed {
		return fmt.Errorf("10 of 120, of which 60 are left: %+v, %v", r, err)
	}
	return remains(ctx, l, "part", sixty(60), 25)
}

// keepsNumber changes a limit under which 30 were admitted.
func keepsNumber(ctx context.Context, l httpkey.Limiter, limit func(int) httpkey.Limit) error {
	if r, err := allow(ctx, l, "number", limit(60), 30); err != nil || !r.Allowed {
		return fmt.Errorf("30 of 60: %+v, %v", r, err)
	}
	for n, want := range map[int]int{60: 30, 120: 90, 30: 0, 7: 0} {
		if err := remains(ctx, l, "number", limit(n), want); err != nil {
			return fmt.Errorf("after 30 were let in: %w", err)
		}
	}
	if _, err := force(ctx, l, "number", 1, limit(7)); err != nil {
		return err
	}
	return remains(ctx, l, "number", limit(60), 30) // 30 is more than a limit of 7 can owe
}

func checkMoving(ctx context.Context, b limiterBench) error {
	l := b.open()
	limits := append(b.counters(), sixty)
	for i, limit := range limits {
		admitted := 0
		for n := range 70 {
			r, err := allow(ctx, l, fmt.Sprint("moving", i), limit(41+n*7%20), 1)
			if err != nil {
				return err
			}
			if r.Allowed {
				admitted++
			}
		}
		if admitted < 41 || admitted > 60 {
			return fmt.Errorf("a limit that moves between %+v and 60 admitted %d", limit(41), admitted)
		}
	}
	return nil
}

func checkSeveral(ctx context.Context, b limiterBench) error {
	l := b.open()
	five, three, ten := named("a", 5), named("b", 3), slow(10)
	limits := []httpkey.Limit{five, three, ten}
	if !b.claims.NoQuotas {
		b.awayFromMidnight()
		limits = append(limits, httpkey.PerMonth(20))
	}
	left := func(taken ...int) error { // of each limit
		for i, limit := range limits {
			if err := remains(ctx, l, "key", limit, limit.Resolve().Burst-taken[min(i, len(taken)-1)]); err != nil {
				return err
			}
		}
		return nil
	}
	for n := 1; n <= 3; n++ {
		r, err := call(ctx, l, httpkey.Charge{Bucket: "key", Limits: limits, Cost: 1})
		if err != nil {
			return err
		}
		if !r.Allowed || r.Limit != three || r.Remaining != 3-n {
			return fmt.Errorf("request %d under %+v returned %+v, want it admitted, with %d left of %+v",
				n, limits, r, 3-n, three)
		}
		if err := left(n); err != nil {
			return err
		}
	}
	for range 10 {
		r, err := call(ctx, l, httpkey.Charge{Bucket: "key", Limits: limits, Cost: 1})
		if err != nil {
			return err
		}
		if r.Allowed || r.Limit != three || r.Each[1].Allowed || !r.Each[0].Allowed || !r.Each[2].Allowed {
			return fmt.Errorf("after 3 requests under %+v, one more returned %+v, want it denied by %+v alone", limits, r, three)
		}
	}
	if err := left(3); err != nil {
		return fmt.Errorf("after a denial by one limit: %w", err)
	}
	r, err := call(ctx, l, httpkey.Charge{Bucket: "key", Limits: []httpkey.Limit{ten, five}, Cost: 2})
	if err != nil || !r.Allowed {
		return fmt.Errorf("2 under other limits of the same buckets returned %+v, %v, want it admitted", r, err)
	}
	r, err = call(ctx, l, httpkey.Charge{Bucket: "key", Limits: limits, Cost: 4})
	if err != nil || r.Allowed || r.RetryAfter != 0 {
		return fmt.Errorf("4 under %+v returned %+v, %v, want it denied for ever", limits, r, err)
	}
	return left(5, 3, 5, 3)
}

func checkSeveralConcurrently(ctx context.Context, b limiterBench) error {
	forty, fifty, thirty := named("a", 40), named("b", 50), named("c", 30)
	admitted, err := b.atOnce(ctx, 3, func(caller int) httpkey.Charge {
		limits := []httpkey.Limit{forty, fifty}
		if caller%2 == 1 {
			limits = []httpkey.Limit{thirty, fifty}
		}
		return httpkey.Charge{Bucket: "key", Limits: limits, Cost: 1}
	})
	if err != nil {
		return err
	}
	of := [2]int{}
	for caller, n := range admitted {
		of[caller%2] += n
	}
	if of[0]+of[1] != 50 {
		return fmt.Errorf("%d and %d were admitted, want 50 together, the room that both share", of[0], of[1])
	}
	l := b.open()
	for limit, used := range map[httpkey.Limit]int{forty: of[0], fifty: 50, thirty: of[1]} {
		if err := remains(ctx, l, "key", limit, limit.Burst-used); err != nil {
			return fmt.Errorf("%d and %d were admitted: %w", of[0], of[1], err)
		}
	}
	return nil
}

func checkForced(ctx context.Context, b limiterBench) error {
	l := b.open()
	limits := []func(int) httpkey.Limit{slow}
	if !b.claims.NoQuotas {
		b.awayFromMidnight()
		limits = append(limits, httpkey.PerDay, httpkey.PerMonth)
	}
	for i, limit := range limits {
		limit, payer := limit(5), fmt.Sprint("forced", i)
		for _, step := range []struct{ n, left int }{
			{2, 3}, {5, 0}, {-1, 0}, {-2, 1}, // 7 of 5 are taken, and given back
			{1000, 0}, {1000, 0}, {-5, 0}, {-1, 1}, // one Burst below empty
		} {
			r, err := force(ctx, l, payer, step.n, limit)
			if err != nil {
				return err
			}
			if r.Remaining != step.left {
				return fmt.Errorf("a forced charge of %d returned %+v, want %d left", step.n, r, step.left)
			}
			if err := remains(ctx, l, payer, limit, step.left); err != nil {
				return fmt.Errorf("after a forced charge of %d: %w", step.n, err)
			}
		}
		if r, err := allow(ctx, l, payer, limit, 2); err != nil || r.Allowed {
			return fmt.Errorf("where 1 is left, asking for 2 returned %+v, %v", r, err)
		}
		if err := remains(ctx, l, payer+"'", limit, 5); err != nil {
			return fmt.Errorf("after forced charges of another payer: %w", err)
		}
	}
	five, three, other := named("a", 5), named("b", 3), named("c", 3)
	for _, step := range []struct{ n, five, three int }{{2, 3, 1}, {2, 1, 0}, {-1, 2, 0}, {-1, 3, 1}} {
		r, err := force(ctx, l, "key", step.n, five, three)
		if err != nil {
			return err
		}
		if r.Each[0].Remaining != step.five || r.Each[1].Remaining != step.three {
			return fmt.Errorf("a forced charge of %d under several limits returned %+v, want %d and %d left",
				step.n, r, step.five, step.three)
		}
	}
	return remains(ctx, l, "key", other, 3)
}

// owing counts what each bucket of some payers owes, under limits that give nothing back.
type owing struct {
	payers []string
	limits []httpkey.Limit // a bucket each
	owed   map[string][]int
}

func checkForcedAlone(ctx context.Context, b limiterBench) error {
	l, random := b.open(), rand.New(rand.NewPCG(5, 6))
	o := owing{payers: []string{"key", "key:a"}, limits: []httpkey.Limit{
		slow(5), named("a", 4), named("b", 6),
		{Rate: 3, Burst: 3, Period: 7000 * time.Hour}, {Name: "a", Rate: 7, Burst: 7, Period: 7000 * time.Hour},
	}}
	steps := 400
	if !b.isExact {
		pace, err := b.pace(ctx, l)
		if err != nil {
			return err
		}
		steps = min(100, max(30, int(time.Second/max(1, pace))))
	}
	if !b.claims.NoQuotas {
		b.awayFromMidnight()
		o.limits = append(o.limits,
			httpkey.PerDay(4), httpkey.PerMonth(6), httpkey.Limit{Name: "a", Rate: 5, Calendar: "day"})
	}
	o.owed = make(map[string][]int)
	for _, payer := range o.payers {
		o.owed[payer] = make([]int, len(o.limits))
	}
	for range steps {
		payer := o.payers[random.IntN(len(o.payers))]
		some := random.Perm(len(o.limits))[:1+random.IntN(3)]
		c := httpkey.Charge{Bucket: payer, Cost: 1 + random.IntN(3)}
		if c.Forced = random.IntN(4) > 0; c.Forced {
			c.Cost = []int{random.IntN(12) - 6, random.IntN(30) - 15, 1000, -1000}[min(random.IntN(12), 3)]
			if random.IntN(2) == 0 {
				c.Cost %= 10
			}
		}
		for _, i := range some {
			c.Limits = append(c.Limits, o.limits[i])
		}
		r, err := call(ctx, l, c)
		if err != nil {
			return err
		}
		if o.charge(payer, some, c) != r.Allowed {
			return fmt.Errorf("of buckets that owe %v, Allow(%+v) returned %+v", o.owed[payer], c, r)
		}
		for _, payer := range o.payers {
			if err := o.agrees(ctx, l, payer); err != nil {
				return fmt.Errorf("after Allow(%+v): %w", c, err)
			}
		}
	}
	return nil
}

// charge counts a charge under some of the limits, and reports whether all have room.
func (o *owing) charge(payer string, some []int, c httpkey.Charge) (isAllowed bool) {
	owed := o.owed[payer]
	for _, i := range some {
		if !c.Forced && owed[i]+c.Cost > o.limits[i].Resolve().Burst {
			return false
		}
	}
	for _, i := range some {
		owed[i] = min(max(0, owed[i]+c.Cost), max(owed[i], 2*o.limits[i].Resolve().Burst))
	}
	return true
}

// agrees looks at all buckets of a payer.
func (o *owing) agrees(ctx context.Context, l httpkey.Limiter, payer string) error {
	r, err := call(ctx, l, httpkey.Charge{Bucket: payer, Limits: o.limits})
	if err != nil {
		return err
	}
	for i, limit := range o.limits {
		if want := max(0, limit.Resolve().Burst-o.owed[payer][i]); r.Each[i].Remaining != want {
			return fmt.Errorf("%q has %d left of %+v, want %d", payer, r.Each[i].Remaining, limit, want)
		}
	}
	return nil
}

func checkRefund(ctx context.Context, b limiterBench) error {
	l, limit, beside := b.open(), slow(5), named("beside", 5)
	for _, of := range []httpkey.Limit{limit, beside} {
		if err := drain(ctx, l, "key", of, 3); err != nil {
			return err
		}
	}
	for _, step := range []struct{ n, left int }{{-2, 4}, {-100, 5}, {-1, 5}} {
		r, err := force(ctx, l, "key", step.n, limit)
		if err != nil {
			return err
		}
		if r.Remaining != step.left || (r.ResetAfter == 0) != (step.left == 5) {
			return fmt.Errorf("a refund of %d returned %+v, want %d left", -step.n, r, step.left)
		}
	}
	if err := drain(ctx, l, "key", limit, 5); err != nil {
		return fmt.Errorf("after refunds: %w", err)
	}
	if r, err := allow(ctx, l, "key", limit, 1); err != nil || r.Allowed {
		return fmt.Errorf("after refunds, a full bucket of 5 admitted a sixth request: %+v, %v", r, err)
	}
	r, err := force(ctx, l, "key", -2, limit, beside)
	if err != nil || r.Each[0].Remaining != 2 || r.Each[1].Remaining != 4 {
		return fmt.Errorf("a refund of 2 to several limits returned %+v, %v, want 2 and 4 left", r, err)
	}
	return nil
}

func checkQuotas(ctx context.Context, b limiterBench) error {
	l := b.open()
	b.awayFromMidnight()
	for _, limit := range []httpkey.Limit{httpkey.PerDay(3), httpkey.PerMonth(3)} {
		for period := range 15 { // a year and a leap day, in a bubble
			if b.isExact {
				b.wait(36*time.Hour + time.Duration(period)*time.Minute + time.Microsecond)
			}
			if err := b.usesUp(ctx, l, limit); err != nil {
				return fmt.Errorf("%s: %w", time.Now().UTC().Format(time.DateTime), err)
			}
			if !b.isExact {
				break
			}
		}
	}
	return nil
}

// usesUp takes all of a fresh quota of 3, and waits until it resets.
func (b limiterBench) usesUp(ctx context.Context, l httpkey.Limiter, limit httpkey.Limit) error {
	_, end := limit.Calendar.Span(time.Now())
	inTime := func(d time.Duration) bool {
		off := d - time.Until(end)
		return off == 0 || !b.isExact && off.Abs() < time.Minute // its clock may be another
	}
	for n := 1; n <= 3; n++ {
		r, err := allow(ctx, l, "key", limit, 1)
		if err != nil || !r.Allowed || r.Remaining != 3-n || !inTime(r.ResetAfter) {
			return fmt.Errorf("request %d of %+v returned %+v, %v, want it admitted until %v", n, limit, r, err, end)
		}
	}
	r, err := allow(ctx, l, "key", limit, 1)
	if err != nil || r.Allowed || !inTime(r.RetryAfter) || !inTime(r.ResetAfter) {
		return fmt.Errorf("request 4 of %+v returned %+v, %v, want it denied until %v", limit, r, err, end)
	}
	if !b.isExact {
		return nil
	}
	b.wait(r.RetryAfter - time.Microsecond)
	if r, err := allow(ctx, l, "key", limit, 1); err != nil || r.Allowed || r.RetryAfter != time.Microsecond {
		return fmt.Errorf("a microsecond before %v, %+v returned %+v, %v, want a denial", end, limit, r, err)
	}
	b.wait(time.Microsecond)
	if r, err := allow(ctx, l, "key", limit, 0); err != nil || r.Remaining != 3 || r.ResetAfter != 0 {
		return fmt.Errorf("at %v, %+v returned %+v, %v, want a whole quota", end, limit, r, err)
	}
	return nil
}
