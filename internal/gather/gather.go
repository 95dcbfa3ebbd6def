// Package gather makes one call of the charges of a payer that coincide. In a database, separate
// charges would wait for each other's locks, and hold connections that other payers need.
package gather

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/failover"
)

// Ask charges a limiter.
type Ask func(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error)

// Gatherer has at most one call of each payer in progress. Charges that come meanwhile go
// together with the next call, which one of their callers makes. The zero Gatherer is ready
// for use.
type Gatherer struct {
	mu     sync.Mutex
	payers map[string]*payer // with a call in progress
}

type payer struct{ waiting []*caller } // the oldest first

// caller waits for the call of another one, or for its turn to make a call.
type caller struct {
	charge *httpkey.Charge
	lead   chan []*caller // gets the callers for which this one makes a call
	done   chan struct{}  // closed once the fields below are set

	result httpkey.Result
	err    error
}

// Allow charges c by ask, alone or together with others under the same limits.
//
// A forced charge, one of 0 and one that can never pass go alone. If ctx ends while c waits,
// the error wraps [failover.ErrNotAsked], and another caller may have charged c. If ask fails,
// one caller returns its error. The errors of the others wrap ErrNotAsked, because one failed
// call is one failure.
func (g *Gatherer) Allow(ctx context.Context, c *httpkey.Charge, ask Ask) (httpkey.Result, error) {
	if c.Forced || c.Cost == 0 || !canPass(c) {
		return ask(ctx, c)
	}
	me := g.enter(c)
	if me == nil {
		defer g.leave(c.Bucket)
		return ask(ctx, c)
	}
	select {
	case <-me.done:
		return me.result, me.err
	case together := <-me.lead:
		return g.answer(ctx, me, together, ask)
	case <-ctx.Done():
	}
	if g.quit(me) {
		return httpkey.Result{}, notAsked(ctx.Err())
	}
	select { // another caller has the charge
	case together := <-me.lead:
		return g.answer(ctx, me, together, ask)
	default:
		return httpkey.Result{}, notAsked(ctx.Err())
	}
}

// canPass reports whether an empty payer could pay c.
func canPass(c *httpkey.Charge) bool {
	return !slices.ContainsFunc(c.Limits, func(l httpkey.Limit) bool { return l.Rate == 0 || c.Cost > l.Resolve().Burst })
}

func notAsked(err error) error { return fmt.Errorf("%w: %w", failover.ErrNotAsked, err) }

// enter returns nil if c goes alone and now. Otherwise it returns the waiting caller.
func (g *Gatherer) enter(c *httpkey.Charge) *caller {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.payers[c.Bucket]
	if p == nil {
		if g.payers == nil {
			g.payers = make(map[string]*payer)
		}
		g.payers[c.Bucket] = &payer{}
		return nil
	}
	own := *c // the caller may leave and change c while another one has its charge
	own.Limits = slices.Clone(c.Limits)
	me := &caller{charge: &own, lead: make(chan []*caller, 1), done: make(chan struct{})}
	p.waiting = append(p.waiting, me)
	return me
}

// quit reports whether me still waits, and removes it then.
func (g *Gatherer) quit(me *caller) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.payers[me.charge.Bucket]
	if p == nil {
		return false
	}
	i := slices.Index(p.waiting, me)
	if i < 0 {
		return false
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return true
}

// leave ends a call. The newest of the next callers makes the next one, because it has the
// most time left.
func (g *Gatherer) leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.payers[name]
	if len(p.waiting) == 0 {
		delete(g.payers, name)
		return
	}
	limits, cost := p.waiting[0].charge.Limits, 0
	var together, others []*caller
	for _, c := range p.waiting {
		if slices.Equal(c.charge.Limits, limits) && c.charge.Cost <= math.MaxInt32-cost {
			cost += c.charge.Cost
			together = append(together, c)
		} else {
			others = append(others, c)
		}
	}
	p.waiting = others
	together[len(together)-1].lead <- together
}

var errPanicked = errors.New("the call ended in a panic")

// answer makes the calls for together, of which me is one, and returns the answer to me.
func (g *Gatherer) answer(ctx context.Context, me *caller, together []*caller, ask Ask) (httpkey.Result, error) {
	defer g.leave(me.charge.Bucket)
	open := together
	fail := func(err error) {
		for _, c := range open {
			if c != me {
				c.answer(httpkey.Result{}, notAsked(err))
			}
		}
	}
	defer func() { fail(errPanicked) }() // those that have no answer yet
	for len(open) > 0 {
		var err error
		if open, err = decide(ctx, open, ask); err != nil {
			fail(err)
			open = nil
			return httpkey.Result{}, err
		}
	}
	return me.result, me.err
}

func (c *caller) answer(r httpkey.Result, err error) {
	r.Each = slices.Clone(r.Each) // each caller may change its own
	c.result, c.err = r, err
	close(c.done)
}

// decide charges callers in one call, or as many as there is room for in a second one. It
// returns those that have no answer yet.
func decide(ctx context.Context, callers []*caller, ask Ask) (open []*caller, err error) {
	state, err := ask(ctx, sum(callers))
	if err != nil {
		return callers, err
	}
	if state.Allowed || len(callers) == 1 {
		answerAll(callers, state)
		return nil, nil
	}
	admitted, open := split(callers, room(state))
	if len(admitted) > 0 {
		if state, err = ask(ctx, sum(admitted)); err != nil {
			return callers, err
		}
		if state.Allowed {
			answerAll(admitted, state)
		} else { // other processes came first
			open = callers
		}
	}
	var again []*caller
	for _, c := range open {
		if c.charge.Cost <= room(state) {
			again = append(again, c)
		} else {
			c.answer(charge.Denied(c.charge, state), nil)
		}
	}
	return again, nil
}

func answerAll(callers []*caller, r httpkey.Result) {
	for _, c := range callers {
		c.answer(r, nil)
	}
}

// sum returns the charge of callers together.
func sum(callers []*caller) *httpkey.Charge {
	all := httpkey.Charge{Bucket: callers[0].charge.Bucket, Limits: callers[0].charge.Limits}
	for _, c := range callers {
		all.Cost += c.charge.Cost
	}
	return &all
}

// split returns the callers for which there is room, in their order, and the others.
func split(callers []*caller, room int) (fit, others []*caller) {
	for _, c := range callers {
		if c.charge.Cost <= room {
			room -= c.charge.Cost
			fit = append(fit, c)
		} else {
			others = append(others, c)
		}
	}
	return fit, others
}

// room returns the cost that all limits of r would admit.
func room(r httpkey.Result) int {
	least := r.Remaining
	for i := range r.Each {
		least = min(least, r.Each[i].Remaining)
	}
	return least
}
