package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/redis/go-redis/v9"
)

// ratePrefix is the prefix that redis_rate puts before the name of a bucket.
const ratePrefix = "rate:"

// scripter adds the Del that redis_rate needs to reset a bucket. The Limiter never does that.
type scripter struct{ redis.Scripter }

func (scripter) Del(ctx context.Context, _ ...string) *redis.IntCmd { return redis.NewIntCmd(ctx) }

// askRate decides by redis_rate. It recovers from the panic of redis_rate at an odd reply.
func (t *taker) askRate(ctx context.Context, q *question, n int) (r reading, err error) {
	defer func() {
		if p := recover(); p != nil {
			odd, ok := p.(runtime.Error)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("%w: %w", errOdd, odd)
		}
	}()
	limit := q.item.Limit
	terms := redis_rate.Limit{Rate: limit.Rate, Burst: limit.Burst, Period: limit.Period}
	reply, err := t.rate.AllowN(ctx, strings.TrimPrefix(q.key, ratePrefix), terms, n)
	switch {
	case err != nil:
		return r, err
	case !isPlausible(reply, limit, n):
		return r, errImplausible
	}
	r = reading{reset: int64(reply.ResetAfter), retry: int64(max(0, reply.RetryAfter))}
	r.hasRoom = reply.Allowed == n // n = 0 always passes
	return r, nil
}

// errImplausible says that redis_rate has read a bucket that it cannot have written.
var errImplausible = errors.New("httpkey: an implausible reply of redis_rate")

// isAnswer reports whether redis_rate could not read a bucket, and so has changed nothing.
func isAnswer(err error) bool {
	var (
		server redis.Error
		number *strconv.NumError // the script has computed with a value that is no number
	)
	return errors.Is(err, errImplausible) || errors.As(err, &server) || errors.As(err, &number)
}

// isPlausible reports whether a bucket in a reply of redis_rate owes two windows at most, and
// one window at most after an admission. NaN and infinity have become a negative or far too
// long time.
func isPlausible(reply *redis_rate.Result, limit httpkey.Limit, n int) bool {
	window := timeFor(limit, limit.Burst)
	within := func(wait, most time.Duration) bool { return wait >= 0 && wait <= most+10*time.Microsecond }
	switch reply.Allowed {
	case 0:
		return within(reply.ResetAfter, 2*window) && (n == 0 || within(reply.RetryAfter, 2*window))
	case n:
		owes := (timeFor(limit, n) - time.Microsecond) / 2 // the least debt
		return within(reply.ResetAfter, window) && reply.ResetAfter >= owes
	}
	return false
}

// blur exceeds the error of the scripts' floating point until the year 2050.
const blur = 250 * time.Nanosecond

// result makes a Result from the times of a script, which are exact to within blur.
func result(limit httpkey.Limit, n int, allowed bool, reset, retry time.Duration) httpkey.Result {
	most := 2 * timeFor(limit, limit.Burst)
	reset = min(reset, most)
	r := httpkey.Result{
		Limit: limit, Allowed: allowed, Remaining: limit.Burst - owed(limit, reset),
		ResetAfter: charge.CeilMicros(reset - blur),
	}
	if !allowed {
		r.Remaining = max(0, min(r.Remaining, n-1))
	}
	if !allowed && limit.Rate > 0 && n <= limit.Burst { // otherwise n never passes
		r.RetryAfter = min(charge.CeilMicros(retry+blur), most)
	}
	return r
}

// owed returns the number of requests that a bucket regains by reset, rounded up.
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

// slots returns the number of requests that limit gives in d, and whether d has a rest.
func slots(limit httpkey.Limit, d time.Duration) (n int, more bool) {
	high, low := bits.Mul64(uint64(d), uint64(limit.Rate))
	whole, rest := bits.Div64(high, low, uint64(limit.Period))
	return int(whole), rest > 0
}

// timeFor returns the time in which limit gives n requests, rounded up to a microsecond. It
// is 0 for a Rate of 0.
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
