// Package budget bounds how long a request waits for what it asks.
package budget

import (
	"context"
	"sync"
	"time"
)

// Budget is a context that ends when a request has waited for its store and its
// limiter as long as it may. It is a [context.WithTimeout] whose timer is set when
// somebody is about to wait. Where a cache and a memo answer, nobody is, and it
// takes 120 ns and an allocation instead of 580 and four.
type Budget struct {
	context.Context // the request's
	deadline        time.Time

	mu      sync.Mutex
	waiting context.Context // nil until somebody waits
	cancel  context.CancelFunc
}

// New returns a Budget of ctx that ends in timeout. Call End when nothing waits any more.
func New(ctx context.Context, timeout time.Duration) *Budget {
	b := new(Budget)
	b.Begin(ctx, timeout)
	return b
}

// Begin makes b, which is new, what New returns, for a Budget that is part of something else.
func (b *Budget) Begin(ctx context.Context, timeout time.Duration) {
	b.Context, b.deadline = ctx, time.Now().Add(timeout)
}

// End frees what waiting took. Nothing waits on b after it.
func (b *Budget) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel()
	}
}

// IsOver reports whether ctx is a Budget whose own deadline has passed, and nothing else
// has ended it.
func IsOver(ctx context.Context) bool {
	b, ok := ctx.(*Budget)
	return ok && b.Context.Err() == nil && !time.Now().Before(b.deadline)
}

// wait returns the context that has the timer.
func (b *Budget) wait() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting, b.cancel = context.WithDeadline(b.Context, b.deadline)
	}
	return b.waiting
}

// Deadline implements [context.Context].
func (b *Budget) Deadline() (time.Time, bool) {
	if deadline, ok := b.Context.Deadline(); ok && deadline.Before(b.deadline) {
		return deadline, true
	}
	return b.deadline, true
}

// Done implements [context.Context].
func (b *Budget) Done() <-chan struct{} { return b.wait().Done() }

// Err implements [context.Context].
func (b *Budget) Err() error { return b.wait().Err() }

// Value implements [context.Context]. It lets a context that is made from this one
// find the timer's, which it is then canceled by without a goroutine.
func (b *Budget) Value(key any) any {
	b.mu.Lock()
	waiting := b.waiting
	b.mu.Unlock()
	if waiting != nil {
		return waiting.Value(key)
	}
	return b.Context.Value(key)
}
