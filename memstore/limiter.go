package memstore

import (
	"context"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/ram"
)

// Limiter is an [httpkey.Limiter] in memory that runs GCRA, the generic cell
// rate algorithm (ITU-T I.371), as a leaky bucket: it admits at most Burst requests at
// once, and then one each Period/Rate. Make one with [NewLimiter].
//
// It counts in integers and is exact to the microsecond, even for a Rate that does not
// divide its Period. If the Rate of a limit changes, the debt is rounded up to a whole
// part of the new Rate. The Limiter is safe for concurrent use, never waits and starts no
// goroutine.
//
// A bucket takes about 90 bytes, whatever the payer's name, and twice that while it is in
// constant use. A later call frees a full bucket after two of the longest windows in use, or
// after 20 seconds if that is longer. So one limit with a long window keeps all buckets for
// longer. Quotas have buckets of their own, which last for up to two of the longest days or
// months in use.
type Limiter struct {
	limiterHolder
	steady steady
	quotas quotas
}

type limiterHolder = ram.LimiterHolder

// NewLimiter returns a Limiter in which every bucket is full.
func NewLimiter() *Limiter {
	l := &Limiter{steady: steady{ram.NewBuckets[gcra.Bucket]()}, quotas: newQuotas()}
	l.limiterHolder = ram.HoldLimiter(l, l.steady.buckets)
	return l
}

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	if len(c.Limits) != 1 || c.Limits[0].Calendar != "" {
		return allow(c, l.steady, l.quotas)
	}
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	item, now := charge.ItemOf(c.Limits[0], time.Time{}), l.steady.buckets.Now()
	payer := l.steady.buckets.Lock(c.Bucket, now)
	defer payer.Unlock()
	bucket := payer.Take(item.Term)
	r := bucket.State.Take(item.Terms, max(now, bucket.State.AsOf), int64(c.Cost), c.Forced)
	bucket.Keep(max(item.Term.Window, r.ResetAfter)) // a forced charge makes ResetAfter longer
	return item.Result(r), nil
}

// Reset implements [httpkey.Resetter].
func (l *Limiter) Reset(_ context.Context, c *httpkey.Charge) error {
	return reset(c, l.steady, l.quotas)
}

// steady is the buckets of limits that refill steadily.
type steady struct{ buckets *ram.Buckets[gcra.Bucket] }

func (s steady) open(payer string, elapsed int64) (func(charge.Item) account, func()) {
	now := s.buckets.At(elapsed)
	locked := s.buckets.Lock(payer, now)
	return func(item charge.Item) account {
		bucket := locked.Take(item.Term)
		// If a later caller locked the payer first, this caller counts with the later time.
		return &steadyAccount{bucket, item.Terms, max(now, bucket.State.AsOf), item.Term.Window}
	}, locked.Unlock
}

// steadyAccount is a bucket under GCRA.
type steadyAccount struct {
	ram.Bucket[gcra.Bucket]
	terms gcra.Terms
	now   int64
	life  int64
}

func (a *steadyAccount) owed() int64 { return a.State.Owed(a.terms, a.now) }

func (a *steadyAccount) hasRoom(n int64) bool { return a.terms.HasRoom(a.owed(), n) }

func (a *steadyAccount) charge(n int64) { a.State.Charge(a.terms, a.now, a.owed(), n) }

func (a *steadyAccount) close(allowed bool, n int64) gcra.Result {
	r := a.terms.Result(allowed, a.owed(), n)
	a.Keep(max(a.life, r.ResetAfter)) // a forced charge makes ResetAfter longer
	return r
}

func (a *steadyAccount) reset() { a.Drop() }
