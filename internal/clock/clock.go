// Package clock reads the time on the path of a request.
package clock

import (
	"sync/atomic"
	"time"
)

// epoch is the zero of Elapsed. A bubble of testing/synctest has a clock of its own, on which
// epoch may lie in the future.
var epoch = time.Now()

// Elapsed returns a monotonic time in nanoseconds. Only differences of it have a meaning.
func Elapsed() int64 { return int64(time.Since(epoch)) }

// Clock is a faster time.Now for the path of a request. It reads only the monotonic clock,
// and the wall clock once a millisecond. If the wall clock is set, expiries and
// X-RateLimit-Reset follow a millisecond later. The zero Clock is ready for use. It is safe
// for concurrent use.
type Clock struct {
	offset atomic.Int64 // the wall clock minus Elapsed
	read   atomic.Int64 // the Elapsed at which offset was read; 0: never
}

// Instant is a moment by both clocks, in nanoseconds.
type Instant struct {
	Elapsed  int64 // monotonic
	UnixNano int64 // of the wall clock
}

// Now returns the present.
func (c *Clock) Now() Instant {
	elapsed := Elapsed()
	if read := c.read.Load(); read == 0 || elapsed-read >= int64(time.Millisecond) {
		now := time.Now()
		elapsed = int64(now.Sub(epoch))
		c.offset.Store(now.UnixNano() - elapsed)
		c.read.Store(elapsed)
	}
	return Instant{elapsed, elapsed + c.offset.Load()}
}

// UnixMicro returns the Unix time in microseconds.
func (i Instant) UnixMicro() int64 { return i.UnixNano / int64(time.Microsecond) }

// CeilUnix returns the Unix time after d in seconds, rounded up.
func (i Instant) CeilUnix(d time.Duration) int64 {
	const second = int64(time.Second)
	seconds, rest := i.UnixNano/second+int64(d)/second, i.UnixNano%second+int64(d)%second
	return seconds + (rest+second-1)/second
}
