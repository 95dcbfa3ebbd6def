// Package charge resolves an httpkey.Charge into the limits and buckets that a limiter needs.
package charge

import (
	"slices"
	"strconv"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/ram"
)

// Item is one limit of a charge.
type Item struct {
	Limit httpkey.Limit // resolved
	Term  ram.Term      // the name of its bucket, beside the payer
	Terms gcra.Terms    // the limit for the arithmetic
}

// Items returns the limits of c, which is valid. A quota counts in the day or month of now.
func Items(c *httpkey.Charge, now time.Time) []Item {
	items := make([]Item, len(c.Limits))
	for i, l := range c.Limits {
		items[i] = ItemOf(l, now)
	}
	return items
}

// ItemOf returns the Item of one limit, which is valid.
func ItemOf(l httpkey.Limit, now time.Time) Item {
	l = l.Resolve()
	item := Item{
		Limit: l,
		Term:  ram.Term{Name: l.Name, Window: l.Window().Microseconds()},
		Terms: gcra.Terms{Rate: int64(l.Rate), Burst: int64(l.Burst), Period: l.Period.Microseconds()},
	}
	if start, end := l.Calendar.Span(now); !end.IsZero() {
		item.Term.Start = start.Unix()
		// Left is rounded up, so that it is positive in the last microsecond of a day.
		item.Terms.Period, item.Terms.Left = 1, int64((end.Sub(now)+time.Microsecond-1)/time.Microsecond)
	}
	return item
}

// IsQuota reports whether the limit resets at the end of its day or month.
func (i Item) IsQuota() bool { return i.Terms.Left > 0 }

// Name returns the name of the bucket as text, without the payer. It has the Name of the limit
// and the window in microseconds, or the beginning of the day or month.
func (i Item) Name() string {
	switch {
	case !i.IsQuota():
		return i.Limit.Name + ":" + strconv.FormatInt(i.Term.Window, 10)
	case i.Limit.Calendar == "day":
		return i.Limit.Name + ":" + time.Unix(i.Term.Start, 0).UTC().Format(time.DateOnly)
	default:
		return i.Limit.Name + ":" + time.Unix(i.Term.Start, 0).UTC().Format("2006-01")
	}
}

// Result converts r, a decision by the item's terms.
func (i Item) Result(r gcra.Result) httpkey.Result {
	return httpkey.Result{
		Allowed:    r.Allowed,
		Limit:      i.Limit,
		Remaining:  int(r.Remaining),
		ResetAfter: time.Duration(r.ResetAfter) * time.Microsecond,
		RetryAfter: time.Duration(r.RetryAfter) * time.Microsecond,
	}
}

// ToReset returns the limits of a Reset, or the error of [httpkey.Charge.Validate] about them. A
// Reset ignores the cost of c.
func ToReset(c *httpkey.Charge, now time.Time) ([]Item, error) {
	free := httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits}
	if err := free.Validate(); err != nil {
		return nil, err
	}
	return Items(&free, now), nil
}

// Denied returns the denial of c by a limiter whose state is that of a decision, under which
// some limit has no room for c. An empty bucket can pay c. A strict window has no such state:
// it does not say when its earliest request expires.
func Denied(c *httpkey.Charge, state httpkey.Result) httpkey.Result {
	each := slices.Clone(state.Each)
	if len(each) == 0 {
		each = []httpkey.Result{state}
	}
	for i := range each {
		r := &each[i]
		l := r.Limit
		r.Allowed, r.RetryAfter = r.Remaining >= c.Cost, 0
		switch {
		case r.Allowed:
		case l.Calendar != "":
			r.RetryAfter = r.ResetAfter
		default:
			given := int64(l.Burst-c.Cost) * l.Period.Microseconds() / int64(l.Rate)
			r.RetryAfter = max(time.Microsecond, r.ResetAfter-time.Duration(given)*time.Microsecond)
		}
	}
	return c.Join(each)
}

// Strict returns c with Rate in place of Burst, as a strict window applies it. A negative Burst
// stays an error.
func Strict(c *httpkey.Charge) *httpkey.Charge {
	whole := *c
	whole.Limits = make([]httpkey.Limit, len(c.Limits))
	for i, l := range c.Limits {
		if l.Calendar == "" {
			l.Burst = min(l.Burst, 0)
		}
		whole.Limits[i] = l
	}
	return &whole
}

// CeilMicros returns d rounded up to a microsecond, and 0 for a negative d.
func CeilMicros(d time.Duration) time.Duration {
	if rest := d % time.Microsecond; rest > 0 {
		d += time.Microsecond - rest
	}
	return max(0, d)
}
