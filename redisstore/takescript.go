package redisstore

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/redis/go-redis/v9"
)

// arguments returns the keys and the arguments of takeScript for orders. Like orders in a row
// share their arguments: a count, then those of the order, then five for each bucket.
func arguments(orders []*order) (keys []string, args []any) {
	keys, args = make([]string, 0, len(orders)), make([]any, 0, 9)
	for len(orders) > 0 {
		first, count := orders[0], 0
		for _, o := range orders {
			if !o.isLike(first) {
				break
			}
			for i := range o.questions {
				keys = append(keys, o.questions[i].key)
			}
			count++
		}
		args = append(args, count, first.forced, first.n, len(first.questions))
		for _, q := range first.questions {
			args = append(args, q.sort, q.held, q.item.Limit.Rate, q.item.Limit.Burst, q.span)
		}
		orders = orders[count:]
	}
	return keys, args
}

// isLike reports whether o differs from other in the names of buckets only.
func (o *order) isLike(other *order) bool {
	if o.forced != other.forced || o.n != other.n || len(o.questions) != len(other.questions) {
		return false
	}
	for i := range o.questions {
		a, b := &o.questions[i], &other.questions[i]
		if a.sort != b.sort || a.held != b.held || a.span != b.span ||
			a.item.Limit.Rate != b.item.Limit.Rate || a.item.Limit.Burst != b.item.Limit.Burst {
			return false
		}
	}
	return true
}

// damage is the error of takeScript about a damaged bucket.
const damage = "httpkey: a damaged bucket"

// read reads the answer of takeScript about one order: the time until its only bucket is full
// if the order has taken, or four numbers for each bucket, or the text of an error.
func (o *order) read(answer any) taken {
	switch answer := answer.(type) {
	case int64:
		if len(o.questions) == 1 && o.questions[0].sort == steadySort {
			return o.check([]reading{{hasRoom: true, reset: answer}})
		}
	case string:
		return taken{err: fmt.Errorf("%w: delete it in Redis: %w", gcra.ErrDamaged, errors.New(answer))}
	case []any:
		if len(answer) != 4*len(o.questions) {
			break
		}
		readings := make([]reading, len(o.questions))
		for i := range readings {
			var numbers [4]int64
			for j := range numbers {
				n, ok := answer[4*i+j].(int64)
				if !ok {
					return taken{err: errOdd}
				}
				numbers[j] = n
			}
			readings[i] = reading{numbers[0] > 0, numbers[1], numbers[2], numbers[3]}
		}
		return o.check(readings)
	}
	return taken{err: errOdd}
}

// check returns an error for readings that no bucket can have.
func (o *order) check(readings []reading) taken {
	for i, r := range readings {
		window := o.questions[i].window()
		if r.used < 0 || r.reset < 0 || r.retry < 0 || r.reset > window || r.retry > window {
			return taken{err: errOdd}
		}
	}
	return taken{readings: readings}
}

// window returns the longest time that a reading can have.
func (q *question) window() int64 {
	switch q.sort {
	case steadySort:
		window := timeFor(q.item.Limit, q.item.Limit.Burst)
		if window > math.MaxInt64/2-1e9 {
			return math.MaxInt64
		}
		return int64(2*window + 1e9)
	case quotaSort:
		return 0
	}
	return 2 * q.item.Limit.Period.Microseconds() // the server's clock may be behind by one Period
}

// namesSlots reports whether a server has refused a script because its keys are in different
// slots. Servers and proxies use different words.
func namesSlots(err error) bool {
	var refusal redis.Error
	return errors.As(err, &refusal) && strings.Contains(strings.ToLower(refusal.Error()), "slot")
}

// takeScript decides on many orders, one after the other. Each opens the buckets of a payer, and
// takes from all of them or from none. Opening a bucket may tidy it, which changes no decision.
// A damaged bucket is the answer to its order alone. Any other error comes before the first
// write, and ends the script.
//
// A steady bucket is the time at which it is full, in seconds since 2017. The script computes
// with it exactly as redis_rate does, because both serve the same buckets.
//
// A log is a list b0 t0 b1 t1 … b. At microsecond t[i] there was an admission, b[i] counts
// the requests that were admitted before, and b all. So the requests that count are a
// difference of two of these numbers. A charge is one push, expiry is one trim, and a binary
// search finds RetryAfter.
var takeScript = redis.NewScript(`
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

local function nanos(duration) return math.min(duration * 1000000000, 9223372036854774784) end

local function full_at(key)
	local full = redis.call('GET', key)
	return full and math.max(number(full, -most), seconds) or seconds
end

-- The time until a steady bucket is full, if it has room for n > 0.
local function take_steady(key, n, limit)
	local after = full_at(key) + limit.interval * n
	if seconds - (after - limit.window) < 0 then return nil end
	if after > seconds then redis.call('SET', key, after, 'EX', math.ceil(after - seconds)) end
	return nanos(after - seconds)
end

local open = {}

function open.steady(key, n, limit)
	local bucket = {room = false, used = 0, reset = 0, retry = 0, take = function() end}
	if limit.rate == 0 then return bucket end
	local interval, window = limit.interval, limit.window
	local full = full_at(key)
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
	if limit.held > 0 then keep(math.max(seconds, full - limit.held)) end
	local at = full + interval * n - window -- when n passes
	bucket.room = n <= 0 or n <= limit.burst and seconds - at >= 0
	bucket.reset = nanos(full - seconds)
	if n <= limit.burst and not bucket.room then bucket.retry = nanos(at - seconds) end
	function bucket.take()
		local after = full + interval * n
		if n > 0 then after = math.max(full, math.min(after, seconds + 2 * window)) end
		if n ~= 0 then keep(math.max(seconds, after)) end
		bucket.reset = nanos(full - seconds)
	end
	return bucket
end

function open.quota(key, n, limit)
	local rate = limit.rate
	local bucket = {used = number(redis.call('GET', key) or 0, 0), reset = 0, retry = 0}
	bucket.room = n < 0 or rate > 0 and (n == 0 or n <= rate - bucket.used)
	function bucket.take()
		if n == 0 or rate == 0 then return end
		local used = bucket.used + n
		if n > 0 then used = math.max(bucket.used, math.min(used, 2 * rate)) end
		bucket.used = math.max(0, used)
		if used > 0 then
			redis.call('SET', key, bucket.used, 'PX', limit.span)
		else
			redis.call('DEL', key)
		end
	end
	return bucket
end

function open.log(key, n, limit)
	local rate, period = limit.rate, limit.span
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

-- The order whose buckets begin at this key.
local function take(first, order)
	local n, limits = order.n, order.limits
	if order.usual then
		local reset = take_steady(KEYS[first], n, limits[1])
		if reset then return reset end
	end
	local buckets, enough = {}, true
	for i, limit in ipairs(limits) do
		buckets[i] = open[limit.sort](KEYS[first + i - 1], n, limit)
		enough = enough and buckets[i].room
	end
	local answer = {}
	for _, bucket in ipairs(buckets) do
		if order.forced or enough then bucket.take() end
		for _, value in ipairs({bucket.room and 1 or 0, bucket.used, bucket.reset, bucket.retry}) do
			answer[#answer + 1] = value
		end
	end
	return answer
end

local function argument(i) return tonumber(ARGV[i]) end

local reply, key, at = {}, 1, 1
while key <= #KEYS do
	local count, limits = argument(at), argument(at + 3)
	local order = {forced = ARGV[at + 1] == '1', n = argument(at + 2), limits = {}}
	at = at + 4
	for i = 1, limits do
		local limit = {sort = ARGV[at], held = argument(at + 1), rate = argument(at + 2), burst = argument(at + 3)}
		limit.span = argument(at + 4)
		limit.interval = limit.span / limit.rate
		limit.window = limit.interval * limit.burst
		order.limits[i] = limit
		at = at + 5
	end
	local only = order.limits[1]
	order.usual = limits == 1 and only.sort == 'steady' and only.held == 0 and only.rate > 0
		and order.n > 0 and not order.forced
	for _ = 1, count do
		local done, answer = pcall(take, key, order)
		if not done then
			local text = type(answer) == 'table' and answer.err or tostring(answer)
			if not (string.find(text, 'WRONGTYPE') or string.find(text, '` + damage + `')) then error(answer, 0) end
			answer = text
		end
		reply[#reply + 1] = answer
		key = key + limits
	end
end
return reply
`)
