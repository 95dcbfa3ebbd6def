package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"strconv"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/redis/go-redis/v9"
)

// Limiter is an [httpkey.Limiter] in Redis that runs GCRA, the generic cell rate
// algorithm, by the script of redis_rate, on the server's clock. Make one with
// [NewLimiter]. It is safe for concurrent use and starts no goroutine.
//
// A bucket is one key, named after the key and the limit, so it is right on any
// server, Cluster or Ring; it goes when it is full again. A request is one
// round trip, and is never sent again by the Limiter itself.
//
// The script counts in floating point. So the moments at which it lets in are exact to
// a microsecond, and drift by up to 0.03 more with each request for as long as a bucket
// is never full: by a second in a year at a request a second. Remaining is exact but
// within a microsecond of the moment at which a request comes back, where it may be
// there already. RetryAfter is up to two microseconds late. For limits that take more
// than 17 years to refill, read ten microseconds for one.
//
// What a denied client asks again is answered from memory, without asking Redis,
// until its RetryAfter is over: a denial changes nothing, so Redis would say the
// same. Remaining is then what it was at the denial. That takes some 3 MB at most.
//
// With Options.Lease, a process takes permits ahead where a bucket is asked for often, and spends
// them without asking Redis, before they would have come back: Redis admits nothing more for it, so no stretch
// of time has more than without. If Redis has no room for that much, it is asked once more,
// for the request alone. What it does not spend is lost: to other processes, and to
// a request for more than it holds. Remaining and ResetAfter count what this process holds as not taken, and what
// others took since it last asked not at all. That takes some 3 MB more.
//
// What Redis cannot answer is an error, and so is a bucket that holds what no
// request can have put there. A bucket whose server had its clock set back by more than a
// second counts as that until its time is over.
type Limiter struct {
	prefix string
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
	return &Limiter{prefix: o.Prefix, rate: redis_rate.NewLimiter(scripter{rdb}), denied: newMemo(o, true), leases: newLeases(o)}
}

// scripter is what redis_rate asks for: it deletes to reset a bucket, which is never done here.
type scripter struct{ redis.Scripter }

func (scripter) Del(ctx context.Context, _ ...string) *redis.IntCmd { return redis.NewIntCmd(ctx) }

// Fallback implements [httpkey.FallbackLimiter]: in an outage of Redis, each process
// counts by itself.
func (*Limiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(ctx context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	limit, err := limit.Resolve(n)
	if err != nil {
		return httpkey.Result{}, err
	}
	b := bucket{key, limit}
	return l.leases.allow(b, n, func(ahead int) (httpkey.Result, error) {
		ask := func() (httpkey.Result, error) {
			reply, err := l.take(ctx, bucketName(l.prefix, key, limit), limit, n+ahead)
			if err != nil {
				return httpkey.Result{}, fmt.Errorf("httpkey: take from a bucket in Redis: %w", err)
			}
			return decide(reply, limit, n+ahead)
		}
		if ahead > 0 { // nobody asked for so much, so that a denial is not worth remembering
			return ask()
		}
		return l.denied.allow(b, n, ask)
	})
}

// bucketName ends in the limit: under another one, the same state would mean another debt.
func bucketName(prefix, key string, limit httpkey.Limit) string {
	return prefix + "{" + key + "}:" + strconv.Itoa(limit.Rate) + "/" + strconv.Itoa(limit.Burst) +
		"/" + strconv.FormatInt(limit.Period.Microseconds(), 10)
}

// take runs the script. redis_rate panics at a reply of another shape than Redis's.
func (l *Limiter) take(ctx context.Context, name string, limit httpkey.Limit, n int) (reply *redis_rate.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			odd, ok := p.(runtime.Error)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("an odd reply: %w", odd)
		}
	}()
	return l.rate.AllowN(ctx, name, redis_rate.Limit(limit), n)
}

var errDamaged = errors.New("httpkey: a damaged bucket in Redis, or a server whose clock was set back: the bucket can be deleted")

// blur is more than the script's floating point is wrong by, until the year 2050.
const blur = 250 * time.Nanosecond

// decide makes a Result of a reply. What that says of time is right to within blur,
// and the rest follows from it.
func decide(reply *redis_rate.Result, limit httpkey.Limit, n int) (httpkey.Result, error) {
	refill := timeFor(limit, limit.Burst)
	result := httpkey.Result{Limit: limit, Allowed: reply.Allowed == n} // so 0 is always let in
	switch {
	case reply.Allowed != 0 && reply.Allowed != n,
		!plausible(reply.ResetAfter, refill),
		result.Allowed && reply.ResetAfter < (timeFor(limit, n)-time.Microsecond)/2, // it owes n at least
		!result.Allowed && !plausible(reply.RetryAfter, refill):
		return httpkey.Result{}, errDamaged
	}
	reset := min(reply.ResetAfter, refill)
	result.ResetAfter = ceilMicros(reset - blur)
	result.Remaining = limit.Burst - owed(limit, reset)
	if !result.Allowed {
		result.Remaining = min(result.Remaining, n-1)
		result.RetryAfter = min(ceilMicros(reply.RetryAfter+blur), refill)
	}
	return result, nil
}

// plausible reports whether a bucket that takes refill to fill can need wait. Not a
// number, and infinity, became something negative or far too long.
func plausible(wait, refill time.Duration) bool {
	return wait >= 0 && wait-time.Second <= refill
}

// owed returns how many requests a bucket lacks that is full after reset, rounded up.
func owed(limit httpkey.Limit, reset time.Duration) int {
	slack := min(2*blur, limit.Period/time.Duration(limit.Rate)/2)
	n, more := slots(limit, max(0, reset-slack))
	if more {
		n++
	}
	return min(n, limit.Burst)
}

// slots returns how many requests limit gives in d, and whether there is some more of d.
func slots(limit httpkey.Limit, d time.Duration) (n int, more bool) {
	high, low := bits.Mul64(uint64(d), uint64(limit.Rate))
	whole, rest := bits.Div64(high, low, uint64(limit.Period))
	return int(whole), rest > 0
}

// timeFor returns how long limit takes to give n requests, rounded up to a microsecond.
func timeFor(limit httpkey.Limit, n int) time.Duration {
	debt, rate := int64(n)*limit.Period.Microseconds(), int64(limit.Rate)
	micros := debt / rate
	if debt%rate > 0 {
		micros++
	}
	return time.Duration(micros) * time.Microsecond
}

func ceilMicros(d time.Duration) time.Duration {
	if rest := d % time.Microsecond; rest > 0 {
		d += time.Microsecond - rest
	}
	return max(0, d)
}
