-- Register a worker as alive, by the server's clock, and return the members of the group.
-- KEYS    seen (sorted set: worker, milliseconds until which the worker is alive), reports (hash)
-- ARGV    worker ('': only look), milliseconds (0: the worker leaves), report
-- Answer  alive: the live workers; reports: worker and its report, alternating. A report outlives
--         its worker by an hour.
-- Race    Workers with different clocks would disagree about who is alive, and assign partitions
--         differently. One clock decides, in the step that registers.
local seen, reports = unpack(KEYS)
local worker, ttl, report = unpack(ARGV)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if worker ~= '' then
  redis.call('ZADD', seen, now + ttl, worker)
  if report ~= '' then redis.call('HSET', reports, worker, report) end
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - 3600000)) do
    redis.call('HDEL', reports, old)
    redis.call('ZREM', seen, old)
  end
end
local alive = redis.call('ZRANGEBYSCORE', seen, '(' .. now, '+inf')
return {'alive', alive, 'reports', redis.call('HGETALL', reports)}
