package memstore

import (
	"context"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/ram"
)

// Window is an [httpkey.Limiter] in memory that is strict: it never admits more than Rate
// in any Period, wherever the Period begins. A [Limiter] can admit Burst and the first
// refills in one Period. A Window is a sliding log, in which a request counts for exactly
// one Period. Make one with [NewWindow].
//
// A Window ignores Limit.Burst; a Result has Rate in its place. If a limit changes, earlier
// admissions still count. Quotas behave as in a [Limiter]. Remaining is Rate minus the
// requests that count now. ResetAfter ends when the latest of them expires. RetryAfter ends
// when enough of the earliest have expired.
//
// A Window is safe for concurrent use, never waits and starts no goroutine. A bucket takes
// about 110 bytes, whatever the payer's name, and twice that while it is in constant use. It
// takes 16 to 32 more for each microsecond of the last Period with an admission. That is up to
// 2 KB for 60 a minute, and 2 to 3 MB for 100,000 an hour. A Window frees buckets as a
// [Limiter] does.
type Window struct {
	limiterHolder
	logs   logs
	quotas quotas
}

// NewWindow returns a Window in which every bucket is full.
func NewWindow() *Window {
	w := &Window{logs: logs{ram.NewBuckets[slidingLog]()}, quotas: newQuotas()}
	w.limiterHolder = ram.HoldLimiter(w, nil)
	return w
}

// Allow implements [httpkey.Limiter].
func (w *Window) Allow(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return allow(charge.Strict(c), w.logs, w.quotas)
}

// Reset implements [httpkey.Resetter].
func (w *Window) Reset(_ context.Context, c *httpkey.Charge) error {
	return reset(charge.Strict(c), w.logs, w.quotas)
}

// logs are the buckets of a Window.
type logs struct{ buckets *ram.Buckets[slidingLog] }

func (l logs) open(payer string, elapsed int64) (func(charge.Item) account, func()) {
	now := l.buckets.At(elapsed)
	locked := l.buckets.Lock(payer, now)
	return func(item charge.Item) account {
		return &logAccount{locked.Take(item.Term), item.Terms, now, item.Term.Window}
	}, locked.Unlock
}

// logAccount is a bucket of a strict window.
type logAccount struct {
	ram.Bucket[slidingLog]
	terms gcra.Terms
	now   int64
	life  int64
}

func (a *logAccount) hasRoom(n int64) bool { return a.State.hasRoom(a.terms, a.now, n) }

func (a *logAccount) charge(n int64) { a.State.charge(a.terms, a.now, n) }

func (a *logAccount) close(allowed bool, n int64) gcra.Result {
	r := a.State.result(a.terms, a.now, allowed, n)
	a.Keep(a.life)
	return r
}

func (a *logAccount) reset() { a.Drop() }

// slidingLog is a bucket of a Window: the admissions of the last Period.
type slidingLog struct {
	moments []moment // earliest first
	used    int64    // the sum of their n
}

// moment is a microsecond in which n requests were admitted.
type moment struct {
	at int64
	n  int64
}

func (l *slidingLog) hasRoom(t gcra.Terms, now, n int64) bool {
	l.forget(now, t.Period)
	return t.Rate > 0 && n <= max(0, t.Rate-l.used)
}

func (l *slidingLog) charge(t gcra.Terms, now, n int64) {
	now = l.forget(now, t.Period)
	switch {
	case t.Rate == 0: // such a limit keeps no debt
	case n < 0:
		l.giveBack(-n)
	default:
		l.add(now, min(n, max(0, 2*t.Rate-l.used)))
	}
}

func (l *slidingLog) result(t gcra.Terms, now int64, allowed bool, n int64) gcra.Result {
	now = l.forget(now, t.Period)
	r := gcra.Result{Allowed: allowed, Burst: t.Rate, Remaining: max(0, t.Rate-l.used)}
	if !allowed && n <= t.Rate && t.Rate > 0 {
		r.RetryAfter = l.leaving(l.used+n-t.Rate) + t.Period - now
	}
	if len(l.moments) > 0 && t.Rate > 0 {
		r.ResetAfter = l.moments[len(l.moments)-1].at + t.Period - now
	}
	return r
}

// giveBack removes the n latest requests.
func (l *slidingLog) giveBack(n int64) {
	for last := len(l.moments) - 1; last >= 0 && n > 0; last-- {
		m := &l.moments[last]
		some := min(n, m.n)
		m.n, l.used, n = m.n-some, l.used-some, n-some
		if m.n == 0 {
			l.moments = l.moments[:last]
		}
	}
}

// forget drops the moments that no longer count at now. It returns now, or the latest
// moment if that is later: callers may come a little out of order.
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

func (l *slidingLog) add(now, n int64) {
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

// leaving returns the latest moment of the n earliest requests.
func (l *slidingLog) leaving(n int64) int64 {
	i := 0
	for n -= l.moments[0].n; n > 0; n -= l.moments[i].n {
		i++
	}
	return l.moments[i].at
}
