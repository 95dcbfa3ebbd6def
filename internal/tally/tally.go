// Package tally is the counts of usage as stores keep them: numbers by name.
package tally

import (
	"iter"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// The names. The cost is kept as what exceeds one for each request that passed, because that is
// nothing for most tokens. The number of refused requests is the sum of their reasons.
const (
	passed    = "passed"
	throttled = "throttled"
	dryRun    = "dry_run"
	extraCost = "extra_cost"
	refused   = "refused:" // and the reason
)

// Of returns the numbers of counts that are not zero.
func Of(c usage.Counts) iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for _, n := range [...]struct {
			name string
			n    int64
		}{{passed, c.Passed}, {throttled, c.Throttled}, {dryRun, c.DryRun}, {extraCost, c.Cost - c.Passed}} {
			if n.n != 0 && !yield(n.name, n.n) {
				return
			}
		}
		for reason, n := range c.Reasons {
			if n != 0 && !yield(refused+string(reason), n) {
				return
			}
		}
	}
}

// Add adds a number to c. A name of a later version adds nothing.
func Add(c *usage.Counts, name string, n int64) {
	reason, isRefused := strings.CutPrefix(name, refused)
	switch {
	case isRefused:
		c.Add(usage.Counts{Refused: n, Reasons: map[httpkey.Reason]int64{httpkey.Reason(reason): n}})
	case name == passed:
		c.Add(usage.Counts{Passed: n, Cost: n})
	case name == extraCost:
		c.Cost += n
	case name == throttled:
		c.Throttled += n
	case name == dryRun:
		c.DryRun += n
	}
}
