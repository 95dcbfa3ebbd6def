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

// Limiter is an [httpkey.Limiter] in Redis that runs GCRA, the generic cell rate
// algorithm, on the server's clock. Make one with [NewLimiter]. It is safe for concurrent
// use.
//
// A charge that comes alone, under a single limit, goes through the script of redis_rate.
// Several limits, quotas, forced charges and charges that coincide go through a script of
// the Limiter, on the same keys and with the same arithmetic.
//
// The Limiter has at most two calls to a server in progress. Charges that come meanwhile go
// together in the next call, up to 128 of them. If more wait, payers take turns, and the newest
// charge of each comes first. If calls take longer than 10 ms, up to 16 are in progress, so
// that a lost connection stops no others. No charge waits for others to come.
//
// A shared call runs in a goroutine, which ends when no charge waits. It has a context of its
// own, and lasts until the latest deadline of its callers. A caller that leaves gets the error
// of its own context, and may have been charged. One failed call counts as one failure.
//
// A bucket is one key, which Redis removes when the bucket is full again. The keys of one
// payer share a hash tag, so a charge works on a single server, a Cluster and a Ring. A
// charge is one round trip, and the Limiter never repeats it.
//
// The scripts count in floating point. The moment of an admission is exact to a
// microsecond. While a bucket never fills up, it drifts by up to 0.03 microseconds more
// with each request: by a second in a year at a request a second. Remaining is exact,
// except that it may count a request up to a microsecond before it comes back. RetryAfter
// is up to two microseconds late. For limits that refill in more than 17 years, read ten
// microseconds for one.
//
// A quota counts exactly. Its day or month begins and ends by the clock of this process.
//
// The Limiter remembers a denial until a bucket may have more room, for a second at most. In
// that time it answers the same charge from memory, because Redis would deny it again. An
// admission, a forced charge, a refund or a reset of the payer by this Limiter ends the denial.
// A refund or a reset by another Limiter, and a deleted bucket, take effect within the second.
// The denials take some 5 MB, and more if the charges of a payer differ.
//
// With Options.Lease, a process takes permits ahead from a bucket in steady use. It spends
// them without a call to Redis, before they would have come back. So no period of time
// admits more than without a lease. If Redis has no room for the permits, the Limiter
// asks again for the request alone.
//
// A permit that a process does not spend is lost to other processes, and to its own
// requests for more than it holds. Charges under several limits, forced charges and
// refunds first give the permits back. A refund by another process can admit as much more
// as this process holds. Remaining and ResetAfter count the held permits as not taken, and
// ignore charges by other processes since the last call. Leases take some 3 MB more.
//
// An error of Redis means that there was no decision. A damaged bucket is an error that
// concerns that bucket alone: a Guard asks the fallback for it. A bucket that lies ahead of
// the server's clock by more than two windows counts as empty from now; that happens when
// the clock is set back.
type Limiter struct {
	prefix string
	taker  *taker
	denied *memo.Memo
	leases *leases // nil: Options.Lease is not set
}

// NewLimiter returns a Limiter in rdb. Charges share calls if rdb is a [redis.Client], a
// [redis.ClusterClient] or a [redis.Ring]. Any other type, such as an AutoPipeliner or a type
// that embeds a client, gets a call for each charge. Nil opts mean the defaults. NewLimiter
// does not call Redis. It panics if rdb is nil or opts are invalid.
func NewLimiter(rdb redis.Scripter, opts *Options) *Limiter {
	if rdb == nil {
		panic("httpkey: redisstore.NewLimiter: rdb is nil")
	}
	o := opts.withDefaults()
	return &Limiter{
		prefix: o.Prefix, taker: newTaker(rdb), denied: newMemo(o, false), leases: newLeases(o),
	}
}

// Fallback returns a new limiter in memory, with which each process counts by itself during
// an outage of Redis.
func (*Limiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return l.allow(ctx, c, time.Now())
}

// allow is Allow at a moment, which only quotas use.
func (l *Limiter) allow(ctx context.Context, c *httpkey.Charge, now time.Time) (httpkey.Result, error) {
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	items := charge.Items(c, now)
	switch {
	case isShut(c, items):
		return items[0].Result(gcra.Result{}), nil
	case isAlone(c, items) && !l.leases.areOfAnother(bucket{c.Bucket, items[0].Term}, items[0].Limit):
		return l.alone(ctx, c, items)
	}
	return l.denied.Allow(ctx, c, func() (httpkey.Result, error) { return l.together(ctx, c, items) })
}

// Reset implements [httpkey.Resetter]. It also drops the permits that this process holds of the
// buckets under Options.Lease. Other processes may still spend theirs.
func (l *Limiter) Reset(ctx context.Context, c *httpkey.Charge) error {
	items, err := charge.ToReset(c, time.Now())
	if err != nil {
		return err
	}
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = l.question(c.Bucket, item).key
	}
	return l.denied.Reset(c.Bucket, func() error {
		// Permits that were taken before the reset are no longer taken in Redis. They are dropped
		// after it, because a charge that came before it may be about to keep some.
		defer func() {
			for _, item := range items {
				if !item.IsQuota() {
					l.leases.giveUp(bucket{c.Bucket, item.Term}, item.Limit)
				}
			}
		}()
		return l.taker.reset(ctx, keys)
	})
}

// isShut reports whether c has a single limit, which admits nothing.
func isShut(c *httpkey.Charge, items []charge.Item) bool {
	return len(items) == 1 && items[0].Limit.Rate == 0 && !c.Forced
}

// isAlone reports whether c has a single limit, which refills, and can pass it.
func isAlone(c *httpkey.Charge, items []charge.Item) bool {
	return len(items) == 1 && !items[0].IsQuota() && !c.Forced && c.Cost <= items[0].Limit.Burst
}

// alone decides under a single limit, from memory or by Redis.
func (l *Limiter) alone(ctx context.Context, c *httpkey.Charge, items []charge.Item) (httpkey.Result, error) {
	b, limit := bucket{c.Bucket, items[0].Term}, items[0].Limit
	return l.leases.allow(b, limit, c.Cost, func(ahead int) (httpkey.Result, error) {
		more := httpkey.Charge{Bucket: c.Bucket, Limits: c.Limits, Cost: c.Cost + ahead}
		return l.denied.Allow(ctx, &more, func() (httpkey.Result, error) {
			return l.taker.decide(ctx, &more, []question{l.question(c.Bucket, items[0])})
		})
	})
}

// together takes from all buckets of c. It first gives back the permits that this process holds
// of the buckets, so that a charge finds them and a refund fills no bucket above full.
func (l *Limiter) together(ctx context.Context, c *httpkey.Charge, items []charge.Item) (httpkey.Result, error) {
	questions := make([]question, len(items))
	for i, item := range items {
		questions[i] = l.question(c.Bucket, item)
		if !item.IsQuota() {
			questions[i].held = l.leases.giveUp(bucket{c.Bucket, item.Term}, item.Limit)
		}
	}
	return l.taker.decide(ctx, c, questions)
}

// question asks about a payer's bucket under one limit.
func (l *Limiter) question(payer string, item charge.Item) question {
	key := bucketKey(l.prefix, payer, item)
	if item.IsQuota() {
		return newQuestion(key, quotaSort, item)
	}
	return newQuestion(ratePrefix+key, steadySort, item)
}
