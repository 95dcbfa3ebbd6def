package budget_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/internal/budget"
)

// A budget is a context with a deadline, and so are contexts that are made from it.
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
				b := budget.New(t.Context(), time.Second)
				if budget.IsOver(b) || b.Err() != nil {
					t.Error("it is over at once")
				}
				start := time.Now()
				err := wait(b)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second || !budget.IsOver(b) {
					t.Errorf("after %v: %v, over: %v", time.Since(start), err, budget.IsOver(b))
				}
				b.End()

				// Neither the end of the request nor its deadline ends the budget.
				parent, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				cancel()
				b = budget.New(parent, time.Second)
				if cause := context.Cause(b); cause != nil || b.Err() != nil {
					t.Errorf("it ends with the request: %v, %v", cause, b.Err())
				}
				if deadline, ok := b.Deadline(); !ok || time.Until(deadline) != time.Second {
					t.Errorf("the deadline is %v, %v", deadline, ok)
				}
				start = time.Now()
				if err := wait(b); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
					t.Errorf("after the end of the request, %v: %v", time.Since(start), err)
				}
				b.End()
			})
		})
	}
}

func TestBudgetHasTheValuesOfTheRequest(t *testing.T) {
	t.Parallel()
	type key struct{}
	b := budget.New(context.WithValue(t.Context(), key{}, "value"), time.Minute)
	defer b.End()
	for range 2 { // before and after a wait
		if b.Value(key{}) != "value" {
			t.Errorf("the value is %v", b.Value(key{}))
		}
		b.Done()
	}
}

// A budget sets one timer, and gives it back when the request ends.
func TestBudgetFreesItsTimer(t *testing.T) {
	t.Parallel()
	b := budget.New(t.Context(), time.Minute)
	if first, second := b.Done(), b.Done(); first != second {
		t.Error("a second wait sets another timer")
	}
	b.End()
	if !errors.Is(b.Err(), context.Canceled) {
		t.Errorf("the timer runs on: %v", b.Err())
	}
}

// A context that is made from a budget is canceled by it without a goroutine between.
func TestBudgetStartsNoGoroutine(t *testing.T) {
	// Not parallel: it counts goroutines.
	b := budget.New(t.Context(), time.Minute)
	before := runtime.NumGoroutine()
	for range 100 {
		_, cancel := context.WithCancel(b)
		defer cancel()
	}
	if after := runtime.NumGoroutine(); after > before+50 {
		t.Errorf("%d goroutines for 100 contexts", after-before)
	}
	b.End()
}

func BenchmarkBudget(b *testing.B) {
	b.Run("budget", func(b *testing.B) {
		b.ReportAllocs()
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		for b.Loop() {
			budget.New(ctx, time.Second).End()
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
