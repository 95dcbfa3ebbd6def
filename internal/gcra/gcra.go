// Package gcra is the arithmetic of rate limits, in integers: the generic cell rate
// algorithm (ITU-T I.371) as a leaky bucket, and quotas. The limiters in memory and in SQL
// share it.
//
// A bucket is what it owes. A request owes Period, and Rate is paid off in each
// microsecond; so every number is whole. What is owed divided by Rate is the time until
// the bucket is full: limits of one window that differ in Rate agree on that.
package gcra

import (
	"errors"
	"math/bits"
)

// ErrDamaged is wrapped by the error of a limiter about one bucket, which holds what no
// request can have put there.
var ErrDamaged = errors.New("the bucket is damaged")

// Terms are a limit as it is counted.
type Terms struct {
	Rate   int64 // requests per Period; 0 admits nothing
	Burst  int64 // requests at once
	Period int64 // microseconds; 1 for a quota

	// Left makes it a quota: nothing is paid off until so many microseconds have passed,
	// and then all is.
	Left int64
}

// Result is a decision; times are in microseconds.
type Result struct {
	Allowed    bool  // whether the cost was taken
	Burst      int64 // how many a full bucket has
	Remaining  int64 // how many could be taken now
	ResetAfter int64 // until the bucket is full
	RetryAfter int64 // until the cost would pass; 0 if it passed, or never will
}

// Window returns the time from empty to full, in microseconds, rounded up.
func (t Terms) Window() int64 { return ceilDiv(t.Capacity(), t.Rate) }

// Capacity returns what an empty bucket owes. A forced charge may make it owe twice as much.
func (t Terms) Capacity() int64 { return t.Burst * t.Period }

// HasRoom reports whether a bucket that owes so much has room for n. It has room for 0,
// whatever it owes.
func (t Terms) HasRoom(owed, n int64) bool {
	return t.Rate > 0 && n <= t.Burst && (n <= 0 || n*t.Period <= t.Capacity()-owed)
}

// Charged returns what a bucket owes after n more, which it has room for unless it is forced.
// It owes at most twice the capacity, unless it did before.
func (t Terms) Charged(owed, n int64) int64 {
	switch { // without a product or a sum that could overflow
	case n >= 0:
		return owed + min(min(n, 2*t.Burst)*t.Period, max(0, 2*t.Capacity()-owed))
	case -n > owed/t.Period:
		return 0
	}
	return owed + n*t.Period
}

// Result returns the decision about n, which a bucket was asked for, and what it owes after it.
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
	Debt int64 // what is owed, in units of Period × requests, as of
	AsOf int64 // a moment in microseconds, and under
	Rate int64 // a limit of this Rate
}

// Owed returns what b owes at a moment, under t.
//
// A clock that is set back adds to it what it takes away of the time that has passed. What
// lies ahead of two windows has no other cause: the bucket is then empty as of now.
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
	case elapsed > debt/t.Rate: // also where elapsed × Rate would overflow
		return 0
	case -elapsed > (most-debt)/t.Rate:
		return t.Capacity()
	}
	return debt - elapsed*t.Rate
}

// Rescale returns what is owed at one rate as it is owed at another: as long until it is
// paid off, rounded up.
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

// Take takes n at a moment if there is room, or in any case if it is forced.
func (b *Bucket) Take(t Terms, now, n int64, forced bool) Result {
	owed := b.Owed(t, now)
	allowed := forced || t.HasRoom(owed, n)
	if allowed {
		owed = b.Charge(t, now, owed, n)
	}
	return t.Result(allowed, owed, n)
}

// Charge charges n to a bucket that owes so much at a moment, and returns what it owes then.
// A charge of 0 leaves b as it is, and so does a Rate of 0, under which there is nothing to owe.
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
