// Package failover adds a fallback to a limiter that can fail.
package failover

import (
	"context"
	"errors"
	"time"

	"github.com/httpkey/httpkey/internal/breaker"
	"github.com/httpkey/httpkey/internal/budget"
)

// ErrNotAsked is wrapped by the error of a limiter that did not call its server. It is also wrapped
// if several callers shared a call that failed, and another one reports that. Such an error says
// nothing of an outage.
var ErrNotAsked = errors.New("the limiter's server was not asked")

// Limiter decides on a charge C with a result R.
type Limiter[C, R any] interface {
	// Allow returns the decision.
	Allow(ctx context.Context, charge C) (R, error)
}

// Options are what a Failover must know of charges and errors.
type Options[C, R any] struct {
	Probe    C                        // the charge of a probe
	IsCharge func(charge C, r R) bool // whether the decision has changed a bucket
	IsFinal  func(err error) bool     // whether every limiter would return the error
	IsAlone  func(err error) bool     // whether the error concerns one bucket and is no outage
	Timeout  time.Duration            // for a probe; a call that times out after less than half of it is no failure
	Report   func(err error)          // called with the error that begins an outage, and with nil when it ends
}

// Failover is a limiter with a fallback that decides while the limiter is down.
type Failover[C, R any] struct {
	limiter  Limiter[C, R]
	fallback Limiter[C, R]
	options  Options[C, R]
	breaker  *breaker.Breaker
}

// New returns a Failover of limiter to fallback.
func New[C, R any](limiter, fallback Limiter[C, R], options Options[C, R]) *Failover[C, R] {
	probe := func(ctx context.Context) error {
		_, err := limiter.Allow(ctx, options.Probe)
		if err != nil && options.IsFinal(err) { // the limiter has answered
			return nil
		}
		return err
	}
	return &Failover[C, R]{limiter, fallback, options, breaker.New(probe, options.Timeout, options.Report)}
}

// Allow calls the limiter, and then the fallback if the limiter fails or is down. It never
// repeats a charge on the limiter.
func (f *Failover[C, R]) Allow(ctx context.Context, charge C) (R, error) {
	if !f.breaker.IsShut() || budget.IsOver(ctx) {
		return f.fallback.Allow(ctx, charge)
	}
	asked := time.Now()
	result, err := f.limiter.Allow(ctx, charge)
	switch {
	case err == nil:
		if f.options.IsCharge(charge, result) { // a denial may come from memory, and a charge of 0 from a replica
			f.breaker.Succeeded()
		}
		return result, nil
	case f.options.IsFinal(err):
		return result, err
	case f.options.IsAlone(err), errors.Is(err, ErrNotAsked):
	case budget.IsOver(ctx) && time.Since(asked) < f.options.Timeout/2: // the store took the time
	default:
		f.breaker.Failed(err)
	}
	result, fallbackErr := f.fallback.Allow(ctx, charge)
	if fallbackErr != nil {
		return result, errors.Join(err, fallbackErr)
	}
	return result, nil
}
