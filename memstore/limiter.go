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
// A bucket takes about 80 bytes besides the payer's name, and 20 more while it is in
// constant use. A later call frees a full bucket after two of the longest windows in use,
// or after 20 seconds if that is longer. So one limit with a long window keeps all buckets
// for longer. Quotas have buckets of their own, which last for up to two of the longest
// days or months in use.
type Limiter struct {
	limiterHolder
	steady *ram.Buckets[gcra.Bucket]
	quotas quotas
}

type limiterHolder = ram.LimiterHolder

// NewLimiter returns a Limiter in which every bucket is full.
func NewLimiter() *Limiter {
	l := &Limiter{steady: ram.NewBuckets[gcra.Bucket](), quotas: newQuotas()}
	l.limiterHolder = ram.HoldLimiter(l, inPlace{l})
	return l
}

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	if len(c.Limits) != 1 || c.Limits[0].Calendar != "" {
		return allow(c, l.open, l.quotas)
	}
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	item, at := charge.ItemOf(c.Limits[0], time.Time{}), l.steady.Now()
	b := l.steady.Lock(c.Bucket, item.Term, item.Term.Window, at)
	return item.Result(take(b, item.Terms, item.Term.Window, at, int64(c.Cost), c.Forced)), nil
}

// open locks the buckets of limits that refill steadily. If a later caller locked a bucket
// first, this caller counts with the later time.
func (l *Limiter) open(payer string, items []charge.Item) []account {
	at := l.steady.Now()
	accounts := make([]account, len(items))
	for i, b := range lockAll(l.steady, payer, items, longestWindow(items), at) {
		accounts[i] = &steadyAccount{b, items[i].Terms, max(at, b.State.AsOf)}
	}
	return accounts
}

// inPlace is the view of a Limiter that a Guard uses.
type inPlace struct{ *Limiter }

// TakeIn implements [ram.Limiter].
func (l inPlace) TakeIn(slot *ram.Slot[gcra.Bucket], payer string, limit ram.Limit, n, elapsed int64) gcra.Result {
	at := l.steady.At(elapsed)
	b := l.steady.LockIn(slot, payer, limit.Term, limit.Term.Window, at)
	return take(b, limit.Terms, limit.Term.Window, at, n, false)
}

// take takes n from a locked bucket, and unlocks it.
func take(b *ram.Bucket[gcra.Bucket], terms gcra.Terms, window, at, n int64, forced bool) gcra.Result {
	defer b.Unlock()
	r := b.State.Take(terms, max(at, b.State.AsOf), n, forced)
	if r.ResetAfter > window { // after a forced charge
		b.Keep(r.ResetAfter)
	}
	return r
}

// steadyAccount is a locked bucket under GCRA.
type steadyAccount struct {
	*ram.Bucket[gcra.Bucket]
	terms gcra.Terms
	now   int64
}

func (a *steadyAccount) owed() int64 { return a.State.Owed(a.terms, a.now) }

func (a *steadyAccount) hasRoom(n int64) bool { return a.terms.HasRoom(a.owed(), n) }

func (a *steadyAccount) charge(n int64) { a.State.Charge(a.terms, a.now, a.owed(), n) }

func (a *steadyAccount) result(allowed bool, n int64) gcra.Result {
	r := a.terms.Result(allowed, a.owed(), n)
	a.Keep(r.ResetAfter) // a forced charge makes it longer than the window
	return r
}
