package redisstore

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/redis/go-redis/v9"
)

// The sorts of buckets in takeScript.
const (
	steadySort = "steady" // in the form of redis_rate
	logSort    = "log"    // a strict window
	quotaSort  = "quota"  // a counter of a day or a month
)

// question asks takeScript about one bucket.
type question struct {
	key  string
	sort string
	n    int     // the cost to take
	held float64 // the seconds of held permits to give back first
	item charge.Item
}

// reading is the answer of takeScript about one bucket.
type reading struct {
	hasRoom bool
	used    float64 // the requests that count, in a log and a quota
	reset   float64 // until the bucket is full: in seconds if it is steady, in microseconds if it is a log
	retry   float64 // until n passes, in the same unit; 0 if it passes or never will
}

// spare is the time for which the counter of a quota outlives its day or month, for processes
// with slow clocks.
const spare = time.Hour

// take takes from all buckets if all have room or forced is set.
func take(ctx context.Context, rdb redis.Scripter, questions []question, forced bool) ([]reading, error) {
	keys, args := make([]string, len(questions)), make([]any, 1, 1+6*len(questions))
	if args[0] = 0; forced {
		args[0] = 1
	}
	for i, q := range questions {
		keys[i] = q.key
		args = append(args, q.sort, q.n, q.held, q.item.Limit.Rate, q.item.Limit.Burst, q.span())
	}
	reply, err := takeScript.Run(ctx, rdb, keys, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("httpkey: take from a bucket in Redis: %w", damaged(err))
	}
	return readings(reply, questions)
}

// span returns the time argument of takeScript: Period in seconds for a steady bucket, Period
// in microseconds for a log, and the lifetime of the key in milliseconds for a quota.
func (q question) span() any {
	switch q.sort {
	case steadySort:
		return q.item.Limit.Period.Seconds()
	case quotaSort:
		return q.item.Terms.Left/1000 + spare.Milliseconds()
	}
	return q.item.Limit.Period.Microseconds()
}

// damage is the error of takeScript about a damaged bucket.
const damage = "httpkey: a damaged bucket"

// damaged wraps [gcra.ErrDamaged] around the error of a script about one bucket.
func damaged(err error) error {
	if text := err.Error(); strings.Contains(text, damage) || strings.Contains(text, "WRONGTYPE") {
		return fmt.Errorf("%w: delete it in Redis: %w", gcra.ErrDamaged, err)
	}
	return err
}

// readings reads the reply of takeScript: four numbers for each bucket.
func readings(reply []string, questions []question) ([]reading, error) {
	if len(reply) != 4*len(questions) {
		return nil, errOdd
	}
	all := make([]reading, len(questions))
	for i, q := range questions {
		var numbers [4]float64
		for j := range numbers {
			n, err := strconv.ParseFloat(reply[4*i+j], 64)
			if err != nil || n < 0 || n > math.MaxInt64/2 || math.IsNaN(n) {
				return nil, errOdd
			}
			numbers[j] = n
		}
		all[i] = reading{numbers[0] > 0, numbers[1], numbers[2], numbers[3]}
		if window := q.window(); all[i].reset > window || all[i].retry > window {
			return nil, errOdd
		}
	}
	return all, nil
}

// window returns the longest time that a reading can have.
func (q question) window() float64 {
	switch q.sort {
	case steadySort:
		return 2*timeFor(q.item.Limit, q.item.Limit.Burst).Seconds() + 1
	case quotaSort:
		return 0
	}
	return 2 * float64(q.item.Limit.Period.Microseconds()) // the server's clock may be behind by one Period
}

// result converts r to the decision on one limit.
func (q question) result(r reading, allowed bool) httpkey.Result {
	switch q.sort {
	case steadySort:
		return result(q.item.Limit, q.n, allowed, seconds(r.reset), seconds(r.retry))
	case quotaSort:
		return q.item.Result(q.item.Terms.Result(allowed, int64(r.used), int64(q.n)))
	}
	log := gcra.Result{Allowed: allowed, Remaining: max(0, q.item.Terms.Rate-int64(r.used)), ResetAfter: int64(r.reset)}
	if !allowed {
		log.RetryAfter = int64(r.retry)
	}
	return q.item.Result(log)
}

// takeScript opens the buckets of a payer, and takes from all of them or from none. Opening a
// bucket may tidy it, which changes no decision.
//
// A steady bucket is the time at which it is full, in seconds since 2017. The script computes
// with it exactly as redis_rate does, because both serve the same buckets.
//
// A log is a list b0 t0 b1 t1 … b. At microsecond t[i] there was an admission, b[i] counts
// the requests that were admitted before, and b all. So the requests that count are a
// difference of two of these numbers. A charge is one push, expiry is one trim, and a binary
// search finds RetryAfter.
var takeScript = redis.NewScript(`
local forced = ARGV[1] == '1'
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local seconds = (time[1] - 1483228800) + (time[2] / 1000000)

-- Arithmetic is exact below this.
local most = 9007199254740992

local function number(value, least)
	value = tonumber(value)
	if not (value and value >= least and value < most) then error('` + damage + `') end
	return value
end

local open = {}

function open.steady(key, n, held, rate, burst, period)
	local bucket = {room = false, used = 0, reset = 0, retry = 0, take = function() end}
	if rate == 0 then return bucket end
	local interval = period / rate
	local window = interval * burst
	local full = redis.call('GET', key)
	full = full and number(full, -most) or seconds
	full = math.max(full, seconds)
	local function keep(at)
		if at == full then return end
		full = at
		if full > seconds then
			redis.call('SET', key, full, 'EX', math.ceil(full - seconds))
		else
			redis.call('DEL', key)
		end
	end
	if full - seconds > 2 * window + 0.00001 then keep(seconds + window) end
	if held > 0 then keep(math.max(seconds, full - held)) end
	local at = full + interval * n - window -- when n passes
	bucket.room = n <= 0 or n <= burst and seconds - at >= 0
	bucket.reset = full - seconds
	if n <= burst and not bucket.room then bucket.retry = at - seconds end
	function bucket.take()
		local after = full + interval * n
		if n > 0 then after = math.max(full, math.min(after, seconds + 2 * window)) end
		if n ~= 0 then keep(math.max(seconds, after)) end
		bucket.reset = full - seconds
	end
	return bucket
end

function open.quota(key, n, held, rate, burst, life)
	local bucket = {used = number(redis.call('GET', key) or 0, 0), reset = 0, retry = 0}
	bucket.room = n < 0 or rate > 0 and (n == 0 or n <= rate - bucket.used)
	function bucket.take()
		if n == 0 or rate == 0 then return end
		local used = bucket.used + n
		if n > 0 then used = math.max(bucket.used, math.min(used, 2 * rate)) end
		bucket.used = math.max(0, used)
		if used > 0 then
			redis.call('SET', key, bucket.used, 'PX', life)
		else
			redis.call('DEL', key)
		end
	end
	return bucket
end

function open.log(key, n, held, rate, burst, period)
	local length = redis.call('LLEN', key)
	if length > 0 and (length < 3 or length % 2 == 0) then error('` + damage + `') end
	local now, count = micros, math.max(0, (length - 1) / 2)
	local life = math.floor(period / 1000) + 2

	local function at(i) return number(redis.call('LINDEX', key, i), 0) end
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

	if count > 0 and moment(count - 1) - now > period then -- the clock was set back
		local used = at(-1) - at(0)
		redis.call('DEL', key)
		redis.call('RPUSH', key, 0, now, used)
		redis.call('PEXPIRE', key, life)
		count = 1
	elseif count > 0 then
		now = math.max(now, moment(count - 1)) -- time does not run backwards
		local gone = first(function(i) return now - moment(i) < period end)
		if gone == count then
			redis.call('DEL', key)
		elseif gone > 0 then
			redis.call('LTRIM', key, 2 * gone, -1)
		end
		count = count - gone
	end

	local total, last = 0, -1
	local bucket = {used = 0, reset = 0, retry = 0}
	if count > 0 then
		total, last = at(-1), moment(count - 1)
		bucket.used, bucket.reset = total - at(0), last + period - micros
		if bucket.used < count then error('` + damage + `') end
	end
	bucket.room = n < 0 or rate > 0 and (n == 0 or n <= rate - bucket.used)
	if not bucket.room and rate > 0 and n <= rate then
		local leave = total + n - rate -- of all, as many must have left
		bucket.retry = moment(first(function(i) return at(2 * i + 2) >= leave end)) + period - micros
	end

	local function add(n)
		if n <= 0 then return end
		if last == now then
			redis.call('LSET', key, -1, total + n)
		elseif count > 0 then
			redis.call('RPUSH', key, now, total + n)
		else
			redis.call('RPUSH', key, 0, now, n)
		end
		redis.call('PEXPIRE', key, life)
		bucket.used, bucket.reset = bucket.used + n, now + period - micros
	end
	local function give(n) -- back, of the latest
		if bucket.used <= n then
			redis.call('DEL', key)
			bucket.used, bucket.reset = 0, 0
			return
		end
		local left = total - n
		local i = first(function(i) return at(2 * i + 2) >= left end)
		redis.call('LTRIM', key, 0, 2 * i + 2)
		redis.call('LSET', key, -1, left)
		bucket.used, bucket.reset = bucket.used - n, moment(i) + period - micros
	end
	function bucket.take()
		if rate == 0 then return end
		if n < 0 then give(-n) else add(math.min(n, 2 * rate - bucket.used)) end
	end
	if rate == 0 then bucket.reset = 0 end
	return bucket
end

local buckets, enough = {}, true
for i, key in ipairs(KEYS) do
	local at, numbers = 6 * i - 4, {}
	for j = 1, 5 do numbers[j] = tonumber(ARGV[at + j]) end
	buckets[i] = open[ARGV[at]](key, unpack(numbers))
	enough = enough and buckets[i].room
end
local reply = {}
for _, bucket in ipairs(buckets) do
	if forced or enough then bucket.take() end
	for _, value in ipairs({bucket.room and 1 or 0, bucket.used, bucket.reset, bucket.retry}) do
		reply[#reply + 1] = string.format('%.17g', value)
	end
end
return reply
`)
