// Package budget bounds how long a request waits for its store and its limiter.
package budget

import (
	"context"
	"sync"
	"time"
)

// Budget is a context with a deadline of its own and the values of a request. It does not end
// with the request, because a canceled call costs a connection. A client could cancel as many
// calls as it likes.
//
// It sets its timer when a caller first asks for Done or Err. A request that a cache and a
// memo answer never waits, so it pays for no timer.
type Budget struct {
	request  context.Context
	deadline time.Time

	mu      sync.Mutex
	waiting context.Context // nil until a caller waits
	cancel  context.CancelFunc
}

// New returns a Budget that ends after timeout. Call End when nothing waits on it.
func New(request context.Context, timeout time.Duration) *Budget {
	b := new(Budget)
	b.Begin(request, timeout)
	return b
}

// Begin initializes b as New does, for a Budget that is a field of another object.
func (b *Budget) Begin(request context.Context, timeout time.Duration) {
	b.request, b.deadline = request, time.Now().Add(timeout)
}

// Renew lets b end after timeout from now. No caller may wait on b meanwhile.
func (b *Budget) Renew(timeout time.Duration) {
	b.End()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline, b.waiting, b.cancel = time.Now().Add(timeout), nil, nil
}

// End releases the timer. No caller may wait on b after it.
func (b *Budget) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel()
	}
}

// IsOver reports whether ctx is a Budget that has ended.
func IsOver(ctx context.Context) bool {
	b, ok := ctx.(*Budget)
	return ok && !time.Now().Before(b.deadline)
}

// wait returns the context that has the timer.
func (b *Budget) wait() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting, b.cancel = context.WithDeadline(context.WithoutCancel(b.request), b.deadline)
	}
	return b.waiting
}

// Deadline implements [context.Context].
func (b *Budget) Deadline() (time.Time, bool) { return b.deadline, true }

// Done implements [context.Context].
func (b *Budget) Done() <-chan struct{} { return b.wait().Done() }

// Err implements [context.Context].
func (b *Budget) Err() error { return b.wait().Err() }

// Value implements [context.Context]. A derived context finds the timer's context by it, and
// so needs no goroutine for its cancellation.
func (b *Budget) Value(key any) any {
	b.mu.Lock()
	waiting := b.waiting
	b.mu.Unlock()
	if waiting != nil {
		return waiting.Value(key)
	}
	return b.request.Value(key)
}
