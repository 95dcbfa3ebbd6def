package httpkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// ErrInvalidLimit is wrapped by every error about a [Limit] or a cost that no
// limiter could apply. The message names the field.
var ErrInvalidLimit = errors.New("httpkey: invalid limit")

// Limit is how many requests pass in a period, and how many of them at once.
//
// The zero Limit is no limit of its own: a [Token] that has it gets its kind's
// limit. To a [Limiter] it is invalid; nothing in this package reads it as
// "unlimited".
type Limit struct {
	Rate   int           // requests per Period, at least 1
	Burst  int           // requests that may come at once; 0 means Rate
	Period time.Duration // a positive whole number of microseconds
}

// PerSecond returns the limit of rate requests a second, all of them at once if need be.
func PerSecond(rate int) Limit { return Limit{Rate: rate, Period: time.Second} }

// PerMinute returns the limit of rate requests a minute, all of them at once if need be.
func PerMinute(rate int) Limit { return Limit{Rate: rate, Period: time.Minute} }

// PerHour returns the limit of rate requests an hour, all of them at once if need be.
func PerHour(rate int) Limit { return Limit{Rate: rate, Period: time.Hour} }

// maxDebt bounds Burst × Period in request-microseconds, so that a limiter can
// count what is owed in an int64, add to it and still not overflow.
const maxDebt = 1 << 62

// Validate reports why no limiter could apply l: an error that wraps
// [ErrInvalidLimit] and names the field.
//
// Besides the signs, it asks that Burst × Period stays within 2^62
// request-microseconds (a million requests a day is 2 percent of that), and
// that an empty bucket fills within the 292 years that a [time.Duration] holds.
func (l Limit) Validate() error {
	switch {
	case l.Rate < 1:
		return fmt.Errorf("%w: Rate is %d, it must be at least 1", ErrInvalidLimit, l.Rate)
	case l.Burst < 0:
		return fmt.Errorf("%w: Burst is %d, it must not be negative (0 means Rate)", ErrInvalidLimit, l.Burst)
	case l.Period <= 0:
		return fmt.Errorf("%w: Period is %v, it must be positive", ErrInvalidLimit, l.Period)
	case l.Period%time.Microsecond != 0:
		return fmt.Errorf("%w: Period is %v, it must be a whole number of microseconds", ErrInvalidLimit, l.Period)
	}
	high, debt := bits.Mul64(uint64(l.burst()), uint64(l.Period.Microseconds()))
	if high != 0 || debt > maxDebt || (debt-1)/uint64(l.Rate)+1 > math.MaxInt64/uint64(time.Microsecond) {
		return fmt.Errorf("%w: Burst is %d, too large to be counted with a Period of %v", ErrInvalidLimit, l.burst(), l.Period)
	}
	return nil
}

// Resolve returns l with Burst filled in. It is the first step of every
// [Limiter]: the error, which wraps [ErrInvalidLimit], says that l is invalid,
// that n is negative, or that n is more than Burst, so that it could never pass.
func (l Limit) Resolve(n int) (Limit, error) {
	if err := l.Validate(); err != nil {
		return Limit{}, err
	}
	l.Burst = l.burst()
	switch {
	case n < 0:
		return Limit{}, fmt.Errorf("%w: the cost is %d, it must not be negative", ErrInvalidLimit, n)
	case n > l.Burst:
		return Limit{}, fmt.Errorf("%w: the cost is %d, more than the Burst of %d: it could never pass", ErrInvalidLimit, n, l.Burst)
	}
	return l, nil
}

func (l Limit) burst() int {
	if l.Burst == 0 {
		return l.Rate
	}
	return l.Burst
}

// limitJSON is a Limit on the wire.
type limitJSON struct {
	Rate   int     `json:"rate"`
	Burst  int     `json:"burst"`
	Period float64 `json:"period"` // seconds
}

// MarshalJSON writes {"rate": 60, "burst": 60, "period": 60}, the period in
// seconds, and null for the zero Limit.
func (l Limit) MarshalJSON() ([]byte, error) {
	if l == (Limit{}) {
		return []byte("null"), nil
	}
	return json.Marshal(limitJSON{Rate: l.Rate, Burst: l.burst(), Period: l.Period.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON wrote; null is the zero Limit.
func (l *Limit) UnmarshalJSON(text []byte) error {
	var wire limitJSON
	if err := json.Unmarshal(text, &wire); err != nil {
		return fmt.Errorf("httpkey: read a limit: %w", err)
	}
	if math.Abs(wire.Period) >= time.Duration(math.MaxInt64).Seconds() {
		return fmt.Errorf("httpkey: read a limit: the period is %v seconds, it must be less than 292 years", wire.Period)
	}
	period := time.Duration(math.Round(wire.Period*1e6)) * time.Microsecond
	*l = Limit{Rate: wire.Rate, Burst: wire.Burst, Period: period}
	return nil
}

// Limiter decides whether a bucket has room for a request.
//
// A bucket is named by key and limit together: the same key under another
// limit is another bucket, which starts full. So a limit that is raised or
// lowered locks nobody out, and two limits on one key do not disturb each
// other. A bucket that was never used, or is full again, is the same as none:
// an implementation may forget it, and must bound what it remembers.
//
// Allow takes n from the bucket, or nothing at all. It MUST
//
//   - answer a limit or an n that [Limit.Resolve] refuses with its error, and change nothing;
//   - admit exactly as many as the limit has room for, however many callers there are;
//   - take nothing when it does not admit, so that asking again is free;
//   - admit an n of 0 always, which shows the bucket and takes nothing;
//   - keep buckets of keys that differ in any byte apart.
//
// An error means that there was no decision: it is neither yes nor no. After several
// a Guard tries it in a goroutine of its own, on a bucket that is no token's (the key of
// one, 1,009 a second), until there is none.
//
// Implementations are safe for concurrent use. The package storetest proves
// these rules for an implementation of your own.
type Limiter interface {
	// Allow takes n from the bucket of key and limit, if it has that much.
	Allow(ctx context.Context, key string, limit Limit, n int) (Result, error)
}

// SlotLimiter is what a [Limiter] may be besides, if its buckets are in the memory
// of this process: it looks a token's bucket up once, and from then on finds it
// in the token's [Slot].
type SlotLimiter interface {
	Limiter

	// AllowSlot is Allow for one who has a place to remember the bucket in. It
	// MUST answer as Allow would, whatever the slot holds: that may be the bucket
	// of another key or limit, or another limiter's. now is the present time, with
	// its monotonic reading.
	AllowSlot(slot *Slot, key string, limit Limit, n int, now time.Time) (Result, error)

	// Self returns the limiter itself. A Guard uses AllowSlot only if that is the
	// limiter that it was given; see [EntryStore].
	Self() Limiter
}

// FallbackLimiter is what a [Limiter] may be besides, if it can fail: it brings
// the one that stands in for it.
type FallbackLimiter interface {
	Limiter

	// Fallback returns a new limiter in memory, of the same kind.
	Fallback() Limiter
}

// Slot is where a [SlotLimiter] remembers the bucket of a token between its
// requests. The zero Slot is empty. It is safe for concurrent use.
type Slot struct{ value atomic.Pointer[any] }

// Load returns the value that was stored last, nil at first.
func (s *Slot) Load() any {
	if value := s.value.Load(); value != nil {
		return *value
	}
	return nil
}

// Store keeps the value that v points to, which must not change. Let v point into
// what the value points to: a Load then reaches into one object instead of two.
func (s *Slot) Store(v *any) { s.value.Store(v) }

// Result is a limiter's decision and what is left.
type Result struct {
	Allowed    bool          // whether n was taken
	Limit      Limit         // what was applied, with Burst filled in; the zero Limit where none was
	Remaining  int           // how many could be taken now; never negative
	ResetAfter time.Duration // until all of Burst is there again; 0 if it is
	RetryAfter time.Duration // until this n would pass, if nobody else asks; 0 if it passed
}

// Unlimited is the Limiter that always admits. It says aloud that there is no
// limit: [New] refuses a nil Limiter. Its results carry the zero Limit, so
// responses have no rate-limit headers.
var Unlimited Limiter = unlimited{}

type unlimited struct{}

func (unlimited) Allow(context.Context, string, Limit, int) (Result, error) {
	return Result{Allowed: true}, nil
}

// FailClosed is the Limiter that never decides, as [Options.Fallback] for those
// who would rather answer 503 than let more pass than the limit.
var FailClosed Limiter = failClosed{}

type failClosed struct{}

func (failClosed) Allow(context.Context, string, Limit, int) (Result, error) {
	return Result{}, ErrUnavailable
}
