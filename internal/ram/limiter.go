package ram

import "github.com/httpkey/httpkey/internal/gcra"

// Limiter is a limiter that has its buckets in memory.
type Limiter interface {
	// TakeIn takes n from a payer's bucket under one limit if the bucket has room. It may
	// keep the bucket in the slot. Elapsed is the time of [clock.Elapsed].
	TakeIn(slot *Slot[gcra.Bucket], payer string, l Limit, n, elapsed int64) gcra.Result
}

// Limit is a limit in the form that a Limiter needs.
type Limit struct {
	Term  Term       // names the bucket
	Terms gcra.Terms // for the arithmetic
}

// LimiterHolder lets a Guard find the limiter that embeds it.
type LimiterHolder struct {
	owner   any
	limiter Limiter
}

// HoldLimiter returns the LimiterHolder of owner, a limiter.
func HoldLimiter(owner any, limiter Limiter) LimiterHolder { return LimiterHolder{owner, limiter} }

func (h LimiterHolder) heldLimiter() LimiterHolder { return h }

// LimiterOf returns the Limiter of a limiter, or nil if it has none. A type that embeds
// such a limiter has none: it may have an Allow of its own.
func LimiterOf(limiter any) Limiter {
	if h, ok := limiter.(interface{ heldLimiter() LimiterHolder }); ok && h.heldLimiter().owner == limiter {
		return h.heldLimiter().limiter
	}
	return nil
}
