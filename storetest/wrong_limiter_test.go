package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// Each limiter here breaks one rule. The suite must find it out by that rule.

// Results that contradict themselves break every rule.
func TestCallFindsContradictions(t *testing.T) {
	t.Parallel()
	limit := httpkey.PerMinute(5).Resolve()
	one := httpkey.Charge{Bucket: "key", Limits: []httpkey.Limit{limit}, Cost: 1}
	above, forced, two := one, one, one
	above.Cost, forced.Forced = 6, true
	two.Limits = []httpkey.Limit{limit, httpkey.PerHour(10)}
	hour := two.Limits[1].Resolve()
	for _, wrong := range []struct {
		charge httpkey.Charge
		result httpkey.Result
	}{
		{one, httpkey.Result{Limit: limit, Allowed: true, Remaining: -1}},
		{one, httpkey.Result{Limit: limit, Allowed: true, Remaining: 6}},
		{one, httpkey.Result{Limit: limit, Allowed: true, ResetAfter: -1}},
		{one, httpkey.Result{Limit: limit, RetryAfter: -1}},
		{one, httpkey.Result{Limit: limit, Allowed: true, RetryAfter: 1}},
		{one, httpkey.Result{Limit: limit}},
		{one, httpkey.Result{Limit: limit, Remaining: 1, RetryAfter: 1}},
		{one, httpkey.Result{Limit: hour, Allowed: true}},
		{above, httpkey.Result{Limit: limit, Allowed: true}},
		{above, httpkey.Result{Limit: limit, RetryAfter: 1}},
		{forced, httpkey.Result{Limit: limit, RetryAfter: 1}},
		{two, httpkey.Result{Limit: limit, Allowed: true, Remaining: 4}},
		{two, httpkey.Result{Limit: hour, Allowed: true, Remaining: 9, Each: []httpkey.Result{
			{Limit: limit, Allowed: true, Remaining: 4}, {Limit: hour, Allowed: true, Remaining: 9},
		}}},
		{two, httpkey.Result{Limit: limit, Allowed: true, Remaining: 4, Each: []httpkey.Result{
			{Limit: limit, Allowed: true, Remaining: 4}, {Limit: hour, Allowed: true, Remaining: 11},
		}}},
	} {
		l := allowFunc(func(*httpkey.Charge) (httpkey.Result, error) { return wrong.result, nil })
		if _, err := call(ctx, l, wrong.charge); err == nil {
			t.Errorf("%+v passes as the answer to %+v", wrong.result, wrong.charge)
		}
	}
}

// allowFunc is a limiter made of a function.
type allowFunc func(*httpkey.Charge) (httpkey.Result, error)

func (f allowFunc) Allow(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) { return f(c) }

// alter returns a limiter whose results are spoiled by f, that of each limit by itself.
func alter(good httpkey.Limiter, f func(r *httpkey.Result, c *httpkey.Charge)) httpkey.Limiter {
	return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
		r, err := good.Allow(ctx, c)
		if err != nil {
			return r, err
		}
		each := []httpkey.Result{r}
		if len(r.Each) > 0 {
			each = slices.Clone(r.Each)
		}
		for i := range each {
			f(&each[i], c)
		}
		return c.Join(each), nil
	})
}

// ask returns a limiter that asks another question than it was asked, if that was valid.
func ask(good httpkey.Limiter, f func(c *httpkey.Charge)) httpkey.Limiter {
	return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
		if err := c.Validate(); err != nil {
			return httpkey.Result{}, err
		}
		other := *c
		other.Limits = slices.Clone(c.Limits)
		f(&other)
		r, err := good.Allow(ctx, &other)
		if err != nil {
			return r, err
		}
		each := []httpkey.Result{r}
		if len(r.Each) > 0 {
			each = slices.Clone(r.Each)
		}
		for i, l := range c.Limits { // else the limiter would give itself away
			l = l.Resolve()
			got := &each[i].Limit
			got.Name, got.Period, got.Calendar, got.DryRun = l.Name, l.Period, l.Calendar, l.DryRun
		}
		if len(c.Limits) == 0 {
			return r, nil
		}
		return c.Join(each), nil
	})
}

// askLimit is ask that changes each limit that refills steadily.
func askLimit(good httpkey.Limiter, f func(l *httpkey.Limit)) httpkey.Limiter {
	return ask(good, func(c *httpkey.Charge) {
		for i := range c.Limits {
			if l := &c.Limits[i]; l.Calendar == "" && l.Rate > 0 {
				*l = l.Resolve()
				f(l)
			}
		}
	})
}

// resetting is a limiter whose Reset is replaced.
type resetting struct {
	httpkey.Limiter
	reset func(c *httpkey.Charge) error
}

func (r *resetting) Reset(_ context.Context, c *httpkey.Charge) error { return r.reset(c) }

func resetBy(good httpkey.Limiter, f func(c *httpkey.Charge) error) *resetting {
	return &resetting{good, f}
}

type wrongLimiter struct {
	name     string
	rule     string // the rule that must detect the fault
	isStrict bool
	make     func(good httpkey.Limiter) httpkey.Limiter // nil: each handle has buckets of its own
}

var wrongLimiters = []wrongLimiter{
	{"shows one too few at first", "FirstRemaining", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) { r.Remaining = max(0, r.Remaining-1) })
	}},
	{"leaves Burst open in its results", "FirstRemaining", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) { r.Limit.Burst = 0 })
	}},
	{"takes the rate for the burst", "FirstRemaining", false, func(good httpkey.Limiter) httpkey.Limiter {
		return askLimit(good, func(l *httpkey.Limit) { l.Burst = l.Rate })
	}},
	{"admits Burst+1", "Admits", false, func(good httpkey.Limiter) httpkey.Limiter {
		return askLimit(good, func(l *httpkey.Limit) { l.Burst++ })
	}},
	{"admits Burst-1", "Admits", false, func(good httpkey.Limiter) httpkey.Limiter {
		return askLimit(good, func(l *httpkey.Limit) { l.Burst = max(1, l.Burst-1) })
	}},
	{"shows one too few later on", "Admits", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) {
			if r.Remaining < r.Limit.Burst-1 {
				r.Remaining = max(0, r.Remaining-1)
			}
		})
	}},
	{"admits too few when it is busy", "AdmitsConcurrently", false, func(good httpkey.Limiter) httpkey.Limiter {
		busy := make(chan struct{}, 1)
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				httpkeytest.Elapse(time.Millisecond) // so that others come meanwhile
				return good.Allow(ctx, c)
			default:
				return httpkey.Result{Limit: c.Limits[0].Resolve(), RetryAfter: time.Second}, nil
			}
		})
	}},
	{"reads before it writes", "AdmitsConcurrently", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			look := *c
			look.Cost = 0
			r, err := good.Allow(ctx, &look)
			if err != nil || r.Remaining < c.Cost {
				return good.Allow(ctx, c)
			}
			httpkeytest.Elapse(time.Millisecond) // a round trip, in the bubble's time
			_, err = good.Allow(ctx, c)
			r.Remaining -= c.Cost
			return r, err
		})
	}},
	{"shares nothing among its handles", "AdmitsConcurrently", false, nil},
	{"puts the next one off at a denial", "DenialIsFree", false, func(good httpkey.Limiter) httpkey.Limiter {
		denied := 0
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) {
			if !r.Allowed {
				denied++
				r.RetryAfter += time.Duration(denied) * time.Minute
			}
		})
	}},
	{"puts the reset off at a denial", "DenialIsFree", false, func(good httpkey.Limiter) httpkey.Limiter {
		denied := 0
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) {
			if !r.Allowed {
				denied++
				r.ResetAfter += time.Duration(denied) * time.Minute
			}
		})
	}},
	{"shows too few after a cost", "Cost", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, c *httpkey.Charge) {
			if c.Cost > 1 && r.Allowed {
				r.Remaining = max(0, r.Remaining-1)
			}
		})
	}},
	{"charges one whatever the cost", "Cost", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) { c.Cost = min(c.Cost, 1) })
	}},
	{"takes what is left of a denied cost", "Cost", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if err == nil && !r.Allowed {
				rest := *c
				rest.Cost = r.Remaining
				_, err = good.Allow(ctx, &rest)
				r.Remaining = 0
			}
			return r, err
		})
	}},
	{"charges one for nothing", "CostZero", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) { c.Cost = max(c.Cost, 1) })
	}},
	{"denies nothing when empty", "CostZero", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, c *httpkey.Charge) {
			if c.Cost == 0 && r.Remaining == 0 {
				r.Allowed, r.RetryAfter = false, time.Second
			}
		})
	}},
	{"has an error for a Rate of 0", "Never", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			for _, l := range c.Limits {
				if l.Rate == 0 {
					return httpkey.Result{}, httpkey.ErrInvalidLimit
				}
			}
			return good.Allow(ctx, c)
		})
	}},
	{"has an error for a cost above Burst", "Never", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if err == nil && c.Cost > r.Limit.Burst && r.Limit.Rate > 0 {
				return httpkey.Result{}, httpkey.ErrInvalidLimit
			}
			return r, err
		})
	}},
	{"lets who asks for too much wait", "Never", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, c *httpkey.Charge) {
			if c.Cost > r.Limit.Burst {
				r.RetryAfter = r.Limit.Period
			}
		})
	}},
	{"fills the bucket under a Rate of 0", "Never", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if c.Forced && c.Limits[0].Rate == 0 {
				full := *c
				full.Cost, full.Limits = -100, []httpkey.Limit{slow(5)}
				_, _ = good.Allow(ctx, &full)
			}
			return good.Allow(ctx, c)
		})
	}},
	{"has an error for a cost that 32 bits cannot hold", "Never", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if int64(c.Cost) > math.MaxInt32 {
				return httpkey.Result{}, httpkey.ErrInvalidLimit
			}
			return good.Allow(ctx, c)
		})
	}},
	{"cuts a Period to whole microseconds", "Periods", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			cut := *c
			cut.Limits = slices.Clone(c.Limits)
			for i := range cut.Limits {
				cut.Limits[i].Period = max(time.Microsecond, cut.Limits[i].Period.Truncate(time.Microsecond))
			}
			return good.Allow(ctx, &cut)
		})
	}},
	{"keeps a bucket for each Period that is asked", "Periods", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) {
			if l := &c.Limits[0]; l.Period%time.Microsecond > 0 {
				*l = l.Resolve()
				c.Bucket += "odd"
			}
		})
	}},
	{"has an error of its own for invalid limits", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if c.Validate() != nil {
				return httpkey.Result{}, errors.New("ERR invalid argument")
			}
			return good.Allow(ctx, c)
		})
	}},
	{"charges the good limits of an invalid charge", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if c.Validate() != nil && len(c.Limits) > 1 {
				first := *c
				first.Limits = c.Limits[:1]
				_, _ = good.Allow(ctx, &first)
			}
			return good.Allow(ctx, c)
		})
	}},
	{"admits under an invalid limit", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if c.Validate() != nil {
				return httpkey.Result{Allowed: true}, nil
			}
			return good.Allow(ctx, c)
		})
	}},
	{"refunds a negative cost that is not forced", "Invalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			refund := *c
			refund.Forced = c.Forced || c.Cost < 0
			return good.Allow(ctx, &refund)
		})
	}},
	{"enforces no limit with DryRun", "DryRun", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) {
			if r.Limit.DryRun {
				r.Allowed, r.RetryAfter = true, 0
			}
		})
	}},
	{"has other buckets for limits with DryRun", "DryRun", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) {
			if len(c.Limits) > 0 && c.Limits[0].DryRun {
				c.Bucket += "dry"
			}
		})
	}},
	{"gives back to all windows of a Name", "ForcedAlone", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if err == nil && c.Forced && c.Cost < 0 && c.Limits[0].Name == "a" {
				_, err = force(ctx, good, c.Bucket, c.Cost, httpkey.Limit{Name: "a", Rate: 5, Calendar: "day"})
			}
			return r, err
		})
	}},
	{"forces a month to pay for its day", "ForcedAlone", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if err == nil && c.Forced && c.Limits[0].Calendar == "day" {
				_, err = force(ctx, good, c.Bucket, c.Cost, httpkey.PerMonth(6))
			}
			return r, err
		})
	}},
	{"gives back to payers with a common beginning", "ForcedAlone", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if err == nil && c.Forced && c.Cost < 0 {
				_, err = force(ctx, good, c.Bucket+":a", c.Cost, c.Limits...)
			}
			return r, err
		})
	}},
	{"lets one limit owe without a bound", "ForcedAlone", false, func(good httpkey.Limiter) httpkey.Limiter {
		beyond := make(map[string]int)
		return ask(good, func(c *httpkey.Charge) {
			if about := fmt.Sprint(c.Bucket, c.Limits); c.Forced && len(c.Limits) == 1 && c.Cost > 0 {
				beyond[about] += max(0, c.Cost-20)
			} else if c.Forced {
				back := min(-c.Cost, beyond[about])
				beyond[about] -= back
				c.Cost += back
			}
		})
	}},
	{"resets nothing", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(*httpkey.Charge) error { return nil })
	}},
	{"has no Reset", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(*httpkey.Result, *httpkey.Charge) {})
	}},
	{"resets the first limit alone", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			return reset(ctx, good, httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits[:min(1, len(c.Limits))]})
		})
	}},
	{"gives one Burst back at a Reset", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			for _, l := range c.Limits {
				if _, err := force(ctx, good, c.Bucket, -l.Resolve().Burst, l); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"forgets a Reset under a Rate of 0", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			if len(c.Limits) > 0 && c.Limits[0].Rate == 0 {
				return nil
			}
			return reset(ctx, good, *c)
		})
	}},
	{"resets the names of a payer together", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			for _, l := range c.Limits {
				l.Name = ""
				if err := reset(ctx, good, httpkey.Charge{Bucket: c.Bucket, Limits: []httpkey.Limit{l}}); err != nil {
					return err
				}
			}
			return reset(ctx, good, *c)
		})
	}},
	{"resets payers with a common beginning", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			if err := reset(ctx, good, httpkey.Charge{Bucket: c.Bucket + ":a", Limits: c.Limits}); err != nil {
				return err
			}
			return reset(ctx, good, *c)
		})
	}},
	{"refuses a Reset for its Cost", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			if err := c.Validate(); err != nil {
				return err
			}
			return reset(ctx, good, *c)
		})
	}},
	{"takes the cost of a Reset", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			if err := reset(ctx, good, *c); err != nil || c.Cost <= 0 {
				return err
			}
			_, err := force(ctx, good, c.Bucket, c.Cost, c.Limits...)
			return err
		})
	}},
	{"changes the charge of a Reset", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			err := reset(ctx, good, *c)
			c.Cost, c.Forced = -1, true
			return err
		})
	}},
	{"repeats a denial after a Reset", "Reset", false, func(good httpkey.Limiter) httpkey.Limiter {
		denied := make(map[string]httpkey.Result)
		l := resetBy(good, func(c *httpkey.Charge) error { return reset(ctx, good, *c) })
		l.Limiter = allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			about := fmt.Sprint(c.Bucket, c.Limits, c.Cost)
			if r, ok := denied[about]; ok && !c.Forced {
				return r, nil
			}
			r, err := good.Allow(ctx, c)
			if err == nil && !r.Allowed {
				denied[about] = r
			}
			return r, err
		})
		return l
	}},
	{"resets the good limits of an invalid charge", "ResetInvalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			for _, l := range c.Limits {
				if l.Validate() == nil {
					_ = reset(ctx, good, httpkey.Charge{Bucket: c.Bucket, Limits: []httpkey.Limit{l}})
				}
			}
			return reset(ctx, good, *c)
		})
	}},
	{"has no error for a Reset under invalid limits", "ResetInvalid", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			_ = reset(ctx, good, *c)
			return nil
		})
	}},
	{"resets twice, with a pause", "ResetConcurrently", false, func(good httpkey.Limiter) httpkey.Limiter {
		return resetBy(good, func(c *httpkey.Charge) error {
			if err := reset(ctx, good, *c); err != nil {
				return err
			}
			httpkeytest.Elapse(200 * time.Millisecond) // others come meanwhile
			return reset(ctx, good, *c)
		})
	}},
	{"has an error for no limits", "Unlimited", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if len(c.Limits) == 0 {
				return httpkey.Result{}, httpkey.ErrInvalidLimit
			}
			return good.Allow(ctx, c)
		})
	}},
	{"keeps the charge", "ChargeStays", false, func(good httpkey.Limiter) httpkey.Limiter {
		var kept *httpkey.Charge
		var previous httpkey.Result
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if kept == c { // as a cache that is keyed by the pointer would
				return previous, nil
			}
			r, err := good.Allow(ctx, c)
			kept, previous = c, r
			return r, err
		})
	}},
	{"takes later, by the charge that it kept", "ChargeStays", false, func(good httpkey.Limiter) httpkey.Limiter {
		var kept *httpkey.Charge
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if kept != nil {
				_, _ = good.Allow(ctx, kept)
			}
			kept = c
			look := *c
			look.Cost = 0
			r, err := good.Allow(ctx, &look)
			for i := range r.Each {
				r.Each[i].Remaining -= c.Cost
			}
			return r, err
		})
	}},
	{"resolves the limits in place", "ChargeStays", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			for i := range c.Limits {
				c.Limits[i] = c.Limits[i].Resolve()
			}
			return good.Allow(ctx, c)
		})
	}},
	{"folds the case of payers", "PayersApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) { c.Bucket = strings.ToLower(c.Bucket) })
	}},
	{"takes braces for a hash tag", "PayersApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) { c.Bucket = strings.Trim(c.Bucket, "{}") })
	}},
	{"forgets the empty payer", "PayersApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		calls := 0
		return ask(good, func(c *httpkey.Charge) {
			if c.Bucket == "" {
				calls++
				c.Bucket = strings.Repeat("x", calls)
			}
		})
	}},
	{"mixes names", "NamesApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		return askLimit(good, func(l *httpkey.Limit) {
			if l.Name != "" {
				l.Name = "n"
			}
		})
	}},
	{"folds the case of names", "NamesApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		return askLimit(good, func(l *httpkey.Limit) { l.Name = strings.ToLower(l.Name) })
	}},
	{"joins payer and name with a colon", "NamesApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) {
			c.Bucket += ":" + c.Limits[0].Name
			c.Limits[0].Name = ""
		})
	}},
	{"leaves the window out of the bucket's name", "WindowsApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		first := map[string]httpkey.Limit{}
		return ask(good, func(c *httpkey.Charge) {
			if _, ok := first[c.Bucket]; !ok {
				first[c.Bucket] = c.Limits[0]
			}
			c.Limits[0] = first[c.Bucket]
		})
	}},
	{"takes a day for 24 hours", "WindowsApart", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) {
			if c.Limits[0].Calendar != "" {
				c.Limits[0] = httpkey.Limit{Rate: 10, Burst: 10, Period: 1000 * time.Hour}
			}
		})
	}},
	{"has a full bucket when a limit changes", "Changed", false, fillsOnChange},
	{"has a full bucket when a limit changes", "Changed", true, fillsOnChange},
	{"carries the number over, not the part", "Changed", false, func(good httpkey.Limiter) httpkey.Limiter {
		window := memstore.NewWindow()
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) { return window.Allow(ctx, c) })
	}},
	{"carries the part over, not the number", "Changed", true, func(httpkey.Limiter) httpkey.Limiter {
		return memstore.NewLimiter()
	}},
	{"owes less when a lower limit is overdrawn", "Changed", true, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if c.Forced && len(c.Limits) == 1 && c.Limits[0].Rate == 7 {
				less := *c
				less.Cost, less.Limits = -16, []httpkey.Limit{sixty(60)}
				_, _ = good.Allow(ctx, &less)
			}
			return r, err
		})
	}},
	{"gives a little back when a limit changes", "Moving", false, func(good httpkey.Limiter) httpkey.Limiter {
		last := map[string]int{}
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if rate := c.Limits[0].Rate; last[c.Bucket] != rate {
				last[c.Bucket] = rate
				back := *c
				back.Cost, back.Forced = -1, true
				_, _ = good.Allow(ctx, &back)
			}
			return good.Allow(ctx, c)
		})
	}},
	{"locks out when a limit moves", "Moving", false, func(good httpkey.Limiter) httpkey.Limiter {
		last := map[string]int{}
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if rate := c.Limits[0].Rate; last[c.Bucket] != rate {
				last[c.Bucket] = rate
				more := *c
				more.Cost, more.Forced = 1, true
				_, _ = good.Allow(ctx, &more)
			}
			return good.Allow(ctx, c)
		})
	}},
	{"charges one of two limits when the other denies", "Several", false, oneByOne},
	{"shows the first limit alone", "Several", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if err == nil && len(r.Each) > 0 {
				r = r.Each[0]
			}
			return r, err
		})
	}},
	{"admits if the first limit has room", "Several", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			r, err := good.Allow(ctx, c)
			if err == nil && !r.Allowed && len(r.Each) > 1 && r.Each[0].Allowed {
				for i := range r.Each {
					r.Each[i].Allowed, r.Each[i].RetryAfter = true, 0
				}
				r = c.Join(r.Each)
			}
			return r, err
		})
	}},
	{"asks one limit after the other", "SeveralConcurrently", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			look := *c
			look.Cost = 0
			r, err := good.Allow(ctx, &look)
			for _, one := range r.Each {
				if one.Remaining < c.Cost {
					return good.Allow(ctx, c)
				}
			}
			httpkeytest.Elapse(time.Millisecond) // a round trip, in the bubble's time
			if err != nil || len(c.Limits) < 2 {
				return good.Allow(ctx, c)
			}
			return oneByOne(good).Allow(ctx, c)
		})
	}},
	{"denies a forced charge its room", "Forced", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if !c.Forced || c.Cost < 0 {
				return good.Allow(ctx, c)
			}
			asked := &httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits, Cost: c.Cost}
			if r, err := good.Allow(ctx, asked); err != nil || r.Allowed {
				return r, err
			}
			return good.Allow(ctx, &httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits, Forced: true})
		})
	}},
	{"lets a forced charge owe without end", "Forced", false, func(good httpkey.Limiter) httpkey.Limiter {
		owed := 0
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			other := *c
			switch {
			case c.Forced && c.Cost == 1000:
				owed += 1000
			case c.Forced && c.Cost < 0 && owed > 0:
				owed, other.Cost = owed+c.Cost, 0
			}
			return good.Allow(ctx, &other)
		})
	}},
	{"stops at empty", "Forced", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			other := *c
			if c.Forced && c.Cost > 0 {
				r, err := good.Allow(ctx, &httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits})
				if err != nil {
					return r, err
				}
				other.Cost = min(c.Cost, r.Remaining)
			}
			return good.Allow(ctx, &other)
		})
	}},
	{"denies a Cost of 0 below empty", "Forced", false, func(good httpkey.Limiter) httpkey.Limiter {
		forced := false
		return alter(good, func(r *httpkey.Result, c *httpkey.Charge) {
			if forced = forced || c.Forced; forced && c.Cost == 0 && r.Remaining == 0 {
				r.Allowed, r.RetryAfter = false, time.Second
			}
		})
	}},
	{"forces the first limit alone", "Forced", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if !c.Forced || len(c.Limits) < 2 {
				return good.Allow(ctx, c)
			}
			_, _ = good.Allow(ctx, &httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits[:1], Cost: c.Cost, Forced: true})
			return good.Allow(ctx, &httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits, Forced: true})
		})
	}},
	{"lets a refund go above full", "Refund", false, func(good httpkey.Limiter) httpkey.Limiter {
		extra := 0
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if c.Forced && c.Cost == -100 {
				extra = 1
			}
			other := *c
			if c.Cost == 1 && extra > 0 {
				extra, other.Cost = extra-1, 0
			}
			return good.Allow(ctx, &other)
		})
	}},
	{"ignores refunds", "Refund", false, func(good httpkey.Limiter) httpkey.Limiter {
		return ask(good, func(c *httpkey.Charge) { c.Cost = max(0, c.Cost) })
	}},
	{"refunds whatever the name", "Refund", false, func(good httpkey.Limiter) httpkey.Limiter {
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if c.Forced && c.Limits[0].Name == "" {
				other := *c
				other.Limits = []httpkey.Limit{named("beside", 5)}
				_, _ = good.Allow(ctx, &other)
			}
			return good.Allow(ctx, c)
		})
	}},
	{"lets a day begin where its first request came", "Quotas", false, func(good httpkey.Limiter) httpkey.Limiter {
		window := memstore.NewWindow()
		return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if len(c.Limits) != 1 || c.Limits[0].Calendar == "" {
				return good.Allow(ctx, c)
			}
			limit := c.Limits[0]
			r, err := window.Allow(ctx, &httpkey.Charge{
				Bucket: c.Bucket, Cost: c.Cost, Limits: []httpkey.Limit{{Rate: limit.Rate, Period: limit.Window()}},
			})
			r.Limit = limit.Resolve()
			return r, err
		})
	}},
	{"takes every month for 31 days", "Quotas", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) {
			isMonth := r.Limit == httpkey.PerMonth(3).Resolve()
			if isMonth && time.Now().UTC().Month() == time.February && r.ResetAfter > 0 {
				r.ResetAfter += 2 * 24 * time.Hour
			}
		})
	}},
	{"promises a RetryAfter too short", "RetryAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) { r.RetryAfter -= min(r.RetryAfter, time.Microsecond) })
	}},
	{"promises a RetryAfter too long", "RetryAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) {
			if !r.Allowed {
				r.RetryAfter += time.Microsecond
			}
		})
	}},
	{"promises a ResetAfter too short", "ResetAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) { r.ResetAfter -= min(r.ResetAfter, time.Microsecond) })
	}},
	{"promises a ResetAfter too long", "ResetAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) { r.ResetAfter += time.Microsecond })
	}},
	{"is never quite full", "ResetAfter", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, _ *httpkey.Charge) {
			if r.Remaining == r.Limit.Burst {
				r.ResetAfter = time.Microsecond
			}
		})
	}},
	{"is a fixed window", "Rate", false, fixedWindow},
	{"is a fixed window", "Rate", true, fixedWindow},
	{"is a leaky bucket that says it is a strict window", "Rate", true, func(httpkey.Limiter) httpkey.Limiter {
		return memstore.NewLimiter()
	}},
	{"refills late", "Steady", false, func(good httpkey.Limiter) httpkey.Limiter {
		return askLimit(good, func(l *httpkey.Limit) { l.Period = l.Period * 11 / 10 })
	}},
	{"is a microsecond off under one rate", "Model", false, func(good httpkey.Limiter) httpkey.Limiter {
		return alter(good, func(r *httpkey.Result, c *httpkey.Charge) {
			if r.Limit.Rate == 7 && r.ResetAfter > 2*time.Microsecond && r.Allowed {
				r.ResetAfter -= time.Microsecond
			}
		})
	}},
}

// fillsOnChange has a bucket for each form of a limit.
func fillsOnChange(good httpkey.Limiter) httpkey.Limiter {
	return ask(good, func(c *httpkey.Charge) {
		for i := range c.Limits {
			c.Bucket += fmt.Sprint(" ", c.Limits[i].Rate, c.Limits[i].Burst)
		}
	})
}

// oneByOne takes from one limit after the other, until one denies.
func oneByOne(good httpkey.Limiter) httpkey.Limiter {
	return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
		if len(c.Limits) < 2 {
			return good.Allow(ctx, c)
		}
		each := make([]httpkey.Result, len(c.Limits))
		one, denied := *c, false
		for i := range c.Limits {
			one.Limits = c.Limits[i : i+1]
			if denied { // the others are looked at
				one.Cost = 0
			}
			r, err := good.Allow(ctx, &one)
			if err != nil {
				return r, err
			}
			each[i], denied = r, denied || !r.Allowed
		}
		return c.Join(each), nil
	})
}

// fixedWindow admits Rate in each Period of the clock, and so nearly twice that
// in a Period across the border.
func fixedWindow(httpkey.Limiter) httpkey.Limiter {
	used := map[time.Time]int{}
	return allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
		if err := c.Validate(); err != nil {
			return httpkey.Result{}, err
		}
		limit, now := c.Limits[0].Resolve(), time.Now()
		window := now.Truncate(limit.Period)
		left := window.Add(limit.Period).Sub(now)
		r := httpkey.Result{Allowed: used[window]+c.Cost <= limit.Rate, Limit: limit, ResetAfter: left}
		if r.Allowed {
			used[window] += c.Cost
		} else {
			r.RetryAfter = left
		}
		r.Remaining = limit.Rate - used[window]
		return r, nil
	})
}

func TestWrongLimitersAreFoundOut(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, wrong := range wrongLimiters {
		shown[wrong.rule] = true
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(limiterRules, func(r limiterRule) bool { return r.name == wrong.rule })
			if i < 0 {
				t.Fatalf("there is no rule %s", wrong.rule)
			}
			factory := LimiterFactory{
				New:    func(*testing.T) func() httpkey.Limiter { return wrong.open() },
				Window: wrong.isStrict,
			}
			factory.inTime(t, func(t *testing.T) {
				err := limiterRules[i].check(t.Context(), factory.bench(t))
				if err == nil || errors.Is(err, errUnchecked) {
					t.Fatalf("the rule %s did not find out a limiter that %s (%v)", wrong.rule, wrong.name, err)
				}
				t.Log(err)
			})
		})
	}
	for _, rule := range limiterRules {
		if !shown[rule.name] {
			t.Errorf("no wrong limiter shows that the rule %s finds one out", rule.name)
		}
	}
}

func (w wrongLimiter) open() func() httpkey.Limiter {
	good := func() httpkey.Limiter {
		if w.isStrict {
			return memstore.NewWindow()
		}
		return memstore.NewLimiter()
	}
	if w.make == nil {
		return good
	}
	l := w.make(good())
	return func() httpkey.Limiter { return l }
}
