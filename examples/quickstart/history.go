package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// addHistory makes up what the samples were used for in the last 30 days. A real program
// keeps its counts in a database.
func addHistory(ctx context.Context, tokens httpkey.TokenStore, counts usage.Store, now time.Time) error {
	var deltas []usage.Delta
	for _, sample := range samples(now) {
		t, err := tokens.Get(ctx, sample.ID)
		if errors.Is(err, httpkey.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("the sample %s: %w", sample.ID, err)
		}
		for hour := now.Add(-30 * day).Truncate(time.Hour); hour.Before(now.Add(-time.Hour)); hour = hour.Add(time.Hour) {
			if hour.After(t.CreatedAt) && hour.Add(time.Hour).Before(t.LastUsed) {
				deltas = append(deltas, usage.Delta{ID: t.ID, Hour: hour, Counts: madeUp(t, hour)})
			}
		}
	}
	_, err := counts.Add(ctx, deltas, usage.Keep{Hours: 31 * day, Days: 400 * day})
	return err
}

// madeUp returns counts of an hour: many by day, few by night and at weekends, some over the limit at noon.
func madeUp(t httpkey.Token, hour time.Time) usage.Counts {
	noon := math.Sin(math.Pi * float64(hour.Hour()) / 24)
	c := usage.Counts{Passed: int64(4 + 90*noon*noon)}
	if t.Kind == httpkey.ServiceToken {
		c.Passed *= 4
	}
	if day := hour.Weekday(); day == time.Saturday || day == time.Sunday {
		c.Passed /= 3
	}
	if len(t.Limits) > 0 && noon > 0.9 {
		c.Throttled = c.Passed / 6
	}
	if len(t.Networks) > 0 && hour.Hour() == 22 {
		c.Refused = 5
		c.Reasons = map[httpkey.Reason]int64{httpkey.ReasonNetwork: c.Refused}
	}
	c.Cost = c.Passed
	return c
}
