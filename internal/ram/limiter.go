package ram

import "github.com/httpkey/httpkey/internal/gcra"

// Limiter is a limiter that has its buckets in memory.
type Limiter interface {
	// TakeIn takes n from the bucket that a payer has under one limit, if it has so much.
	// It may remember the bucket in the slot. Elapsed is the time of package clock.
	TakeIn(slot *Slot[gcra.Bucket], payer string, l Limit, n, elapsed int64) gcra.Result
}

// Limit is a limit as a Limiter needs it.
type Limit struct {
	Term  Term       // names its bucket
	Terms gcra.Terms // how it is counted
}

// LimiterHolder lets a Guard find the limiter that embeds it.
type LimiterHolder struct {
	owner   any
	limiter Limiter
}

// HoldLimiter returns the LimiterHolder of a limiter, which owner is.
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
