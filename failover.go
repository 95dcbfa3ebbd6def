package httpkey

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// downAfter is how many failures without a charge between them make a limiter be
	// down: one alone may be a connection that the other side had closed.
	downAfter = 3
	// probeInterval is how often one that is down is asked whether it is back.
	probeInterval = 500 * time.Millisecond
)

// probeLimit is that of the buckets that probes take from: odd enough to be no
// token's, and with room for the probes of any number of processes.
var probeLimit = PerSecond(1009)

// failover is a limiter and the one that stands in for it: a circuit breaker
// (Nygard, Release It!) that never makes a request wait to find out.
//
// Only a charge tells that the limiter is up: one that can be read and not written, a
// replica, say, shows buckets all the same, and a denial is often known without asking it.
//
// While the limiter is down, there is at most one goroutine, which asks it. It is
// started by a request and ends with the answer, or by its deadline.
type failover struct {
	limiter  Limiter
	fallback Limiter
	timeout  time.Duration
	report   func(Event)

	failures atomic.Int64 // since the last charge
	isDown   atomic.Bool
	probing  atomic.Bool
	probeAt  atomic.Int64 // since start
	start    time.Time
}

func newFailover(limiter, fallback Limiter, timeout time.Duration, report func(Event)) *failover {
	if fallback == nil {
		fallback = FailClosed
		if own, ok := limiter.(FallbackLimiter); ok {
			fallback = own.Fallback()
		}
	}
	return &failover{limiter: limiter, fallback: fallback, timeout: timeout, report: report, start: time.Now()}
}

// Allow implements [Limiter]. A charge is never repeated: if the limiter fails,
// the fallback is asked.
func (f *failover) Allow(ctx context.Context, key string, limit Limit, n int) (Result, error) {
	if f.isDown.Load() {
		f.probe(key)
		return f.fallback.Allow(ctx, key, limit, n)
	}
	if isOver(ctx) { // the store took all the time: that says nothing of the limiter
		return f.fallback.Allow(ctx, key, limit, n)
	}
	result, err := f.limiter.Allow(ctx, key, limit, n)
	switch {
	case err == nil:
		if n > 0 && result.Allowed && f.failures.Load() != 0 {
			f.failures.Store(0)
		}
		return result, nil
	case errors.Is(err, ErrInvalidLimit):
		return result, err
	case ctx.Err() != nil && !isOver(ctx): // the caller has gone, or has a deadline of its own
		return result, err
	}
	if f.failures.Add(1) >= downAfter {
		f.goDown(err)
	}
	result, fallbackErr := f.fallback.Allow(ctx, key, limit, n)
	if fallbackErr != nil {
		return Result{}, errors.Join(err, fallbackErr)
	}
	return result, nil
}

func isOver(ctx context.Context) bool {
	budget, ok := ctx.(*budget)
	return ok && budget.isOver()
}

func (f *failover) goDown(err error) {
	f.probeLater()
	if f.isDown.CompareAndSwap(false, true) {
		f.report(Event{Type: EventLimiterDown, Err: err})
	}
}

// goUp reports first: once others see it, they may go down again, and report that.
func (f *failover) goUp() {
	f.report(Event{Type: EventLimiterUp})
	f.failures.Store(0)
	f.isDown.Store(false)
}

func (f *failover) probeLater() { f.probeAt.Store(int64(time.Since(f.start) + probeInterval)) }

// probe asks in the background, when it is time, whether the limiter is back: by a
// charge, of a bucket beside the key's own, so that nobody pays for it.
func (f *failover) probe(key string) {
	if int64(time.Since(f.start)) < f.probeAt.Load() || !f.probing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer f.probing.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
		defer cancel()
		if _, err := f.limiter.Allow(ctx, key, probeLimit, 1); err != nil && !errors.Is(err, ErrInvalidLimit) {
			f.probeLater()
			return
		}
		f.goUp()
	}()
}
