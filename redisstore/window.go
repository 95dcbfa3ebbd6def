package redisstore

import (
	"context"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/memstore"
	"github.com/redis/go-redis/v9"
)

// Window is an [httpkey.Limiter] in Redis that is strict: never more than Rate in
// any Period, wherever the Period begins, where [Limiter] lets Burst and the first
// refills through in one. It is a sliding log on the server's clock, in whole
// microseconds, and decides as memstore's Window does. Make one with [NewWindow]. It is
// safe for concurrent use and starts no goroutine.
//
// Limit.Burst plays no part; a Result has Rate in its place. A limit that changes counts
// the requests that were let in, whatever the limit was then. Remaining is Rate less
// what counts now, ResetAfter ends when the latest request that was let in leaves, and
// RetryAfter when enough of the earliest have. Quotas are as with a [Limiter].
//
// A bucket is one key, a list that takes some 20 bytes for each microsecond in which
// requests were let in during the last Period, and goes when that is over. A
// charge is one round trip, and the Window never repeats it. Denials
// are remembered and errors are as with a [Limiter], but a request for another n
// than was denied before asks Redis. After the server's clock was set back by more than a
// Period, what was let in counts as let in now.
type Window struct {
	prefix string
	rdb    redis.Scripter
	denied *memo // nil: ask always
}

// NewWindow returns a Window in rdb: any client of go-redis, or an AutoPipeliner.
// Nil opts are the defaults. It does not call Redis. It panics if rdb is nil or opts
// are invalid.
func NewWindow(rdb redis.Scripter, opts *Options) *Window {
	if rdb == nil {
		panic("httpkey: redisstore.NewWindow: rdb is nil")
	}
	o := opts.withDefaults()
	return &Window{prefix: o.Prefix + "window:", rdb: rdb, denied: newMemo(o, false)}
}

// Fallback returns a new limiter in memory, by which each process counts for itself in an
// outage of Redis.
func (*Window) Fallback() httpkey.Limiter { return memstore.NewWindow() }

// Allow implements [httpkey.Limiter].
func (w *Window) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return w.allow(ctx, c, time.Now())
}

// allow is Allow at a moment, which only quotas look at.
func (w *Window) allow(ctx context.Context, c *httpkey.Charge, now time.Time) (httpkey.Result, error) {
	c = strict(c)
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	items := charge.Items(c, now)
	questions := make([]question, len(items))
	for i, item := range items {
		questions[i] = question{key: bucketKey(w.prefix, c.Bucket, item), sort: logSort, n: c.Cost, item: item}
		if item.IsQuota() {
			questions[i].sort = quotaSort
		}
	}
	ask := func() (httpkey.Result, error) { return decide(ctx, w.rdb, c, questions) }
	switch {
	case isShut(c, items):
		return items[0].Result(gcra.Result{}), nil
	case isAlone(c, items):
		return w.denied.allow(bucket{c.Bucket, items[0].Term}, items[0].Limit, c.Cost, ask)
	}
	return w.denied.charge(c, items, ask)
}

// strict returns c with Rate in the place of Burst; a negative Burst stays an error.
func strict(c *httpkey.Charge) *httpkey.Charge {
	whole := *c
	whole.Limits = make([]httpkey.Limit, len(c.Limits))
	for i, limit := range c.Limits {
		if limit.Calendar == "" {
			limit.Burst = min(limit.Burst, 0)
		}
		whole.Limits[i] = limit
	}
	return &whole
}
