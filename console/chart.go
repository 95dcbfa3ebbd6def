package console

import (
	"maps"
	"slices"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// period is the time that a chart is about: the last n steps.
type period struct {
	name string
	step time.Duration
	n    int
}

var (
	hours = period{"hour", usage.Hour, 24}
	days  = period{"day", usage.Day, 30}
)

// first returns the beginning of the first step, if now is in the last one.
func (p period) first(now time.Time) time.Time {
	return now.UTC().Truncate(p.step).Add(-time.Duration(p.n-1) * p.step)
}

// chart is the requests of a token over time, as bars and as sums.
type chart struct {
	Step                       string // hour or day
	Width, Height              int    // of the drawing
	Bars                       []bar  // none: there were no requests
	Passed, Throttled, Refused int
	Reasons                    []reasonView // of the refused ones, the most frequent first
}

// bar is the requests of one outcome in one step: a rectangle.
type bar struct {
	Outcome             string // passed, throttled or refused
	X, Y, Width, Height int
}

// reasonView is why some requests were refused.
type reasonView struct {
	N      int
	Reason string
}

// The measures of a chart. The bars of a step stand on each other, so the highest may be that much
// higher than barHeight.
const (
	columnWidth = 10
	barWidth    = 8
	barHeight   = 100
	leastHeight = 3 // one request among thousands is still seen
)

// chart draws intervals of p up to now.
func (p period) chart(intervals []usage.Interval, now time.Time) chart {
	ch := chart{Step: p.name, Width: p.n * columnWidth, Height: barHeight + 2*leastHeight}
	var (
		most  int64
		total usage.Counts
	)
	for i := range intervals {
		total.Add(intervals[i].Counts)
		most = max(most, sum(outcomesOf(&intervals[i].Counts)))
	}
	ch.Passed, ch.Throttled, ch.Refused = countOf(total.Passed), countOf(total.Throttled), countOf(total.Refused)
	ch.Reasons = reasonsOf(total.Reasons)
	for _, interval := range intervals {
		column := int(interval.Start.Sub(p.first(now)) / p.step)
		if column < 0 || column >= p.n {
			continue // of a Reader that tells more than it was asked for
		}
		y := ch.Height
		for i, n := range outcomesOf(&interval.Counts) {
			if n == 0 {
				continue
			}
			height := max(leastHeight, int(float64(n)/float64(most)*barHeight))
			y -= height
			ch.Bars = append(ch.Bars, bar{outcomes[i], column * columnWidth, y, barWidth, height})
		}
	}
	return ch
}

// outcomes are the classes of the bars, from below.
var outcomes = [...]string{"passed", "throttled", "refused"}

// outcomesOf returns the numbers of requests of these outcomes. A correction that fell into the next
// hour may be negative, and is not drawn.
func outcomesOf(c *usage.Counts) [len(outcomes)]int64 {
	return [...]int64{max(0, c.Passed), max(0, c.Throttled), max(0, c.Refused)}
}

func sum(numbers [len(outcomes)]int64) (total int64) {
	for _, n := range numbers {
		total += n
	}
	return total
}

func countOf(n int64) int { return int(max(0, n)) }

func reasonsOf(reasons map[httpkey.Reason]int64) (all []reasonView) {
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		if n := countOf(reasons[reason]); n > 0 {
			all = append(all, reasonView{n, string(reason)})
		}
	}
	slices.SortStableFunc(all, func(a, b reasonView) int { return b.N - a.N })
	return all
}
