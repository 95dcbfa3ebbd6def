package httpkey

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/httpkey/httpkey/internal/failover"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/limit"
)

// ErrInvalidLimit is wrapped by every error about a [Limit] or a [Charge] that no
// limiter could apply. The message names the field.
var ErrInvalidLimit = errors.New("httpkey: invalid limit")

// Limit is the number of requests that pass in a period, and the number that pass at once.
// With a Calendar it is the number of requests that pass in a day or a month.
//
// A Rate of 0 admits nothing: PerMinute(0) says "no access". The zero Limit is invalid.
type Limit struct {
	Name     string        // tells limits apart, in headers and buckets: up to 64 characters of a scope; may be empty
	Rate     int           // requests per Period, or in a day or month of the Calendar
	Burst    int           // requests that may come at once; 0 means Rate; always 0 with a Calendar
	Period   time.Duration // rounded up to a microsecond; always 0 with a Calendar
	Calendar Calendar      // empty: the limit refills steadily

	// A Guard evaluates a limit with DryRun and reports the result, but does not enforce it.
	// A limiter ignores DryRun: it decides under this limit as under any other.
	DryRun bool
}

// Calendar makes a [Limit] a quota, which resets at 00:00 UTC: "day" on each day, "month"
// on the first day of each month.
type Calendar string

// PerSecond returns the limit of rate requests a second, all of them at once if need be.
func PerSecond(rate int) Limit { return Limit{Rate: rate, Period: time.Second} }

// PerMinute returns the limit of rate requests a minute, all of them at once if need be.
func PerMinute(rate int) Limit { return Limit{Rate: rate, Period: time.Minute} }

// PerHour returns the limit of rate requests an hour, all of them at once if need be.
func PerHour(rate int) Limit { return Limit{Rate: rate, Period: time.Hour} }

// PerDay returns the quota of n requests in each day, which begins at 00:00 UTC.
func PerDay(n int) Limit { return Limit{Rate: n, Calendar: "day"} }

// PerMonth returns the quota of n requests in each month, which begins at 00:00 UTC of its first day.
func PerMonth(n int) Limit { return Limit{Rate: n, Calendar: "month"} }

// Validate reports why no limiter could apply l: an error that wraps
// [ErrInvalidLimit] and names the field.
//
// Burst × Period must stay within 2^61 request-microseconds; a million requests a day is 4
// percent of that. An empty bucket must fill within 146 years.
func (l Limit) Validate() error { return validateLimits([]Limit{l}) }

// maxLimits is the maximum number of limits that apply together.
const maxLimits = limit.Most

// validateLimits validates limits that apply together.
func validateLimits(limits []Limit) error {
	if err := limit.Validate[Limit, Calendar](limits); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidLimit, err)
	}
	return nil
}

// Resolve returns l as limiters apply it: with Burst filled in, and Period rounded up to a
// microsecond. It does not validate l.
func (l Limit) Resolve() Limit {
	l.Burst, l.Period = limit.Resolve(l.Rate, l.Burst, l.Period)
	return l
}

// Window returns the time in which an empty bucket of l fills, rounded up to a
// microsecond. The payer, the Name and the window name the bucket, so limits of one
// window share it. The window of a quota is 24 hours or 31 days.
func (l Limit) Window() time.Duration { return limit.Window(l.Calendar, l.Rate, l.Burst, l.Period) }

// terms returns l for the arithmetic of package gcra; l is resolved, valid and no quota.
func (l Limit) terms() gcra.Terms { return limit.Terms(l.Rate, l.Burst, l.Period) }

// Span returns the day or the month of now in UTC: it begins at start and ends just before
// end. The empty Calendar returns zero times.
func (c Calendar) Span(now time.Time) (start, end time.Time) { return limit.Span(c, now) }

// MarshalJSON writes {"rate": 60, "burst": 60, "period": 60} with the period in seconds, or
// {"rate": 5000, "calendar": "month"}. It adds the name and "dry_run": true if they are set.
func (l Limit) MarshalJSON() ([]byte, error) { return limit.Fields[Calendar](l).Marshal() }

// UnmarshalJSON reads the output of MarshalJSON.
func (l *Limit) UnmarshalJSON(text []byte) error {
	read, err := limit.Unmarshal[Calendar](text)
	if err != nil {
		return fmt.Errorf("httpkey: read a limit: %w", err)
	}
	*l = Limit(read)
	return nil
}

// Charge is the price of a request. A limiter takes Cost from the payer's bucket of each
// of Limits, or takes nothing.
type Charge struct {
	// Bucket names the payer. The beginnings "token:", "user:", "workspace:" and
	// "anonymous:" mean tokens, users, workspaces and requests without a key. So payers of
	// different kinds never share a bucket. Payers of your own need another beginning. A
	// Guard refuses a charge whose Bucket names another token, user or workspace than the
	// request's. It also refuses an empty Bucket, a Bucket without a name after one of these
	// beginnings, and "anonymous:" and "probe", which are reserved.
	Bucket string

	// Limits apply together; there are at most 8. Limits with the same Name must have
	// different windows. A charge without limits is always admitted.
	Limits []Limit

	// Cost is the number of requests to take. A cost of 0 takes nothing and is admitted
	// unless a limit has a Rate of 0. Only a refund, which is Forced, has a negative Cost.
	Cost int

	// Forced takes Cost even without room, down to one Burst below empty. A negative Cost
	// gives back, up to full. A limiter always admits a forced charge.
	Forced bool
}

// Validate reports why no limiter could apply c: an error that wraps [ErrInvalidLimit].
// Every [Limiter] calls it first. A Cost above Burst is no error: see [Result.RetryAfter].
func (c *Charge) Validate() error {
	if c.Cost < 0 && !c.Forced {
		return fmt.Errorf("%w: Cost is %d, it must not be negative unless the charge is Forced", ErrInvalidLimit, c.Cost)
	}
	if c.Forced && (c.Cost < -math.MaxInt32 || c.Cost > math.MaxInt32) {
		return fmt.Errorf("%w: Cost is %d, it must be within %d", ErrInvalidLimit, c.Cost, math.MaxInt32)
	}
	return validateLimits(c.Limits)
}

// Limiter decides whether a payer has room for a request.
//
// A payer has a bucket for each Name and [Limit.Window]. A bucket keeps the part of its
// window that is owed, so a raised or lowered limit keeps the use in proportion. A strict
// window and a quota keep the number of admitted requests instead. A bucket that was never
// used, or is full again, is the same as none: an implementation may forget it, and must
// bound its memory.
//
// Allow takes c.Cost from the buckets of all of c.Limits, or from none. It MUST
//
//   - return the error of [Charge.Validate], if there is one, and then change nothing;
//   - admit exactly as many requests as every limit has room for, under any concurrency;
//   - take nothing when it denies, so that a retry is free;
//   - keep payers apart, and Names, that differ in any byte;
//   - neither change c nor keep it after the return.
//
// A bucket that lies ahead of the limiter's clock by more than twice its window counts as
// empty from now. That happens when the clock is set back.
//
// An error means that the limiter made no decision. After three in a row a Guard probes the
// limiter in the background, on a bucket of the payer "probe", until a probe succeeds.
//
// A limiter that can fail may also have the method Fallback() Limiter. It returns a new
// limiter in memory, of the same kind, which decides while the limiter is down.
//
// Implementations are safe for concurrent use. The package storetest proves
// these rules for an implementation of your own.
type Limiter interface {
	// Allow decides on a charge, as described above.
	Allow(ctx context.Context, c *Charge) (Result, error)
}

// Resetter is a [Limiter] whose buckets can be made full again, for the support staff of a
// program. The limiters of memstore, redisstore and sqlstore implement it. Other limiters need
// not.
type Resetter interface {
	// Reset makes the buckets of c.Bucket under c.Limits full, also a damaged one and one that
	// owes a forced charge. It changes no other bucket, ignores c.Cost and c.Forced, and takes
	// a bucket that was never used without an error. It MUST return the error of
	// [Charge.Validate] about the limits, if there is one, and then change nothing. It neither
	// changes c nor keeps it.
	//
	// A denial from memory ends with Reset in this process. Other processes may repeat
	// theirs for a second.
	//
	// After another error, call Reset again. Beside calls of Allow, Reset takes effect between
	// two of them. The fallback of a Guard has buckets of its own, which Reset does not reach.
	Reset(ctx context.Context, c *Charge) error
}

// Result is the decision of a limiter and the state of the bucket after it.
type Result struct {
	Allowed   bool  // whether the cost was taken
	Limit     Limit // the limit that binds, resolved; the zero Limit where there is none
	Remaining int   // the cost that would pass now; never negative

	// ResetAfter is the time until the bucket is full; 0 if it is full.
	ResetAfter time.Duration
	// RetryAfter is the time until this cost would pass if no other request came; 0 if it
	// passed. It is also 0 if the cost can never pass, because the Rate is 0 or the cost is
	// above Burst.
	RetryAfter time.Duration

	Each []Result // one for each of several limits, and of a limit with DryRun; Allowed says that it had room
}

// never reports whether r denies a cost that can never pass.
func (r *Result) never() bool { return !r.Allowed && r.RetryAfter == 0 }

// Join returns the decision on c from the results of its limits, in their order. It admits
// c if all limits have room. The numbers are those of the limit that binds: one that can
// never admit c, else the one with the longest RetryAfter, else the one with the smallest
// part left. Join keeps each.
func (c *Charge) Join(each []Result) Result {
	switch len(each) {
	case 0:
		return Result{Allowed: true}
	case 1:
		return each[0]
	}
	binding := 0
	for i := range each {
		if each[i].binds(&each[binding]) {
			binding = i
		}
	}
	joined := each[binding]
	joined.Each = each
	return joined
}

// binds reports whether r is more restrictive than other.
func (r *Result) binds(other *Result) bool {
	switch {
	case r.Allowed != other.Allowed:
		return other.Allowed
	case !r.Allowed && r.never() != other.never():
		return r.never()
	case !r.Allowed:
		return r.RetryAfter > other.RetryAfter
	}
	return int64(r.Remaining)*int64(other.Limit.Burst) < int64(other.Remaining)*int64(r.Limit.Burst)
}

// Unlimited is the Limiter that always admits. A program names it explicitly, because
// [New] refuses a nil Limiter. Its results carry the zero Limit, so responses have no
// rate-limit headers.
var Unlimited Limiter = unlimited{}

type unlimited struct{}

func (unlimited) Allow(context.Context, *Charge) (Result, error) { return Result{Allowed: true}, nil }

// FailClosed is the Limiter that always returns [ErrUnavailable]. Set it as
// [Options.Fallback] in a program that must answer 503 rather than exceed a limit.
var FailClosed Limiter = failClosed{}

type failClosed struct{}

func (failClosed) Allow(context.Context, *Charge) (Result, error) { return Result{}, ErrUnavailable }

// newFailover returns a Limiter around a limiter that can fail. It calls report with an
// error when the limiter goes down, and with nil when it is back.
func newFailover(limiter, fallback Limiter, timeout time.Duration, report func(error)) Limiter {
	if fallback == nil {
		fallback = FailClosed
		if own, ok := limiter.(interface{ Fallback() Limiter }); ok {
			fallback = own.Fallback()
		}
	}
	return failover.New(limiter, fallback, failover.Options[*Charge, Result]{
		// The probe is a charge, because a limiter that can be read but not written is still
		// down. The limit has room for the probes of many processes.
		Probe:    &Charge{Bucket: "probe", Limits: []Limit{PerSecond(1009)}, Cost: 1},
		IsCharge: func(c *Charge, r Result) bool { return c.Cost > 0 && r.Allowed },
		IsFinal:  func(err error) bool { return errors.Is(err, ErrInvalidLimit) },
		IsAlone:  func(err error) bool { return errors.Is(err, gcra.ErrDamaged) },
		Timeout:  timeout,
		Report:   report,
	})
}
