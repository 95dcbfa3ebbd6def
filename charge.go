package httpkey

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey/internal/budget"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/name"
	"github.com/httpkey/httpkey/internal/ram"
)

// terms are the limits of a kind.
type terms struct {
	limits []Limit // not resolved: if Options.Charge changes a Rate, an open Burst follows it

	// If the buckets of the only limit can lie beside their tokens, beside decides.
	beside *ram.Binding[Token]
	first  Limit      // resolved
	rate   gcra.Terms // of first
}

// newTerms returns the terms of a kind. The buckets are those of a limiter in memory, or nil.
func (g *Guard) newTerms(limits []Limit, buckets *ram.Buckets[gcra.Bucket]) terms {
	t := terms{limits: limits}
	isOne := len(limits) == 1 && limits[0].Calendar == "" && limits[0].Rate > 0 && !g.isDry(limits[0])
	if buckets != nil && g.memory != nil && g.options.Charge == nil && isOne {
		t.first = limits[0].Resolve()
		t.rate = t.first.terms()
		t.beside = ram.Bind(g.memory.Table(), buckets, ram.Term{Name: t.first.Name, Window: t.rate.Window()})
	}
	return t
}

func (g *Guard) termsOf(v *view) *terms {
	if v.State&ram.Service != 0 {
		return &g.services
	}
	return &g.apiKeys
}

// charge takes the cost of a request from the buckets of its payer, under the token's own
// limits or those of its kind. It returns the payer and the cost.
func (g *Guard) charge(
	ctx context.Context, r *http.Request, d *decision, own []Limit, cost int,
) (result Result, payer string, paid int, err error) {
	c := charges.Get().(*pooledCharge)
	defer c.release()
	if err := c.fill(g, r, &d.token, own, cost); err != nil {
		return Result{}, "", 0, err
	}
	result, err = g.ask(ctx, &c.Charge)
	return result, c.Bucket, c.Cost, err
}

// Peek returns what the limiter would say now to a request of t, with a Cost of 0: Remaining is the
// cost that would pass. Peek takes from no limit and is no use of t. Without limits, the Result
// has the zero Limit. t must be as the store returned it, because its payer is in no exported
// field. Peek does not look whether the token is active.
//
// Peek waits for the limiter for [Options.Timeout] at most. While the limiter is down, the
// [Options.Fallback] answers, as it answers a request. The error wraps [ErrInvalidLimit] if the
// charge is invalid, or is the limiter's. [Options.Charge] is called with a nil request.
func (g *Guard) Peek(ctx context.Context, t Token) (Result, error) {
	b := budget.New(ctx, g.options.Timeout)
	defer b.End()
	result, _, _, err := g.charge(b, nil, &decision{token: viewOf(&t)}, t.Limits, 0)
	if err != nil {
		return Result{}, fmt.Errorf("httpkey: peek: %w", err)
	}
	return result, nil
}

// LimitsOf returns the limits under which a request of t would be charged, resolved: those of t or
// of its Kind, as [Options.Charge] changes them for a nil request. It returns none if no limit
// applies, and so always for the limiter [Unlimited]. A limit that is not enforced has DryRun. The
// error wraps [ErrInvalidLimit] if the charge is invalid.
func (g *Guard) LimitsOf(t Token) ([]Limit, error) {
	if g.limiter == Unlimited {
		return nil, nil
	}
	c := charges.Get().(*pooledCharge)
	defer c.release()
	v := viewOf(&t)
	if err := cmp.Or(c.fill(g, nil, &v, t.Limits, 0), c.Validate()); err != nil {
		return nil, fmt.Errorf("httpkey: limits: %w", err)
	}
	limits := make([]Limit, len(c.Limits))
	for i, l := range c.Limits {
		limits[i] = l.Resolve()
		limits[i].DryRun = g.isDry(l)
	}
	return limits, nil
}

// fill makes c the charge of a request, as [Options.Charge] edits it.
func (c *pooledCharge) fill(g *Guard, r *http.Request, v *view, own []Limit, cost int) error {
	limits := own
	if len(own) == 0 {
		limits = g.termsOf(v).limits
	}
	payer := payerOf(v)
	c.Charge = Charge{Bucket: payer, Limits: append(c.limits[:0], limits...), Cost: cost}
	if g.options.Charge == nil {
		return nil
	}
	c.lend(g, v)
	id, user, workspace := c.token.ID, c.token.User, c.token.Workspace // before Charge can change them
	g.options.Charge(r, &c.token, &c.Charge)
	if c.Bucket != payer && !name.MayPay(c.Bucket, id, user, workspace) {
		return fmt.Errorf("%w: Bucket is %q, which names no payer of this token; "+
			"names of your own need another beginning", ErrInvalidLimit, c.Bucket)
	}
	if cost == 0 { // Admit only looks
		c.Cost = 0
	}
	return nil
}

// take takes from the bucket beside a token, and notes the use.
func (t *terms) take(v *view, cost int, at clock.Instant) Result {
	r := t.beside.Take(v, t.rate, int64(cost), at)
	return Result{
		Allowed:    r.Allowed,
		Limit:      t.first,
		Remaining:  int(r.Remaining),
		ResetAfter: time.Duration(r.ResetAfter) * time.Microsecond,
		RetryAfter: time.Duration(r.RetryAfter) * time.Microsecond,
	}
}

// ask validates a charge, since a store or Options.Charge may have made it invalid, and
// calls the limiter.
func (g *Guard) ask(ctx context.Context, c *Charge) (Result, error) {
	if len(c.Limits) == 0 {
		return Result{Allowed: true}, nil
	}
	if err := c.Validate(); err != nil || c.Forced {
		return Result{}, cmp.Or(err, errForced)
	}
	if slices.ContainsFunc(c.Limits, g.isDry) {
		return g.askDry(ctx, c)
	}
	return g.limiter.Allow(ctx, c)
}

func (g *Guard) isDry(l Limit) bool { return l.DryRun || g.options.DryRun && l.Rate > 0 }

// askDry calls the limiter for the limits that are enforced, and then for those that are not. The
// latter only appear in Each, and in the other fields if there are no limits to enforce.
func (g *Guard) askDry(ctx context.Context, c *Charge) (Result, error) {
	enforced, dry := *c, *c
	enforced.Limits, dry.Limits = nil, nil
	for _, l := range c.Limits {
		if g.isDry(l) {
			l.DryRun = true
			dry.Limits = append(dry.Limits, l)
		} else {
			enforced.Limits = append(enforced.Limits, l)
		}
	}
	result := Result{Allowed: true}
	if len(enforced.Limits) > 0 {
		decided, err := g.limiter.Allow(ctx, &enforced)
		if err != nil || !decided.Allowed {
			return decided, err
		}
		result = decided
		result.Each = decided.each()
	}
	told, err := g.limiter.Allow(ctx, &dry)
	if err != nil { // the failover reports an outage
		return result, nil //nolint:nilerr // a limit that is not enforced refuses nothing
	}
	each := slices.Concat(result.Each, told.each())
	if len(enforced.Limits) == 0 {
		result = told
		result.Allowed, result.RetryAfter = true, 0
	}
	result.Each = each
	return result, nil
}

// each returns the results of the single limits.
func (r *Result) each() []Result {
	if len(r.Each) > 0 || r.Limit == (Limit{}) {
		return r.Each
	}
	return []Result{*r}
}

// dryRun reports whether a limit under DryRun is among those of r, and whether one has no room.
func (r *Result) dryRun() (isAny, denies bool) {
	for i := range r.Each {
		isAny = isAny || r.Each[i].Limit.DryRun
		denies = denies || r.Each[i].Limit.DryRun && !r.Each[i].Allowed
	}
	return isAny, denies
}

var errForced = fmt.Errorf("%w: Forced is for Admission.Charge, Options.Charge must not set it", ErrInvalidLimit)

// charges are reused, since a limiter's argument escapes to the heap.
var charges = sync.Pool{New: func() any { return new(pooledCharge) }}

type pooledCharge struct {
	Charge
	limits   [maxLimits]Limit
	token    Token
	metadata map[string]string
}

// lend makes c.token a copy of a token. Its Metadata is in a map that requests reuse, because a
// plan there is read at each request.
func (c *pooledCharge) lend(g *Guard, v *view) {
	if v.Full == nil || len(v.Full.Metadata) == 0 {
		c.token = g.copyOf(v)
		return
	}
	c.token = *v.Full
	c.token.Metadata = nil
	c.token = c.token.Clone()
	if c.metadata == nil {
		c.metadata = make(map[string]string)
	}
	maps.Copy(c.metadata, v.Full.Metadata)
	c.token.LastUsed, c.token.Metadata = ram.Time(v.LastUsed), c.metadata
}

func (c *pooledCharge) release() {
	c.token, c.Charge = Token{}, Charge{}
	clear(c.metadata)
	charges.Put(c)
}

func payerOf(v *view) string {
	if v.IsHeld() {
		return v.Text().Payer()
	}
	return v.Full.Payer()
}
