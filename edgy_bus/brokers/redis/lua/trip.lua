-- Open the breaker of a receiver, by the server's clock.
-- KEYS    tripped (hash: receiver to 'END SINCE STEP REASON': the end of the trip and the beginning
--         of the first trip after a success, in milliseconds)
-- ARGV    receiver, milliseconds, step, reason
-- Answer  nothing
-- Race    Several workers see the same outage and open the breaker at once: one of them counts.
local tripped = KEYS[1]
local receiver, ttl, step, reason = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since, stored = string.match(
  redis.call('HGET', tripped, receiver) or '', '^%d+ (%d+) (%d+) '
)
if stored and tonumber(stored) >= step then return {} end
-- A server that is full lets a script grow that has removed before.
redis.call('HDEL', tripped, receiver)
redis.call('HSET', tripped, receiver, string.format(
  '%d %d %d %s', now + ttl, tonumber(since) or now, step, reason
))
return {}
