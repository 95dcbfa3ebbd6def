package httpkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/httpkey/httpkey/internal/failover"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/name"
)

// ErrInvalidLimit is wrapped by every error about a [Limit] or a [Charge] that no
// limiter could apply. The message names the field.
var ErrInvalidLimit = errors.New("httpkey: invalid limit")

// Limit is how many requests pass in a period, and how many of them at once; or, with a
// Calendar, how many pass in a day or a month.
//
// A Rate of 0 admits nothing: PerMinute(0) says "no access". The zero Limit is invalid.
type Limit struct {
	Name     string        // tells limits apart, in headers and buckets: up to 64 characters of a scope; may be empty
	Rate     int           // requests per Period, or in a day or month of the Calendar
	Burst    int           // requests that may come at once; 0 means Rate; always 0 with a Calendar
	Period   time.Duration // rounded up to a microsecond; always 0 with a Calendar
	Calendar Calendar      // empty: the limit refills steadily
}

// Calendar makes a [Limit] a quota that is whole again at 00:00 UTC: "day" of each day,
// "month" of the first day of each month.
type Calendar string

const (
	daily   Calendar = "day"
	monthly Calendar = "month"
)

// PerSecond returns the limit of rate requests a second, all of them at once if need be.
func PerSecond(rate int) Limit { return Limit{Rate: rate, Period: time.Second} }

// PerMinute returns the limit of rate requests a minute, all of them at once if need be.
func PerMinute(rate int) Limit { return Limit{Rate: rate, Period: time.Minute} }

// PerHour returns the limit of rate requests an hour, all of them at once if need be.
func PerHour(rate int) Limit { return Limit{Rate: rate, Period: time.Hour} }

// PerDay returns the quota of n requests in each day, which begins at 00:00 UTC.
func PerDay(n int) Limit { return Limit{Rate: n, Calendar: daily} }

// PerMonth returns the quota of n requests in each month, which begins at 00:00 UTC of its first day.
func PerMonth(n int) Limit { return Limit{Rate: n, Calendar: monthly} }

const (
	maxLimitName = 64
	// maxDebt bounds Burst × Period in request-microseconds: an int64 holds twice as
	// much, which a forced charge may owe, and a sum with it.
	maxDebt = 1 << 61
)

// Validate reports why no limiter could apply l: an error that wraps
// [ErrInvalidLimit] and names the field.
//
// Besides the signs, it asks that Burst × Period stays within 2^61 request-microseconds
// (a million requests a day is 4 percent of that), and that an empty bucket fills within
// 146 years.
func (l Limit) Validate() error {
	l = l.Resolve()
	switch {
	case l.Name != "" && !name.IsScope(l.Name, maxLimitName):
		return fmt.Errorf("%w: Name is %q, it must be up to %d characters of a scope", ErrInvalidLimit, l.Name, maxLimitName)
	case l.Rate < 0 || l.Rate > math.MaxInt32:
		return fmt.Errorf("%w: Rate is %d, it must be from 0 to %d", ErrInvalidLimit, l.Rate, math.MaxInt32)
	case l.Burst < 0 || l.Burst > math.MaxInt32:
		return fmt.Errorf("%w: Burst is %d, it must be from 0 to %d (0 means Rate)", ErrInvalidLimit, l.Burst, math.MaxInt32)
	case l.Calendar != "" && l.Calendar != daily && l.Calendar != monthly:
		return fmt.Errorf("%w: Calendar is %q, it must be empty, %q or %q", ErrInvalidLimit, l.Calendar, daily, monthly)
	case l.Calendar != "" && (l.Period != 0 || l.Burst != l.Rate):
		return fmt.Errorf("%w: Period is %v and Burst is %d, a quota of a %s has neither",
			ErrInvalidLimit, l.Period, l.Burst, l.Calendar)
	case l.Calendar == "" && l.Period <= 0:
		return fmt.Errorf("%w: Period is %v, it must be positive", ErrInvalidLimit, l.Period)
	}
	high, debt := bits.Mul64(uint64(l.Burst), uint64(l.Period.Microseconds()))
	if high != 0 || debt > maxDebt || l.Rate > 0 && debt/uint64(l.Rate) >= math.MaxInt64/2/uint64(time.Microsecond) {
		return fmt.Errorf("%w: Burst is %d, too large to be counted with a Period of %v", ErrInvalidLimit, l.Burst, l.Period)
	}
	return nil
}

// validateLimits is Validate for limits that apply together.
func validateLimits(limits []Limit) error {
	if len(limits) > maxLimits {
		return fmt.Errorf("%w: there are %d, at most %d apply together", ErrInvalidLimit, len(limits), maxLimits)
	}
	for i, l := range limits {
		if err := l.Validate(); err != nil {
			return err
		}
		for _, other := range limits[:i] {
			if l.Name == other.Name && l.Calendar == other.Calendar && l.Window() == other.Window() {
				return fmt.Errorf("%w: two limits have the Name %q and one window, so that they share a bucket: name one of them",
					ErrInvalidLimit, l.Name)
			}
		}
	}
	return nil
}

// Resolve returns l as limiters apply it: with Burst filled in, and Period in whole
// microseconds. It does not validate.
func (l Limit) Resolve() Limit {
	if rest := l.Period % time.Microsecond; rest > 0 && l.Period < math.MaxInt64-time.Microsecond {
		l.Period += time.Microsecond - rest
	}
	if l.Burst == 0 || l.Rate == 0 {
		l.Burst = l.Rate
	}
	return l
}

// Window returns the time in which an empty bucket of l fills, rounded up to a
// microsecond. It names the bucket, together with the payer and the Name: limits of one
// window share what was used. For a quota it is about a day or a month.
func (l Limit) Window() time.Duration {
	switch l.Calendar {
	case daily:
		return 24 * time.Hour
	case monthly:
		return 31 * 24 * time.Hour
	}
	if l = l.Resolve(); l.Rate <= 0 {
		return l.Period
	}
	return time.Duration(l.terms().Window()) * time.Microsecond
}

// terms is l as the arithmetic has it; l is resolved, valid and no quota.
func (l Limit) terms() gcra.Terms {
	return gcra.Terms{Rate: int64(l.Rate), Burst: int64(l.Burst), Period: l.Period.Microseconds()}
}

// Span returns the day or the month that now is in, in UTC: from start until just before
// end. The empty Calendar has none, and returns zero times.
func (c Calendar) Span(now time.Time) (start, end time.Time) {
	year, month, day := now.UTC().Date()
	switch c {
	case daily:
		start = time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 0, 1)
	case monthly:
		start = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	}
	return time.Time{}, time.Time{}
}

// limitJSON is a Limit on the wire.
type limitJSON struct {
	Name     string   `json:"name,omitempty"`
	Rate     int      `json:"rate"`
	Burst    int      `json:"burst,omitempty"`
	Period   float64  `json:"period,omitempty"` // seconds
	Calendar Calendar `json:"calendar,omitempty"`
}

// MarshalJSON writes {"rate": 60, "burst": 60, "period": 60}, the period in seconds, or
// {"rate": 5000, "calendar": "month"}, and the name if there is one.
func (l Limit) MarshalJSON() ([]byte, error) {
	wire := limitJSON{Name: l.Name, Rate: l.Rate, Calendar: l.Calendar}
	if l.Calendar == "" {
		l = l.Resolve()
		wire.Burst, wire.Period = l.Burst, l.Period.Seconds()
	}
	return json.Marshal(wire)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *Limit) UnmarshalJSON(text []byte) error {
	var wire limitJSON
	if err := json.Unmarshal(text, &wire); err != nil {
		return fmt.Errorf("httpkey: read a limit: %w", err)
	}
	if math.Abs(wire.Period) >= time.Duration(math.MaxInt64).Seconds() {
		return fmt.Errorf("httpkey: read a limit: the period is %v seconds, it must be less than 292 years", wire.Period)
	}
	period := time.Duration(math.Round(wire.Period*1e6)) * time.Microsecond
	*l = Limit{Name: wire.Name, Rate: wire.Rate, Burst: wire.Burst, Period: period, Calendar: wire.Calendar}
	return nil
}

// Charge is what a request takes, and from whom: its Cost from each of the Limits, or
// nothing at all.
type Charge struct {
	// Bucket names the payer. Names that begin with "token:", "user:", "workspace:" and
	// "anonymous:" are those of tokens, their users and workspaces, and of requests
	// without a key; choose another beginning for payers of your own.
	Bucket string

	// Limits apply together; at most 8. Limits of the same Name must have different
	// windows. None admits everything.
	Limits []Limit

	// Cost is how much is taken; 0 takes nothing and is admitted unless a limit has a
	// Rate of 0. It is negative only in a refund, which is Forced.
	Cost int

	// Forced takes Cost whether there is room or not, down to one Burst below empty. A
	// negative Cost gives back, up to full. A forced charge is always admitted.
	Forced bool
}

// Validate reports why no limiter could apply c: an error that wraps [ErrInvalidLimit].
// It is the first step of every [Limiter]. A Cost above Burst is no error: see
// [Result.RetryAfter].
func (c *Charge) Validate() error {
	if c.Cost < 0 && !c.Forced {
		return fmt.Errorf("%w: Cost is %d, it must not be negative unless the charge is Forced", ErrInvalidLimit, c.Cost)
	}
	if c.Cost < -math.MaxInt32 || c.Cost > math.MaxInt32 {
		return fmt.Errorf("%w: Cost is %d, it must be within %d", ErrInvalidLimit, c.Cost, math.MaxInt32)
	}
	return validateLimits(c.Limits)
}

// Limiter decides whether a payer has room for a request.
//
// A payer has a bucket for each Name and [Limit.Window]. A bucket keeps which part of its
// window is owed, so that a limit that is raised or lowered keeps what was used in
// proportion. (A strict window and a quota keep how many were let in.) A bucket that was
// never used, or is full again, is the same as none: an implementation may forget it, and
// must bound what it remembers.
//
// Allow takes c.Cost from the buckets of all of c.Limits, or from none. It MUST
//
//   - answer what [Charge.Validate] refuses with its error, and change nothing;
//   - admit exactly as many as every limit has room for, however many callers there are;
//   - take nothing when it does not admit, so that asking again is free;
//   - keep payers, and Names, that differ in any byte apart;
//   - never change c or keep it after it returned.
//
// A bucket that lies ahead of the limiter's clock by more than twice its window, as after
// a clock was set back, is empty as of now.
//
// An error means that there was no decision: it is neither yes nor no. After several
// a Guard tries the limiter in a goroutine of its own, on a bucket of the payer "probe",
// until there is none.
//
// A limiter that can fail may have the method Fallback() Limiter: a new limiter in
// memory, of the same kind, which stands in for it while it is down.
//
// Implementations are safe for concurrent use. The package storetest proves
// these rules for an implementation of your own.
type Limiter interface {
	// Allow decides on a charge.
	Allow(ctx context.Context, c *Charge) (Result, error)
}

// Result is a limiter's decision and what is left.
type Result struct {
	Allowed   bool  // whether the cost was taken
	Limit     Limit // the limit that binds, resolved; the zero Limit where there is none
	Remaining int   // how many could be taken now; never negative

	// ResetAfter is how long it takes until all of Burst is there again; 0 if it is.
	ResetAfter time.Duration
	// RetryAfter is how long it takes until this cost would pass, if nobody else asks; 0
	// if it passed. It is 0, too, where the cost can never pass, because the Rate is 0 or
	// the cost above Burst.
	RetryAfter time.Duration

	Each []Result // of each limit, where there are several; Allowed there says that this one had room
}

// never reports whether what was denied can never pass.
func (r *Result) never() bool { return !r.Allowed && r.RetryAfter == 0 }

// Join returns the decision on c of what was found of each of its limits, in their order:
// admitted if all have room. It carries the numbers of the limit that binds. That is the
// one with the longest RetryAfter if some have no room, and else the one with the
// smallest part left. Join keeps each.
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

// binds reports whether r leaves a request less than other does.
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

// Unlimited is the Limiter that always admits. It says aloud that there is no
// limit: [New] refuses a nil Limiter. Its results carry the zero Limit, so
// responses have no rate-limit headers.
var Unlimited Limiter = unlimited{}

type unlimited struct{}

func (unlimited) Allow(context.Context, *Charge) (Result, error) { return Result{Allowed: true}, nil }

// FailClosed is the Limiter that never decides, as [Options.Fallback] for programs
// that would rather answer 503 than let more pass than the limit.
var FailClosed Limiter = failClosed{}

type failClosed struct{}

func (failClosed) Allow(context.Context, *Charge) (Result, error) { return Result{}, ErrUnavailable }

// newFailover returns a Limiter around a limiter that can fail. It tells report of the
// limiter's outages: with an error when it goes down, and with nil when it is back.
func newFailover(limiter, fallback Limiter, timeout time.Duration, report func(error)) Limiter {
	if fallback == nil {
		fallback = FailClosed
		if own, ok := limiter.(interface{ Fallback() Limiter }); ok {
			fallback = own.Fallback()
		}
	}
	return failover.New(limiter, fallback, failover.Options[*Charge, Result]{
		// A charge: a limiter that can be read and not written is still down. The limit
		// has room for the probes of any number of processes.
		Probe:    &Charge{Bucket: "probe", Limits: []Limit{PerSecond(1009)}, Cost: 1},
		IsCharge: func(c *Charge, r Result) bool { return c.Cost > 0 && r.Allowed },
		IsFinal:  func(err error) bool { return errors.Is(err, ErrInvalidLimit) },
		IsAlone:  func(err error) bool { return errors.Is(err, gcra.ErrDamaged) },
		Timeout:  timeout,
		Report:   report,
	})
}
