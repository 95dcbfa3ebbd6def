package redisstore

import (
	"context"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/memo"
	"github.com/httpkey/httpkey/memstore"
	"github.com/redis/go-redis/v9"
)

// Window is an [httpkey.Limiter] in Redis that is strict: it never admits more than Rate in
// any Period, wherever the Period begins. A [Limiter] can admit Burst and the first refills
// in one Period. A Window is a sliding log on the server's clock, in whole microseconds, and
// decides as memstore's Window does. Make one with [NewWindow]. It is safe for concurrent use.
//
// A Window ignores Limit.Burst; a Result has Rate in its place. If a limit changes, earlier
// admissions still count. Remaining is Rate minus the requests that count now. ResetAfter
// ends when the latest of them expires. RetryAfter ends when enough of the earliest have
// expired. Quotas behave as in a [Limiter].
//
// A bucket is one key, a list that takes some 20 bytes for each microsecond of the last
// Period with an admission. Redis removes it after that Period. A charge is one round trip,
// which charges that coincide share as in a Limiter. The Window never repeats it.
//
// A Window remembers denials and returns errors as a [Limiter] does; Remaining of a
// remembered denial is the one at the denial. After the server's clock was set back by more
// than a Period, earlier admissions count as made now.
type Window struct {
	prefix string
	taker  *taker
	denied *memo.Memo
}

// NewWindow returns a Window in rdb, of any type that [NewLimiter] takes. Nil opts mean the
// defaults. NewWindow does not call Redis. It panics if rdb is nil or opts are
// invalid.
func NewWindow(rdb redis.Scripter, opts *Options) *Window {
	if rdb == nil {
		panic("httpkey: redisstore.NewWindow: rdb is nil")
	}
	o := opts.withDefaults()
	return &Window{prefix: o.Prefix + "window:", taker: newTaker(rdb), denied: newMemo(o, true)}
}

// Fallback returns a new limiter in memory, with which each process counts by itself during
// an outage of Redis.
func (*Window) Fallback() httpkey.Limiter { return memstore.NewWindow() }

// Allow implements [httpkey.Limiter].
func (w *Window) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return w.allow(ctx, c, time.Now())
}

// allow is Allow at a moment, which only quotas use.
func (w *Window) allow(ctx context.Context, c *httpkey.Charge, now time.Time) (httpkey.Result, error) {
	c = charge.Strict(c)
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	items := charge.Items(c, now)
	questions := make([]question, len(items))
	for i, item := range items {
		sort := logSort
		if item.IsQuota() {
			sort = quotaSort
		}
		questions[i] = newQuestion(bucketKey(w.prefix, c.Bucket, item), sort, item)
	}
	if isShut(c, items) {
		return items[0].Result(gcra.Result{}), nil
	}
	return w.denied.Allow(ctx, c, func() (httpkey.Result, error) { return w.taker.decide(ctx, c, questions) })
}

// Reset implements [httpkey.Resetter].
func (w *Window) Reset(ctx context.Context, c *httpkey.Charge) error {
	items, err := charge.ToReset(charge.Strict(c), time.Now())
	if err != nil {
		return err
	}
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = bucketKey(w.prefix, c.Bucket, item)
	}
	return w.denied.Reset(c.Bucket, func() error { return w.taker.reset(ctx, keys) })
}
