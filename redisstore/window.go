package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/redis/go-redis/v9"
)

// Window is an [httpkey.Limiter] in Redis that is strict: never more than Rate in
// any Period, wherever the Period begins, where [Limiter] lets Burst and the first
// refills through in one. It is a sliding log on the server's clock, in whole
// microseconds, and decides as memstore's Window does. Make one with [NewWindow]. It is
// safe for concurrent use and starts no goroutine.
//
// Limit.Burst plays no part; a Result has Rate in its place. Remaining is Rate less
// what counts now, ResetAfter ends when the latest request that was let in leaves, and
// RetryAfter when enough of the earliest have.
//
// A bucket is one key, a list that takes some 20 bytes for each microsecond in which
// requests were let in during the last Period, and goes when that is over. A
// request is one round trip, and is never sent again by the Window itself. Denials
// are remembered and errors are as with a [Limiter], but that a request for another n
// than was denied before asks Redis.
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

// Fallback implements [httpkey.FallbackLimiter]: in an outage of Redis, each process
// counts by itself.
func (*Window) Fallback() httpkey.Limiter { return memstore.NewWindow() }

// Allow implements [httpkey.Limiter].
func (w *Window) Allow(ctx context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	limit.Burst = min(limit.Burst, 0) // Rate stands in for it; a negative one stays an error
	limit, err := limit.Resolve(n)
	if err != nil {
		return httpkey.Result{}, err
	}
	return w.denied.allow(bucket{key, limit}, n, func() (httpkey.Result, error) {
		period := limit.Period.Microseconds()
		reply, err := windowScript.Run(ctx, w.rdb, []string{bucketName(w.prefix, key, limit)},
			limit.Rate, period, n, period/1000+2).Int64Slice()
		if err != nil {
			return httpkey.Result{}, fmt.Errorf("httpkey: take from a bucket in Redis: %w", err)
		}
		return decideWindow(reply, limit, n)
	})
}

// decideWindow makes a Result of what windowScript returned: how many count now, the
// age of the latest (none: -1), and of the one that must leave for n to pass (-1: n was let in).
func decideWindow(reply []int64, limit httpkey.Limit, n int) (httpkey.Result, error) {
	period := limit.Period.Microseconds()
	if len(reply) != 3 {
		return httpkey.Result{}, errDamaged
	}
	used, latest, leaving := reply[0], reply[1], reply[2]
	for _, age := range []int64{latest, leaving} {
		if age < -1 || age >= period {
			return httpkey.Result{}, errDamaged
		}
	}
	result := httpkey.Result{Allowed: leaving == -1, Limit: limit, Remaining: limit.Rate - int(used)}
	if used < 0 || result.Remaining < 0 ||
		result.Allowed && n > 0 && (latest != 0 || used < int64(n)) ||
		!result.Allowed && result.Remaining >= n {
		return httpkey.Result{}, errDamaged
	}
	if latest != -1 {
		result.ResetAfter = time.Duration(period-latest) * time.Microsecond
	}
	if !result.Allowed {
		result.RetryAfter = time.Duration(period-leaving) * time.Microsecond
	}
	return result, nil
}

// The list is b0 t0 b1 t1 … b: at microsecond t[i] requests were let in, b[i] had been
// before, and b in all. So what counts is a difference of two of them, adding is one
// push, forgetting one cut, and what must leave is found by halving.
var windowScript = redis.NewScript(`
local key, rate, period, n, lifetime = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local length = redis.call('LLEN', key)
if length > 0 and (length < 3 or length % 2 == 0) then error('httpkey: a damaged bucket') end
local count = math.max(0, (length - 1) / 2)

local function at(i)
	local value = tonumber(redis.call('LINDEX', key, i))
	if not (value and value >= 0 and value < 9007199254740992) then error('httpkey: a damaged bucket') end
	return value
end
local function moment(i) return at(2 * i + 1) end

-- The first of the moments for which holds is true, count if there is none. It is
-- mostly one of the first.
local function first(holds)
	local low, step = 0, 1
	while low + step <= count and not holds(low + step - 1) do
		low, step = low + step, step * 2
	end
	local high = math.min(low + step - 1, count)
	while low < high do
		local middle = math.floor((low + high) / 2)
		if holds(middle) then high = middle else low = middle + 1 end
	end
	return low
end

if count > 0 then
	local last = moment(count - 1)
	if last - now > period then error('httpkey: a damaged bucket, or a clock that was set back') end
	now = math.max(now, last) -- time does not run backwards
	local gone = first(function(i) return now - moment(i) < period end)
	if gone == count then
		redis.call('DEL', key)
	elseif gone > 0 then
		redis.call('LTRIM', key, 2 * gone, -1)
	end
	count = count - gone
end

local used, total, latest, leaving = 0, 0, -1, -1
if count > 0 then
	total = at(-1)
	used, latest = total - at(0), now - moment(count - 1)
	if used < count or used > rate then error('httpkey: a damaged bucket') end
end
if n > rate - used then
	local most = total + n - rate -- of all, as many must have left
	leaving = now - moment(first(function(i) return at(2 * i + 2) >= most end))
elseif n > 0 then
	if latest == 0 then
		redis.call('LSET', key, -1, total + n)
	elseif count > 0 then
		redis.call('RPUSH', key, now, total + n)
	else
		redis.call('RPUSH', key, 0, now, n)
	end
	redis.call('PEXPIRE', key, lifetime)
	used, latest = used + n, 0
end
return {used, latest, leaving}
`)
