// Package breaker is a circuit breaker (Nygard, Release It!) that never makes a caller
// wait to find out.
package breaker

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// openAfter is how many failures without a success between them open a breaker:
	// one alone may be a connection that the other side had closed.
	openAfter = 3
	// probeInterval is how often an open one probes.
	probeInterval = 500 * time.Millisecond
)

// Breaker is shut while what it protects works. While it is open, there is at most one
// goroutine, which probes. A caller starts it, and it ends with the answer or its deadline.
type Breaker struct {
	probe   func(context.Context) error
	timeout time.Duration
	report  func(error)

	failures atomic.Int64 // since the last success
	isOpen   atomic.Bool
	probing  atomic.Bool
	probeAt  atomic.Int64 // since start
	start    time.Time
}

// New returns a shut Breaker. It tells report of the error that opens it, and of nil
// when a probe, which may take timeout, has shut it again.
func New(probe func(context.Context) error, timeout time.Duration, report func(error)) *Breaker {
	return &Breaker{probe: probe, timeout: timeout, report: report, start: time.Now()}
}

// IsShut reports whether the caller may go on. While it may not, it probes when it is time.
func (b *Breaker) IsShut() bool {
	if !b.isOpen.Load() {
		return true
	}
	if int64(time.Since(b.start)) >= b.probeAt.Load() && b.probing.CompareAndSwap(false, true) {
		go b.tryAgain()
	}
	return false
}

// Succeeded says that what is protected has worked.
func (b *Breaker) Succeeded() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
}

// Failed says that it has not.
func (b *Breaker) Failed(err error) {
	if b.failures.Add(1) < openAfter {
		return
	}
	b.probeLater()
	if b.isOpen.CompareAndSwap(false, true) {
		b.report(err)
	}
}

func (b *Breaker) probeLater() { b.probeAt.Store(int64(time.Since(b.start) + probeInterval)) }

func (b *Breaker) tryAgain() {
	defer b.probing.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	if err := b.probe(ctx); err != nil {
		b.probeLater()
		return
	}
	// The report comes first: once others see the breaker shut, they may open it again.
	b.report(nil)
	b.failures.Store(0)
	b.isOpen.Store(false)
}
