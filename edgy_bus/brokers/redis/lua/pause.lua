-- Pause a group, by the server's clock.
-- KEYS    paused (string: the end in milliseconds, 0 without an end, a space, and the note)
-- ARGV    milliseconds (0: without an end), note
-- Answer  until: the end
-- Race    Another operator may pause the group at the same moment: the last pause counts, and its
--         end and its note belong together.
local paused = KEYS[1]
local ttl, note = tonumber(ARGV[1]), ARGV[2]

if ttl == 0 then
  redis.call('SET', paused, '0 ' .. note)
  return {'until', 0}
end
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ttl
redis.call('SET', paused, string.format('%.0f ', ends) .. note, 'PX', ttl)
return {'until', ends}
