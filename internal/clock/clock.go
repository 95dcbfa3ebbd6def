// Package clock reads the time on the path of a request.
package clock

import (
	"sync/atomic"
	"time"
)

// Clock is time.Now for the path of a request. That one reads the wall clock and
// the monotonic one, which takes 55 ns; this one reads the monotonic one, in 30, and
// the wall clock anew when a millisecond has passed. If the wall clock is set,
// expiries and X-RateLimit-Reset follow a millisecond later.
type Clock struct {
	start  time.Time
	offset atomic.Int64 // of the wall clock from elapsed, in nanoseconds
	stale  atomic.Int64 // the elapsed at which offset is to be looked at anew
}

// Instant is a moment by both clocks.
type Instant struct {
	Monotonic time.Time // good for differences only
	UnixNano  int64     // by the wall clock
}

// New returns a Clock.
func New() *Clock { return &Clock{start: time.Now()} }

// Now returns the present.
func (c *Clock) Now() Instant {
	elapsed := time.Since(c.start)
	if int64(elapsed) >= c.stale.Load() {
		now := time.Now()
		elapsed = now.Sub(c.start)
		c.offset.Store(now.UnixNano() - int64(elapsed))
		c.stale.Store(int64(elapsed + time.Millisecond))
	}
	return Instant{c.start.Add(elapsed), int64(elapsed) + c.offset.Load()}
}

// UnixMicro returns the Unix time in microseconds.
func (i Instant) UnixMicro() int64 { return i.UnixNano / int64(time.Microsecond) }

// CeilUnix returns the Unix second in which d will have passed, rounded up.
func (i Instant) CeilUnix(d time.Duration) int64 {
	const second = int64(time.Second)
	seconds, rest := i.UnixNano/second+int64(d)/second, i.UnixNano%second+int64(d)%second
	return seconds + (rest+second-1)/second
}
