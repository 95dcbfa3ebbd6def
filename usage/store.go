package usage

import (
	"context"
	"fmt"
	"time"
)

// Store keeps the counts of all tokens for all processes. It is safe for concurrent use. The
// package storetest checks an implementation of your own: storetest.RunUsage.
type Store interface {
	Reader

	// Add adds deltas to the counts of their hours, and to those of the days of these hours. Adds
	// of any number of processes add up. Of the clients of a token, the Store keeps the latest.
	//
	// If Add fails, rest are the deltas that it did not add, as far as it knows. The caller adds
	// them again. So a delta counts twice if the answer to its first Add is lost. Add keeps
	// nothing of deltas, and changes none.
	//
	// Add also removes counts that are older than keep says, or makes them expire by themselves.
	// It may leave some for the next Add, so that it never takes long.
	Add(ctx context.Context, deltas []Delta, keep Keep) (rest []Delta, err error)
}

// Delta is what a process has counted for a token in an hour.
type Delta struct {
	ID     string    // of the token
	Hour   time.Time // its beginning, in UTC
	Counts           // may be negative, to correct earlier ones
	Client Client    // the last one; the zero Client: not recorded
}

// Keep says for how long a [Store] keeps counts, from the beginning of their interval on. A Store
// may keep hours for a day longer, and days for a month.
type Keep struct {
	Hours time.Duration // the counts of hours, and the clients
	Days  time.Duration // the counts of days
}

// mostIntervals bounds what a Reader returns.
const mostIntervals = 1000

// Starts returns the beginnings of the intervals that [Reader].Of is about, oldest first, with or
// without counts. It is for those who implement a [Store].
func Starts(from, to time.Time, step time.Duration) ([]time.Time, error) {
	if step != Hour && step != Day {
		return nil, fmt.Errorf("%w: the step is %v, it must be an hour or 24 hours", ErrInvalidRange, step)
	}
	if !from.Before(to) {
		return nil, nil
	}
	first := from.UTC().Truncate(step) // counts from the zero time, which is a midnight of UTC
	if to.Sub(first) > mostIntervals*step {
		return nil, fmt.Errorf("%w: from %v to %v are more than %d intervals", ErrInvalidRange, from, to, mostIntervals)
	}
	var starts []time.Time
	for start := first; start.Before(to); start = start.Add(step) {
		starts = append(starts, start)
	}
	return starts, nil
}
