// Package failover puts a limiter that stands in behind one that can fail.
package failover

import (
	"context"
	"errors"
	"time"

	"github.com/httpkey/httpkey/internal/breaker"
	"github.com/httpkey/httpkey/internal/budget"
)

// Limiter decides on a charge C with a result R.
type Limiter[C, R any] interface {
	// Allow returns the decision.
	Allow(ctx context.Context, charge C) (R, error)
}

// Options are what a Failover must know of charges and errors.
type Options[C, R any] struct {
	Probe    C                        // a charge of nobody, to try the limiter with
	IsCharge func(charge C, r R) bool // whether the decision has changed a bucket
	IsFinal  func(err error) bool     // whether the error would be that of any limiter
	IsAlone  func(err error) bool     // whether the error is about one bucket and no outage
	Timeout  time.Duration            // for a probe
	Report   func(err error)          // told of the error that begins an outage, and of nil when it ends
}

// Failover is a limiter and the one that stands in for it while it is down.
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
		if err != nil && options.IsFinal(err) { // it has answered
			return nil
		}
		return err
	}
	return &Failover[C, R]{limiter, fallback, options, breaker.New(probe, options.Timeout, options.Report)}
}

// Allow asks the limiter, and the fallback if that fails or is down. A charge is never
// repeated with the limiter.
func (f *Failover[C, R]) Allow(ctx context.Context, charge C) (R, error) {
	// A budget that is over says nothing of the limiter: the store took all the time.
	if !f.breaker.IsShut() || budget.IsOver(ctx) {
		return f.fallback.Allow(ctx, charge)
	}
	result, err := f.limiter.Allow(ctx, charge)
	switch {
	case err == nil:
		if f.options.IsCharge(charge, result) { // a denial may come from a memory, and a look from a replica
			f.breaker.Succeeded()
		}
		return result, nil
	case f.options.IsFinal(err):
		return result, err
	case ctx.Err() != nil && !budget.IsOver(ctx): // the caller has gone, or has a deadline of its own
		return result, err
	case !f.options.IsAlone(err):
		f.breaker.Failed(err)
	}
	result, fallbackErr := f.fallback.Allow(ctx, charge)
	if fallbackErr != nil {
		return result, errors.Join(err, fallbackErr)
	}
	return result, nil
}
