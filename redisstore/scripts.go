package redisstore

import "github.com/redis/go-redis/v9"

// Redis executes each script as a whole, unless a key is of a wrong type. For that case the
// scripts write the record last and remove it first: without the record, the other keys of a
// token have no effect.

var createScript = redis.NewScript(`
local tokens, digests, used = KEYS[1], KEYS[2], KEYS[3]
local id, digest, record, last, place, channel = unpack(ARGV)
if redis.call('HEXISTS', tokens, id) == 1 then return 0 end
local holder = redis.call('HGET', digests, digest)
if holder and redis.call('HEXISTS', tokens, holder) == 1 then return 0 end
for i = 4, #KEYS do redis.call('ZADD', KEYS[i], 0, place) end
redis.call('HSET', used, id, last)
redis.call('HSET', digests, digest, id)
redis.call('HSET', tokens, id, record)
redis.call('PUBLISH', channel, digest)
return 1
`)

// Its reply is a record and a last use for each digest, and two nulls for one without a token.
var lookupScript = redis.NewScript(`
local tokens, used, digests = KEYS[1], KEYS[2], KEYS[3]
local reply = {}
for i, id in ipairs(redis.call('HMGET', digests, unpack(ARGV))) do
	reply[2 * i - 1] = id and redis.call('HGET', tokens, id)
	reply[2 * i] = id and redis.call('HGET', used, id)
end
return reply
`)

// The reads are scripts too, because every call must see the changes of earlier calls. A
// client that sends plain reads to replicas sends scripts to the master.
var getScript = redis.NewScript(`
return {redis.call('HGET', KEYS[1], ARGV[1]), redis.call('HGET', KEYS[2], ARGV[1])}
`)

var listScript = redis.NewScript(`
local places = redis.call('ZREVRANGEBYLEX', KEYS[1], ARGV[1], '-', 'LIMIT', 0, ARGV[2])
if #places == 0 then return {{}, {}, {}} end
local ids = {}
for i, place in ipairs(places) do ids[i] = string.sub(place, 19) end
return {places, redis.call('HMGET', KEYS[2], unpack(ids)), redis.call('HMGET', KEYS[3], unpack(ids))}
`)

var updateScript = redis.NewScript(`
local tokens = KEYS[1]
local id, digest, was, record, leaves, from, to, channel = unpack(ARGV)
if redis.call('HGET', tokens, id) ~= was then return 0 end
for i = 2, 1 + leaves do redis.call('ZREM', KEYS[i], from) end
for i = 2 + leaves, #KEYS do redis.call('ZADD', KEYS[i], 0, to) end
redis.call('HSET', tokens, id, record)
redis.call('PUBLISH', channel, digest)
return 1
`)

var deleteScript = redis.NewScript(`
local tokens, digests, used = KEYS[1], KEYS[2], KEYS[3]
local id, digest, was, place, channel = unpack(ARGV)
if redis.call('HGET', tokens, id) ~= was then return 0 end
redis.call('HDEL', tokens, id)
redis.call('HDEL', digests, digest)
redis.call('HDEL', used, id)
redis.call('PUBLISH', channel, digest)
for i = 4, #KEYS do redis.call('ZREM', KEYS[i], place) end
return 1
`)

// A token has a last use from its creation on. So the script need not look for the records,
// which are long, unless a last use is missing.
var touchScript = redis.NewScript(`
local tokens, used = KEYS[1], KEYS[2]
local ids, later = {}, {}
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
for i, last in ipairs(redis.call('HMGET', used, unpack(ids))) do
	local id, at = ids[i], ARGV[2 * i]
	if last and last < at or not last and redis.call('HEXISTS', tokens, id) == 1 then
		later[#later + 1] = id
		later[#later + 1] = at
	end
end
if #later > 0 then redis.call('HSET', used, unpack(later)) end
return 1
`)
