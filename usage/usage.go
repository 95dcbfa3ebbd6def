// Package usage counts what each token is used for, by the hour and by the day: what passed, what
// was throttled, what was refused and why, and what it cost.
//
//	recorder := usage.NewRecorder(sqlstore.NewUsage(db, sqlstore.PostgreSQL), nil)
//	guard := httpkey.New(store, limiter, &httpkey.Options{Observers: []httpkey.Observer{recorder}})
//	…
//	month, err := recorder.Total(ctx, token.ID, start, end) // for an invoice
//
// A [Recorder] counts in memory and writes to a [Store] every ten seconds, so that no request
// waits for a write. The Store adds, so that any number of processes count together. Stores are in
// redisstore, in sqlstore, and in memory: [NewMemory].
//
// Only requests of known tokens count. A request without a key, or with an unknown one, belongs to
// no token. A successor of a rotated token has counts of its own, under its own ID.
package usage

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"time"

	"github.com/httpkey/httpkey"
)

// Counts are what was counted in some time. The zero Counts are nothing. Copies share Reasons:
// treat it as read-only.
type Counts struct {
	// Passed is the number of requests that passed, free ones included. A request that a Require
	// function or a LimitBy refuses after its Guard is not among them.
	Passed int64 `json:"passed"`
	// Throttled is the number of requests over a limit, which got 429.
	Throttled int64 `json:"throttled"`
	// Refused is the number of the other refused requests, and the sum of Reasons.
	Refused int64 `json:"refused"`
	// DryRun is the number of requests that passed although a limit under DryRun had no room.
	DryRun int64 `json:"dry_run"`
	// Cost is what requests have taken from the limits, or would have where there is no limit. It
	// includes what [httpkey.Admission.Charge] took later or gave back, so it may be negative.
	Cost int64 `json:"cost"`
	// Reasons are the numbers of refused requests by reason; nil: none.
	Reasons map[httpkey.Reason]int64 `json:"reasons,omitempty"`
}

// Add adds other to c. It shares no memory with other.
func (c *Counts) Add(other Counts) {
	c.Passed += other.Passed
	c.Throttled += other.Throttled
	c.Refused += other.Refused
	c.DryRun += other.DryRun
	c.Cost += other.Cost
	if len(other.Reasons) == 0 {
		return
	}
	reasons := make(map[httpkey.Reason]int64, len(c.Reasons)+len(other.Reasons))
	maps.Copy(reasons, c.Reasons)
	for reason, n := range other.Reasons {
		if reasons[reason] += n; reasons[reason] == 0 {
			delete(reasons, reason)
		}
	}
	c.Reasons = reasons
}

// IsZero reports whether c counts nothing.
func (c *Counts) IsZero() bool {
	return c.Passed == 0 && c.Throttled == 0 && c.Refused == 0 && c.DryRun == 0 && c.Cost == 0 && len(c.Reasons) == 0
}

// Requests returns the number of requests in c.
func (c *Counts) Requests() int64 { return c.Passed + c.Throttled + c.Refused }

// Interval is an hour or a day of UTC, with its counts.
type Interval struct {
	Start time.Time `json:"start"` // its beginning, in UTC
	Counts
}

// Client is the last client that used a token. The zero Client is not known.
type Client struct {
	Addr      netip.Addr `json:"addr"`       // as [Options.ClientAddr] told it
	UserAgent string     `json:"user_agent"` // at most 256 bytes of printable text, as the client claims
	At        time.Time  `json:"at"`         // when it came
}

// Reader tells the usage of a token. A [Store] tells what all processes have written. A
// [Recorder] adds what its own process has not written yet. Readers are safe for concurrent use.
type Reader interface {
	// Of returns the intervals of a token that have counts, oldest first: those that begin before
	// to and end after from. The step is [Hour] or [Day]. Of returns an error that wraps
	// [ErrInvalidRange] for another step, and for more than 1,000 intervals. A token that is not
	// known has no intervals.
	Of(ctx context.Context, id string, from, to time.Time, step time.Duration) ([]Interval, error)
	// LastClient returns the last client that used a token: its request passed, or was throttled.
	// It returns the zero Client if none is known, or recorded.
	LastClient(ctx context.Context, id string) (Client, error)
}

// The steps of [Reader].Of.
const (
	Hour = time.Hour      // of the clock
	Day  = 24 * time.Hour // from 00:00 UTC on
)

// ErrInvalidRange is wrapped by the error of a [Reader] about a range that it cannot tell.
var ErrInvalidRange = errors.New("httpkey: invalid range of usage")
