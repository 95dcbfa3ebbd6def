package memstore

import (
	"context"
	"time"

	"github.com/httpkey/httpkey"
)

// Window is an [httpkey.Limiter] in memory that is strict: never more than Rate
// in any Period, wherever the Period begins, where [Limiter] lets Burst and the
// first refills through in one. It is a sliding log: a request counts for
// exactly one Period. Make one with [NewWindow].
//
// Limit.Burst plays no part; a Result has Rate in its place. Remaining is Rate less
// what counts now, ResetAfter ends when the latest request that was let in leaves, and
// RetryAfter when enough of the earliest have.
//
// It is safe for concurrent use, never waits and starts no goroutine. A bucket
// takes about 110 bytes beside its key, and 16 to 32 more for each microsecond in
// which requests were let in during the last Period: up to 2 KB for 60 a minute,
// and 2 to 3 MB for 100,000 an hour. It goes as a [Limiter]'s does.
type Window struct {
	buckets *buckets[slidingLog]
}

// NewWindow returns a Window in which every bucket is full.
func NewWindow() *Window { return &Window{newBuckets[slidingLog]()} }

// Allow implements [httpkey.Limiter].
func (w *Window) Allow(_ context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	limit, err := resolveWindow(limit, n)
	if err != nil {
		return httpkey.Result{}, err
	}
	now := w.buckets.now()
	b := w.buckets.lock(key, limit, now, nil)
	defer b.mu.Unlock()
	return b.state.take(limit, now, n), nil
}

// AllowSlot implements [httpkey.SlotLimiter].
func (w *Window) AllowSlot(slot *httpkey.Slot, key string, limit httpkey.Limit, n int, now time.Time) (httpkey.Result, error) {
	limit, err := resolveWindow(limit, n)
	if err != nil {
		return httpkey.Result{}, err
	}
	at := w.buckets.at(now)
	b := w.buckets.lockIn(slot, key, limit, at)
	defer b.mu.Unlock()
	return b.state.take(limit, at, n), nil
}

// Self implements [httpkey.SlotLimiter].
func (w *Window) Self() httpkey.Limiter { return w }

// resolveWindow puts Rate in the place of Burst. A negative Burst stays an error.
func resolveWindow(limit httpkey.Limit, n int) (httpkey.Limit, error) {
	limit.Burst = min(limit.Burst, 0)
	return limit.Resolve(n)
}

// slidingLog is a bucket as what was let in during the last Period.
type slidingLog struct {
	moments []moment // earliest first
	used    int      // the sum of their n
}

// moment is a microsecond in which n were let in.
type moment struct {
	at int64
	n  int
}

func (l *slidingLog) take(limit httpkey.Limit, now int64, n int) httpkey.Result {
	period := limit.Period.Microseconds()
	now = l.forget(now, period)
	result := httpkey.Result{Allowed: n <= limit.Rate-l.used, Limit: limit}
	if result.Allowed {
		l.add(now, n)
	} else {
		result.RetryAfter = micros(l.leaving(l.used+n-limit.Rate) + period - now)
	}
	result.Remaining = limit.Rate - l.used
	if len(l.moments) > 0 {
		result.ResetAfter = micros(l.moments[len(l.moments)-1].at + period - now)
	}
	return result
}

// forget drops what no longer counts at now and returns the time to go on
// with: callers may come a little out of order, but time does not run backwards.
func (l *slidingLog) forget(now, period int64) int64 {
	if last := len(l.moments) - 1; last >= 0 {
		now = max(now, l.moments[last].at)
	}
	gone := 0
	for gone < len(l.moments) && now-l.moments[gone].at >= period {
		l.used -= l.moments[gone].n
		gone++
	}
	l.moments = l.moments[gone:]
	if len(l.moments) == 0 {
		l.moments = nil // the array behind it may be large
	}
	return now
}

func (l *slidingLog) add(now int64, n int) {
	if n == 0 {
		return
	}
	l.used += n
	if last := len(l.moments) - 1; last >= 0 && l.moments[last].at == now {
		l.moments[last].n += n
		return
	}
	l.moments = append(l.moments, moment{now, n})
}

// leaving returns the moment with which n of the earliest will have left.
func (l *slidingLog) leaving(n int) int64 {
	i := 0
	for n -= l.moments[0].n; n > 0; n -= l.moments[i].n {
		i++
	}
	return l.moments[i].at
}
