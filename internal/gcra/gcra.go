// Package gcra is the arithmetic of rate limits, in integers: the generic cell rate
// algorithm (ITU-T I.371) as a leaky bucket, and quotas. The limiters in memory and in SQL
// share it.
//
// The state of a bucket is its debt. A request adds Period to the debt, and each microsecond
// pays off Rate, so every number is whole. The debt divided by Rate is the time until the
// bucket is full. Limits of one window that differ in Rate agree on that time.
package gcra

import (
	"errors"
	"math/bits"
)

// ErrDamaged is wrapped by the error of a limiter about one bucket, whose state no request
// can have produced.
var ErrDamaged = errors.New("the bucket is damaged")

// Terms are a limit in the units of the arithmetic.
type Terms struct {
	Rate   int64 // requests per Period; 0 admits nothing
	Burst  int64 // requests at once
	Period int64 // microseconds; 1 for a quota

	// Left, if not 0, makes the limit a quota: the whole debt is paid off when so many
	// microseconds have passed, and nothing before.
	Left int64
}

// Result is a decision; times are in microseconds.
type Result struct {
	Allowed    bool  // whether the cost was taken
	Burst      int64 // the cost that empties a full bucket
	Remaining  int64 // the cost that would pass now
	ResetAfter int64 // until the bucket is full
	RetryAfter int64 // until the cost would pass; 0 if it passed, or never will
}

// Window returns the time from empty to full, in microseconds, rounded up.
func (t Terms) Window() int64 { return ceilDiv(t.Capacity(), t.Rate) }

// Capacity returns the debt of an empty bucket. A forced charge may double it.
func (t Terms) Capacity() int64 { return t.Burst * t.Period }

// HasRoom reports whether a bucket with a debt of owed has room for n. Any bucket has room
// for 0.
func (t Terms) HasRoom(owed, n int64) bool {
	return t.Rate > 0 && n <= t.Burst && (n <= 0 || n*t.Period <= t.Capacity()-owed)
}

// Charged returns the debt after a charge of n. The bucket has room for n unless the charge
// is forced. The debt stays within twice the capacity, unless it was greater before.
func (t Terms) Charged(owed, n int64) int64 {
	switch { // without a product or a sum that could overflow
	case n >= 0:
		return owed + min(min(n, 2*t.Burst)*t.Period, max(0, 2*t.Capacity()-owed))
	case -n > owed/t.Period:
		return 0
	}
	return owed + n*t.Period
}

// Result returns the decision on a charge of n, after which the bucket owes owed.
func (t Terms) Result(allowed bool, owed, n int64) Result {
	r := Result{Allowed: allowed, Burst: t.Burst, Remaining: max(0, t.Capacity()-owed) / max(1, t.Period)}
	switch {
	case owed == 0 || t.Rate == 0:
	case t.Left > 0:
		r.ResetAfter = t.Left
	default:
		r.ResetAfter = ceilDiv(owed, t.Rate)
	}
	switch {
	case allowed || t.Rate == 0 || n > t.Burst:
	case t.Left > 0:
		r.RetryAfter = t.Left
	default:
		r.RetryAfter = ceilDiv(owed-(t.Capacity()-n*t.Period), t.Rate)
	}
	return r
}

// Bucket is the state of a bucket. The zero Bucket is full.
type Bucket struct {
	Debt int64 // in units of Period × requests
	AsOf int64 // the moment of Debt, in microseconds
	Rate int64 // the Rate under which Debt counts
}

// Owed returns the debt of b at a moment, under t.
//
// A clock that is set back increases the debt by the time that is lost. Only such a clock
// makes a debt of more than two windows; the bucket is then empty as of now: see Heal.
func (b Bucket) Owed(t Terms, now int64) int64 {
	debt := b.Debt
	if t.Left > 0 || debt == 0 || t.Rate == 0 {
		return debt
	}
	elapsed, most := now-b.AsOf, 2*t.Capacity()
	if b.Rate != t.Rate {
		debt = Rescale(debt, b.Rate, t.Rate)
	}
	debt = min(debt, most)
	switch {
	case elapsed > debt/t.Rate: // a product of elapsed and Rate could overflow
		return 0
	case -elapsed > (most-debt)/t.Rate:
		return t.Capacity()
	}
	return debt - elapsed*t.Rate
}

// Heal reports whether b lies ahead of now by more than two windows. If so, it makes b empty
// as of now. A limiter must store a healed bucket even if it denies: otherwise the bucket
// never refills.
func (b *Bucket) Heal(t Terms, now int64) bool {
	if t.Left > 0 || b.Debt == 0 || t.Rate == 0 {
		return false
	}
	most := 2 * t.Capacity()
	if b.AsOf-now <= (most-min(most, Rescale(b.Debt, b.Rate, t.Rate)))/t.Rate {
		return false
	}
	*b = Bucket{Debt: t.Capacity(), AsOf: now, Rate: t.Rate}
	return true
}

// FullIn returns the microseconds from now until b is full, rounded up. It is 0 or less if b
// is full.
func (b Bucket) FullIn(now int64) int64 {
	if b.Debt == 0 {
		return 0
	}
	return ceilDiv(b.Debt, b.Rate) - (now - b.AsOf)
}

// Rescale converts a debt from one rate to another, rounded up, so that the time until it is
// paid off stays the same.
func Rescale(debt, from, to int64) int64 {
	high, low := bits.Mul64(uint64(debt), uint64(to))
	if high >= uint64(from) {
		return 1<<63 - 1
	}
	owed, rest := bits.Div64(high, low, uint64(from))
	if rest > 0 {
		owed++
	}
	return int64(min(owed, 1<<63-1))
}

// Take takes n at a moment if the bucket has room for n or forced is set.
func (b *Bucket) Take(t Terms, now, n int64, forced bool) Result {
	owed := b.Owed(t, now)
	allowed := forced || t.HasRoom(owed, n)
	if allowed {
		owed = b.Charge(t, now, owed, n)
	}
	return t.Result(allowed, owed, n)
}

// Charge charges n to a bucket that owes owed at a moment, and returns the new debt. A charge
// of 0 leaves b as it is, and so does a Rate of 0, which has no debt.
func (b *Bucket) Charge(t Terms, now, owed, n int64) int64 {
	if n == 0 || t.Rate == 0 {
		return owed
	}
	*b = Bucket{Debt: t.Charged(owed, n), AsOf: now, Rate: t.Rate}
	return b.Debt
}

// ceilDiv returns a / b rounded up, for a >= 0 and b > 0; a + b - 1 could overflow.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if q*b != a {
		q++
	}
	return q
}
