package httpkey

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// A budget is a context with a deadline, also for those that are made from it.
func TestBudgetIsAContextWithTimeout(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(context.Context) error{
		"by itself": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"in a child": func(ctx context.Context) error {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			<-child.Done()
			return child.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// The timeout ends it, and only then is it over.
				b := newBudget(t.Context(), time.Second)
				if b.isOver() || b.Err() != nil {
					t.Error("it is over at once")
				}
				start := time.Now()
				if err := wait(b); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second || !b.isOver() {
					t.Errorf("after %v: %v, over: %v", time.Since(start), err, b.isOver())
				}
				b.end()

				// So does what the request ends by, and then it is not we who are over.
				parent, cancel := context.WithCancel(t.Context())
				b = newBudget(parent, time.Second)
				time.AfterFunc(time.Millisecond, cancel)
				if err := wait(b); !errors.Is(err, context.Canceled) || b.isOver() {
					t.Errorf("a canceled request: %v, over: %v", err, b.isOver())
				}
				b.end()
				parent, cancel = context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				b = newBudget(parent, time.Second)
				if deadline, ok := b.Deadline(); !ok || time.Until(deadline) != time.Millisecond {
					t.Errorf("the deadline is %v, %v", deadline, ok)
				}
				if err := wait(b); !errors.Is(err, context.DeadlineExceeded) || b.isOver() {
					t.Errorf("a request with a deadline: %v, over: %v", err, b.isOver())
				}
				elapse(2 * time.Second)
				if b.isOver() {
					t.Error("a request that ended first is taken for one that was waited for too long")
				}
				b.end()
			})
		})
	}
}

func TestBudgetHasTheValuesOfTheRequest(t *testing.T) {
	t.Parallel()
	type key struct{}
	b := newBudget(context.WithValue(t.Context(), key{}, "value"), time.Minute)
	defer b.end()
	for range 2 { // before and after somebody waits
		if b.Value(key{}) != "value" {
			t.Errorf("the value is %v", b.Value(key{}))
		}
		b.Done()
	}
}

// What waiting takes, it takes once, and gives back when the request ends.
func TestBudgetFreesItsTimer(t *testing.T) {
	t.Parallel()
	b := newBudget(t.Context(), time.Minute)
	first := b.wait()
	if b.wait() != first {
		t.Error("the second who waits sets another timer")
	}
	b.end()
	if !errors.Is(first.Err(), context.Canceled) {
		t.Errorf("the timer runs on: %v", first.Err())
	}
}

// A context that is made from a budget is canceled by it without a goroutine between.
func TestBudgetStartsNoGoroutine(t *testing.T) {
	// Not parallel: it counts goroutines.
	b := newBudget(t.Context(), time.Minute)
	before := runtime.NumGoroutine()
	for range 100 {
		_, cancel := context.WithCancel(b)
		defer cancel()
	}
	if after := runtime.NumGoroutine(); after > before+50 {
		t.Errorf("%d goroutines for 100 contexts", after-before)
	}
	b.end()
}

func BenchmarkBudget(b *testing.B) {
	b.Run("budget", func(b *testing.B) {
		b.ReportAllocs()
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		for b.Loop() {
			newBudget(ctx, time.Second).end()
		}
	})
	b.Run("WithTimeout", func(b *testing.B) {
		b.ReportAllocs()
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		for b.Loop() {
			_, cancel := context.WithTimeout(ctx, time.Second)
			cancel()
		}
	})
}
