-- Register a worker as alive, by the server's clock; or return the members of the group.
-- KEYS    seen (sorted set: worker, milliseconds until which the worker is alive), reports (hash),
--         nudge (counter), receivers (as in enlist.lua), paused (as in pause.lua),
--         tripped (as in trip.lua)
-- ARGV    worker ('': only look), milliseconds (0: the worker leaves), report
-- Answer  alive: the live workers; reports: worker and its report, alternating, for a caller that
--         only looks, a report outlives its worker by an hour; for a worker, nudge: the counter,
--         and roster: the version of the list of receivers; paused: receiver ('': the group) and
--         its pause, alternating, without the pauses that have ended; tripped: receiver,
--         milliseconds that remain of its trip, milliseconds since the first trip, step and reason,
--         of each
-- Race    Workers with different clocks would disagree about who is alive, and assign partitions
--         differently. One clock decides, in the step that registers.
local seen, reports, nudge, receivers, paused, tripped = unpack(KEYS)
local worker, ttl, report = unpack(ARGV)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local nudged, roster = '', ''
if worker ~= '' then
  nudged = redis.call('GET', nudge) or ''
  roster = redis.call('HGET', receivers, '') or ''
  -- A server that is full lets a script grow that has removed before.
  redis.call('ZREM', seen, worker)
  redis.call('ZADD', seen, now + ttl, worker)
  if report ~= '' then redis.call('HSET', reports, worker, report) end
  local long_gone = redis.call('ZRANGEBYSCORE', seen, '-inf', now - 3600000, 'LIMIT', 0, 100)
  for _, old in ipairs(long_gone) do
    redis.call('HDEL', reports, old)
    redis.call('ZREM', seen, old)
  end
end
local alive = redis.call('ZRANGEBYSCORE', seen, '(' .. now, '+inf')
local read = {}
if worker == '' then
  -- The hash may have fields of another program.
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', '+inf')) do
    local text = redis.call('HGET', reports, member)
    if text then
      read[#read + 1] = member
      read[#read + 1] = text
    end
  end
end
local pauses, lines = {}, redis.call('HGETALL', paused)
for i = 1, #lines, 2 do
  local ends = tonumber(string.match(lines[i + 1], '^%d+'))
  if ends and (ends == 0 or ends > now) then
    pauses[#pauses + 1] = lines[i]
    pauses[#pauses + 1] = lines[i + 1]
  end
end
local trips, states = {}, redis.call('HGETALL', tripped)
for i = 1, #states, 2 do
  local ends, since, step, reason = string.match(states[i + 1], '^(%d+) (%d+) (%d+) (.*)$')
  if ends then
    for _, value in ipairs({
      states[i], math.max(0, ends - now), math.max(0, now - since), tonumber(step), reason
    }) do trips[#trips + 1] = value end
  end
end
return {
  'alive', alive, 'reports', read, 'nudge', nudged, 'roster', roster, 'paused', pauses,
  'tripped', trips
}
