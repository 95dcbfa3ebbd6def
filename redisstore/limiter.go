package redisstore

import (
	"context"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/memstore"
	"github.com/redis/go-redis/v9"
)

// Limiter is an [httpkey.Limiter] in Redis that runs GCRA, the generic cell rate
// algorithm, on the server's clock. Make one with [NewLimiter]. It is safe for concurrent
// use and starts no goroutine.
//
// A limit that is asked alone goes through the script of redis_rate. Several limits,
// quotas and forced charges go through a script of the Limiter, on the same keys and with
// the same arithmetic.
//
// A bucket is one key, and goes when it is full again. The keys of one payer share a hash
// tag, so a charge is right on any server, Cluster or Ring. It is one round trip, and the
// Limiter never repeats it.
//
// The scripts count in floating point. So the moments at which they let in are exact to
// a microsecond, and drift by up to 0.03 more with each request for as long as a bucket
// is never full: by a second in a year at a request a second. Remaining is exact but
// within a microsecond of the moment at which a request comes back, where it may be
// there already. RetryAfter is up to two microseconds late. For limits that take more
// than 17 years to refill, read ten microseconds for one.
//
// A quota is counted exactly. Its day or month begins and ends by the clock of this process.
//
// The Limiter remembers the denials of a limit that is asked alone. It answers the
// same client from memory until RetryAfter is over: a denial changes nothing, so Redis
// would say the same. Remaining is then what it was at the denial. A forced charge and a
// refund of this process end that, and so does what it takes of the bucket otherwise. A
// refund of another process shows when RetryAfter is over. The memory takes some 3 MB at most.
//
// With Options.Lease, a process takes permits ahead where a bucket is in steady use. It
// spends them without asking Redis, before they would have come back. Redis admits
// nothing more for them, so no stretch of time has more than without. If Redis has no room
// for that much, it is asked once more, for the request alone. What a process does not
// spend is lost: to other processes, and to a request for more than it holds. Charges under
// several limits, forced charges and refunds give it back. A refund by another
// process can let in as much more as this one holds. Remaining and
// ResetAfter count what this process holds as not taken. They do not count what
// others took since it last asked. Leases take some 3 MB more.
//
// An error of Redis means that there was no decision. A bucket that holds garbage is an
// error, too, but concerns that bucket alone: a Guard asks the fallback for it. A bucket
// that lies ahead of the server's clock by more than two windows, because that was set
// back, is empty as of now.
type Limiter struct {
	prefix string
	rdb    redis.Scripter
	rate   *redis_rate.Limiter
	denied *memo   // nil: ask always
	leases *leases // nil: ask for each request
}

// NewLimiter returns a Limiter in rdb: any client of go-redis, or an AutoPipeliner, which sends
// the requests of concurrent callers together. Nil opts are the defaults. It does
// not call Redis. It panics if rdb is nil or opts are invalid.
func NewLimiter(rdb redis.Scripter, opts *Options) *Limiter {
	if rdb == nil {
		panic("httpkey: redisstore.NewLimiter: rdb is nil")
	}
	o := opts.withDefaults()
	return &Limiter{
		prefix: o.Prefix, rdb: rdb, rate: redis_rate.NewLimiter(scripter{rdb}),
		denied: newMemo(o, true), leases: newLeases(o),
	}
}

// Fallback returns a new limiter in memory, by which each process counts for itself in an
// outage of Redis.
func (*Limiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return l.allow(ctx, c, time.Now())
}

// allow is Allow at a moment, which only quotas look at.
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
	return l.denied.charge(c, items, func() (httpkey.Result, error) { return l.together(ctx, c, items) })
}

// isShut reports whether c is about one limit, which admits nothing at all.
func isShut(c *httpkey.Charge, items []charge.Item) bool {
	return len(items) == 1 && items[0].Limit.Rate == 0 && !c.Forced
}

// isAlone reports whether c is about one limit that refills, and may pass under it.
func isAlone(c *httpkey.Charge, items []charge.Item) bool {
	return len(items) == 1 && !items[0].IsQuota() && !c.Forced && c.Cost <= items[0].Limit.Burst
}

// alone decides under one limit from memory, or by redis_rate.
func (l *Limiter) alone(ctx context.Context, c *httpkey.Charge, items []charge.Item) (httpkey.Result, error) {
	b, limit := bucket{c.Bucket, items[0].Term}, items[0].Limit
	return l.leases.allow(b, limit, c.Cost, func(ahead int) (httpkey.Result, error) {
		ask := func() (httpkey.Result, error) { return l.ask(ctx, c.Bucket, items[0], c.Cost+ahead) }
		if ahead > 0 { // nobody asked for so much, so that a denial is not worth remembering
			return l.denied.charge(c, items, ask)
		}
		return l.denied.allow(b, limit, c.Cost, ask)
	})
}

// together decides by takeScript. All that this process holds of the buckets goes back
// before, so that a charge finds it, and a refund makes no more than full.
func (l *Limiter) together(ctx context.Context, c *httpkey.Charge, items []charge.Item) (httpkey.Result, error) {
	questions := make([]question, len(items))
	for i, item := range items {
		q := question{key: bucketKey(l.prefix, c.Bucket, item), sort: quotaSort, n: c.Cost, item: item}
		if !item.IsQuota() {
			q.key, q.sort = ratePrefix+q.key, steadySort
			q.held = l.leases.giveUp(bucket{c.Bucket, item.Term}, item.Limit)
		}
		questions[i] = q
	}
	return decide(ctx, l.rdb, c, questions)
}

// decide asks takeScript about c and makes its Result.
func decide(ctx context.Context, rdb redis.Scripter, c *httpkey.Charge, questions []question) (httpkey.Result, error) {
	if len(questions) == 0 {
		return c.Join(nil), nil
	}
	found, err := take(ctx, rdb, questions, c.Forced)
	if err != nil {
		return httpkey.Result{}, err
	}
	each := make([]httpkey.Result, len(questions))
	for i, q := range questions {
		each[i] = q.result(found[i], c.Forced || found[i].hasRoom)
	}
	return c.Join(each), nil
}
