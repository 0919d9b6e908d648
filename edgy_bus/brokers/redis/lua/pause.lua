-- Pause a group, or one receiver of the group, by the server's clock.
-- KEYS    paused (hash: receiver, or '' for the whole group, to the end in milliseconds, 0
--         without an end, a space, and the note)
-- ARGV    receiver, milliseconds (0: without an end), note
-- Answer  until: the end
-- Race    Another operator may pause the same at the same moment: the last pause counts, and its
--         end and its note belong together.
local paused = KEYS[1]
local receiver, ttl, note = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local ends = 0
if ttl > 0 then
  local time = redis.call('TIME')
  ends = time[1] * 1000 + math.floor(time[2] / 1000) + ttl
end
-- A server that is full lets a script grow that has removed before.
redis.call('HDEL', paused, receiver)
redis.call('HSET', paused, receiver, string.format('%.0f ', ends) .. note)
return {'until', ends}
