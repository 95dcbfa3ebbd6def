package failover_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/budget"
	"github.com/httpkey/httpkey/internal/failover"
)

type limiterFunc func(context.Context) (string, error)

func (f limiterFunc) Allow(ctx context.Context, _ string) (string, error) { return f(ctx) }

var (
	errFinal = errors.New("invalid")
	errAlone = errors.New("damaged")
	errDown  = errors.New("connection refused")
)

// The error decides whether the breaker opens, and whether the fallback answers.
func TestErrors(t *testing.T) {
	t.Parallel()
	const timeout = 100 * time.Millisecond
	after := func(d time.Duration, err error) limiterFunc {
		return func(ctx context.Context) (string, error) {
			select {
			case <-time.After(d):
				return "limiter", err
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
	}
	for name, tt := range map[string]struct {
		limiter limiterFunc
		spent   time.Duration // of the budget, before
		answer  string        // empty: the limiter's error
		opens   bool
	}{
		"none":                          {after(0, nil), 0, "limiter", false},
		"down":                          {after(0, errDown), 0, "fallback", true},
		"down, and little was left":     {after(0, errDown), 90 * time.Millisecond, "fallback", true},
		"invalid":                       {after(0, errFinal), 0, "", false},
		"of one bucket":                 {after(0, errAlone), 0, "fallback", false},
		"not asked":                     {after(0, fmt.Errorf("wait: %w", failover.ErrNotAsked)), 0, "fallback", false},
		"late":                          {after(time.Hour, nil), 0, "fallback", true},
		"late, and half was left":       {after(time.Hour, nil), 50 * time.Millisecond, "fallback", true},
		"late, and less than half was":  {after(time.Hour, nil), 51 * time.Millisecond, "fallback", false},
		"late, and nothing was left":    {after(time.Hour, nil), 100 * time.Millisecond, "fallback", false},
		"in time, though much was gone": {after(5*time.Millisecond, nil), 90 * time.Millisecond, "limiter", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				opened := false
				f := failover.New[string, string](tt.limiter,
					limiterFunc(func(context.Context) (string, error) { return "fallback", nil }),
					failover.Options[string, string]{
						IsCharge: func(string, string) bool { return true },
						IsFinal:  func(err error) bool { return errors.Is(err, errFinal) },
						IsAlone:  func(err error) bool { return errors.Is(err, errAlone) },
						Timeout:  timeout,
						Report:   func(error) { opened = true },
					})
				for range 5 {
					b := budget.New(t.Context(), timeout)
					httpkeytest.Elapse(tt.spent)
					answer, err := f.Allow(b, "charge")
					if tt.answer == "" && !errors.Is(err, errFinal) || tt.answer != "" && (err != nil || answer != tt.answer) {
						t.Errorf("the answer is %q, %v, want %q", answer, err, tt.answer)
					}
					b.End()
				}
				if opened != tt.opens {
					t.Errorf("the breaker opened: %v, want %v", opened, tt.opens)
				}
				httpkeytest.Elapse(time.Hour)
			})
		})
	}
}
