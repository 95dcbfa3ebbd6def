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
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/redis/go-redis/v9"
)

// ratePrefix is what redis_rate puts before the name of a bucket.
const ratePrefix = "rate:"

// scripter is what redis_rate asks for: it deletes to reset a bucket, which the Limiter never does.
type scripter struct{ redis.Scripter }

func (scripter) Del(ctx context.Context, _ ...string) *redis.IntCmd { return redis.NewIntCmd(ctx) }

// ask decides by redis_rate. Where that cannot make sense of a bucket it has changed
// nothing, and takeScript decides.
func (l *Limiter) ask(ctx context.Context, payer string, item charge.Item, n int) (httpkey.Result, error) {
	reply, err := l.take(ctx, bucketKey(l.prefix, payer, item), item.Limit, n)
	switch {
	case err == nil && isPlausible(reply, item.Limit, n):
		return result(item.Limit, n, reply.Allowed == n, reply.ResetAfter, reply.RetryAfter), nil // so 0 is always let in
	case err == nil || isAnswer(err):
		c := httpkey.Charge{Bucket: payer, Limits: []httpkey.Limit{item.Limit}, Cost: n}
		return l.together(ctx, &c, []charge.Item{item})
	}
	return httpkey.Result{}, fmt.Errorf("httpkey: take from a bucket in Redis: %w", err)
}

// take runs the script of redis_rate, which panics at a reply of another shape than Redis's.
func (l *Limiter) take(
	ctx context.Context, name string, limit httpkey.Limit, n int,
) (reply *redis_rate.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			odd, ok := p.(runtime.Error)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("%w: %w", errOdd, odd)
		}
	}()
	terms := redis_rate.Limit{Rate: limit.Rate, Burst: limit.Burst, Period: limit.Period}
	return l.rate.AllowN(ctx, name, terms, n)
}

// isAnswer reports whether an error says that the server was reached and has decided nothing.
func isAnswer(err error) bool {
	var (
		server redis.Error
		number *strconv.NumError // it has computed with what is no number
	)
	return errors.As(err, &server) || errors.As(err, &number)
}

// isPlausible reports whether a reply of redis_rate tells of a bucket that owes two windows
// at most, and one at most after it let in. Not a number, and infinity, became something
// negative or far too long.
func isPlausible(reply *redis_rate.Result, limit httpkey.Limit, n int) bool {
	window := timeFor(limit, limit.Burst)
	within := func(wait, most time.Duration) bool { return wait >= 0 && wait <= most+10*time.Microsecond }
	switch reply.Allowed {
	case 0:
		return within(reply.ResetAfter, 2*window) && (n == 0 || within(reply.RetryAfter, 2*window))
	case n:
		owes := (timeFor(limit, n) - time.Microsecond) / 2 // at least
		return within(reply.ResetAfter, window) && reply.ResetAfter >= owes
	}
	return false
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// blur is more than the scripts' floating point is wrong by, until the year 2050.
const blur = 250 * time.Nanosecond

// result makes a Result of what a script said of time, which is right to within blur.
func result(limit httpkey.Limit, n int, allowed bool, reset, retry time.Duration) httpkey.Result {
	most := 2 * timeFor(limit, limit.Burst)
	reset = min(reset, most)
	r := httpkey.Result{
		Limit: limit, Allowed: allowed, Remaining: limit.Burst - owed(limit, reset), ResetAfter: ceilMicros(reset - blur),
	}
	if !allowed {
		r.Remaining = max(0, min(r.Remaining, n-1))
	}
	if !allowed && limit.Rate > 0 && n <= limit.Burst { // else it never passes
		r.RetryAfter = min(ceilMicros(retry+blur), most)
	}
	return r
}

// owed returns how many requests a bucket lacks that is full after reset, rounded up.
func owed(limit httpkey.Limit, reset time.Duration) int {
	if limit.Rate == 0 {
		return 0
	}
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

// timeFor returns how long limit takes to give n requests, rounded up to a microsecond. A
// limit that gives none takes no time.
func timeFor(limit httpkey.Limit, n int) time.Duration {
	debt, rate := int64(n)*limit.Period.Microseconds(), int64(limit.Rate)
	if rate == 0 {
		return 0
	}
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
