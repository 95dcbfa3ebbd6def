// Package breaker is a circuit breaker (Nygard, Release It!) in which no caller waits for a
// probe.
package breaker

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// openAfter is the number of failures in a row that open a breaker. A single failure may
	// be a connection that the server had closed.
	openAfter = 3
	// probeInterval is the time between two probes of an open breaker.
	probeInterval = 500 * time.Millisecond
)

// Breaker is shut while the protected service works. An open Breaker has at most one
// goroutine, which a caller starts and which probes. The goroutine ends with the answer or
// at its deadline.
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

// New returns a shut Breaker. It calls report with the error that opens it, and with nil when
// a probe has shut it again. A probe may take timeout.
func New(probe func(context.Context) error, timeout time.Duration, report func(error)) *Breaker {
	return &Breaker{probe: probe, timeout: timeout, report: report, start: time.Now()}
}

// IsShut reports whether the breaker is shut. If it is open and a probe is due, IsShut starts
// one.
func (b *Breaker) IsShut() bool {
	if !b.isOpen.Load() {
		return true
	}
	if int64(time.Since(b.start)) >= b.probeAt.Load() && b.probing.CompareAndSwap(false, true) {
		go b.tryAgain()
	}
	return false
}

// Succeeded records that a call succeeded.
func (b *Breaker) Succeeded() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
}

// Failed records that a call failed.
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
	// The report comes first, because other callers may open a shut breaker again.
	b.report(nil)
	b.failures.Store(0)
	b.isOpen.Store(false)
}
