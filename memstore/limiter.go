package memstore

import (
	"context"
	"time"

	"github.com/httpkey/httpkey"
)

// Limiter is an [httpkey.Limiter] in memory that runs GCRA, the generic cell
// rate algorithm (ITU-T I.371), as a leaky bucket: at most Burst requests at
// once, and then one each Period/Rate. Make one with [NewLimiter].
//
// It counts in integers and is exact to the microsecond, also for rates that
// do not divide their period. It is safe for concurrent use, never waits and
// starts no goroutine.
//
// A bucket takes about 80 bytes beside its key, 100 if it is in use all the time. When
// it is full again it goes, by the next call, whosever that is, after two of the longest
// refill times in use, or of ten seconds; so one limit with a long Period keeps all
// buckets for longer. The bucket of a token in a [Store] has its place beside the token,
// and takes 16 bytes more.
type Limiter struct {
	buckets *buckets[gcra]
}

// NewLimiter returns a Limiter in which every bucket is full.
func NewLimiter() *Limiter { return &Limiter{newBuckets[gcra]()} }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(_ context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	limit, err := limit.Resolve(n)
	if err != nil {
		return httpkey.Result{}, err
	}
	now := l.buckets.now()
	b := l.buckets.lock(key, limit, now, nil)
	defer b.mu.Unlock()
	return b.state.take(limit, now, n), nil
}

// AllowSlot implements [httpkey.SlotLimiter].
func (l *Limiter) AllowSlot(slot *httpkey.Slot, key string, limit httpkey.Limit, n int, now time.Time) (httpkey.Result, error) {
	limit, err := limit.Resolve(n)
	if err != nil {
		return httpkey.Result{}, err
	}
	at := l.buckets.at(now)
	b := l.buckets.lockIn(slot, key, limit, at)
	defer b.mu.Unlock()
	return b.state.take(limit, at, n), nil
}

// Self implements [httpkey.SlotLimiter].
func (l *Limiter) Self() httpkey.Limiter { return l }

// gcra is a bucket as what it owes. A request owes Period, and Rate is paid off
// in each microsecond; so every number is whole, and none exceeds Burst × Period.
type gcra struct {
	debt int64 // in request-microseconds, as of
	asOf int64 // microseconds
}

func (g *gcra) take(limit httpkey.Limit, now int64, n int) httpkey.Result {
	var (
		rate     = int64(limit.Rate)
		period   = limit.Period.Microseconds()
		capacity = int64(limit.Burst) * period
		cost     = int64(n) * period
		debt     = g.debtAt(now, rate)
	)
	result := httpkey.Result{Allowed: cost <= capacity-debt, Limit: limit}
	if result.Allowed {
		debt += cost
		g.debt, g.asOf = debt, max(now, g.asOf)
	} else {
		result.RetryAfter = micros(ceilDiv(debt-(capacity-cost), rate))
	}
	result.Remaining = int((capacity - debt) / period)
	result.ResetAfter = micros(ceilDiv(debt, rate))
	return result
}

// debtAt returns what is owed at now. Callers may come a little out of order:
// time does not run backwards for that.
func (g *gcra) debtAt(now, rate int64) int64 {
	elapsed := now - g.asOf
	switch {
	case elapsed <= 0:
		return g.debt
	case elapsed > g.debt/rate: // also where elapsed × rate would overflow
		return 0
	}
	return g.debt - elapsed*rate
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
