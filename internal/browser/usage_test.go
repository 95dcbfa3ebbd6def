package browser

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/usage"
)

// counted is a Reader that has counted something for every token.
type counted struct{}

func (counted) Of(_ context.Context, _ string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
	var intervals []usage.Interval
	n := int64(step/time.Hour) * 1000
	for start := from.Truncate(step); start.Before(to); start = start.Add(step) {
		i := int64(len(intervals))
		intervals = append(intervals, usage.Interval{Start: start.UTC(), Counts: usage.Counts{
			Passed: n * (i*7%11 + 1), Throttled: n * (i % 3), Refused: n / 10, Cost: n * (i*7%11 + 1),
			Reasons: map[httpkey.Reason]int64{httpkey.ReasonInactive: n / 20, httpkey.ReasonExpired: n / 20},
		}})
	}
	return intervals, nil
}

func (counted) LastClient(context.Context, string) (usage.Client, error) {
	return usage.Client{
		Addr:      netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
		UserAgent: "Mozilla/5.0 " + strings.Repeat("agent", 40),
		At:        time.Now().Add(-time.Hour),
	}, nil
}

// quiet is a Reader that has counted nothing, and broken is one that does not answer.
type (
	quiet  struct{}
	broken struct{ counted }
)

func (quiet) Of(context.Context, string, time.Time, time.Time, time.Duration) ([]usage.Interval, error) {
	return nil, nil
}
func (quiet) LastClient(context.Context, string) (usage.Client, error) { return usage.Client{}, nil }

func (broken) Of(context.Context, string, time.Time, time.Time, time.Duration) ([]usage.Interval, error) {
	return nil, errors.New("down")
}

// withUsage shows the usage that a Reader tells.
func withUsage(r usage.Reader) func(*console.Options) {
	return func(o *console.Options) { o.Usage = r }
}

func usageStates() []state {
	return []state{
		{name: "usage", tokens: inEveryStatus(), change: withUsage(counted{}), show: at("active/"), reads: "Last 30 days"},
		{name: "usage-none", tokens: inEveryStatus(), change: withUsage(quiet{}), show: at("active/"), reads: "no requests"},
		{name: "usage-broken", tokens: inEveryStatus(), change: withUsage(broken{}), show: at("active/"),
			reads: "cannot be shown now"},
		{name: "usage-in-frame", tokens: inEveryStatus(), aside: sidebar, change: func(o *console.Options) {
			beside(o)
			o.Usage = counted{}
		}, show: at("active/"), reads: "Last 30 days"},
	}
}
