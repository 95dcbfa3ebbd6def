package console

import (
	"context"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// limitView is a limit as a page shows it: Rate requests in Per, and Burst of them at once, which
// is 0 if it is Rate.
type limitView struct {
	Rate, Burst int
	Per         span
}

// remainingView is what remains of a limit.
type remainingView struct {
	N     int
	Limit limitView
}

// kindView is a kind of token, with the limits of a new token of it.
type kindView struct {
	Kind   httpkey.Kind
	Limits limitsView
}

// limitsView are limits that apply together. None apply if All is empty, unless they are not Known.
type limitsView struct {
	Known bool
	All   []limitView
}

// limitsOf returns the limits of a request with t's key. An error is one of Options.Charge.
func (c *console) limitsOf(t httpkey.Token) limitsView {
	limits, err := c.askLimits(t)
	v := limitsView{Known: err == nil}
	for _, l := range limits {
		if !l.DryRun { // it refuses nothing
			v.All = append(v.All, limitViewOf(l))
		}
	}
	return v
}

// remaining returns what remains of t's limits now; none if the limiter does not answer.
func (c *console) remaining(ctx context.Context, p Principal, t httpkey.Token) []remainingView {
	var all []remainingView
	for _, r := range c.peek(ctx, p, t) {
		if !r.Limit.DryRun {
			all = append(all, remainingView{r.Remaining, limitViewOf(r.Limit)})
		}
	}
	return all
}

// peek returns what the Guard's limiter would say of each limit of t; nil if it does not answer,
// because a page shows the token all the same.
func (c *console) peek(ctx context.Context, p Principal, t httpkey.Token) []httpkey.Result {
	waiting, cancel := context.WithTimeout(ctx, limiterTimeout)
	defer cancel()
	result, err := c.askRemaining(waiting, t)
	switch {
	case err != nil:
		_ = c.failed(ctx, Event{Action: ActionRead, Principal: p, Token: t, Err: err})
		return nil
	case len(result.Each) > 0:
		return result.Each
	case result.Limit == (httpkey.Limit{}):
		return []httpkey.Result{} // unlimited
	}
	return []httpkey.Result{result}
}

// askLimits is [httpkey.Guard.LimitsOf]. A Charge that wants a request makes an error, and no panic: a
// program without [httpkey.Guard.Admit] never calls it without one.
func (c *console) askLimits(t httpkey.Token) (_ []httpkey.Limit, err error) {
	defer recoverCharge(&err)
	return c.guard.LimitsOf(t)
}

// askRemaining is [httpkey.Guard.Peek] likewise.
func (c *console) askRemaining(ctx context.Context, t httpkey.Token) (_ httpkey.Result, err error) {
	defer recoverCharge(&err)
	return c.guard.Peek(ctx, t)
}

func recoverCharge(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("httpkey: console: Options.Charge of the Guard panics without a request: %v", cause)
	}
}

func limitViewOf(l httpkey.Limit) limitView {
	v := limitView{Rate: l.Rate, Burst: l.Burst, Per: periodOf(l)}
	if l.Burst == l.Rate {
		v.Burst = 0
	}
	return v
}

// periodOf returns the period of a limit in the largest unit that it is a multiple of.
func periodOf(l httpkey.Limit) span {
	if l.Calendar != "" {
		return span{1, string(l.Calendar)}
	}
	for _, unit := range []struct {
		name string
		per  time.Duration
	}{{"day", day}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if l.Period%unit.per == 0 {
			return span{int(l.Period / unit.per), unit.name}
		}
	}
	return span{int((l.Period + time.Millisecond - 1) / time.Millisecond), "millisecond"}
}
