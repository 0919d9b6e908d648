-- Add a tally to the present minute of a group, by the server's clock.
-- KEYS    tallies (hash: minute of the day, from 0, to 'MINUTE HANDLED RETRIED DEAD', where MINUTE
--         counts since 1970; 'versions' to lines of 'MILLISECONDS VERSION', oldest first)
-- ARGV    handled, retried, dead, the version of a worker that begins ('': none), number of minutes
--         that are kept, number of versions that are kept
-- Answer  nothing
-- Race    Two workers add to the same minute, and one of the tallies would be lost.
local tallies = KEYS[1]
local handled, retried, dead, version = unpack(ARGV, 1, 4)
local minutes, most = tonumber(ARGV[5]), tonumber(ARGV[6])

local time = redis.call('TIME')
local minute = math.floor(time[1] / 60)
local field = tostring(minute % minutes)
local of, before, again, lost = string.match(
  redis.call('HGET', tallies, field) or '', '^(%d+) (%d+) (%d+) (%d+)$'
)
-- The field still has the minute of the day before.
if tonumber(of) ~= minute then before, again, lost = 0, 0, 0 end
redis.call('HSET', tallies, field, string.format(
  '%.0f %.0f %.0f %.0f', minute, before + handled, again + retried, lost + dead
))
if version ~= '' then
  local lines, last = {}, nil
  for line in string.gmatch(redis.call('HGET', tallies, 'versions') or '', '[^\n]+') do
    lines[#lines + 1] = line
    last = string.match(line, '^%d+ (.*)$')
  end
  if last ~= version then
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    lines[#lines + 1] = string.format('%.0f %s', now, version)
    local first = math.max(1, #lines - most + 1)
    redis.call('HSET', tallies, 'versions', table.concat(lines, '\n', first))
  end
end
redis.call('PEXPIRE', tallies, (minutes + 60) * 60000)
return {}
