-- For every group the least entry that it has not finished; for one without unfinished entries, what it has read last.
-- KEYS  events, epoch
-- ARGV  epoch, entry of the publisher's head, its event id
-- Answers [group, entry id, how many are unfinished, ...]; nothing for a stream that is not the one that the publisher knows.
local found = {}
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return found end
local known = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not known or known[2][2] ~= ARGV[3] then return found end
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name, position
  for i = 1, #row, 2 do
    if row[i] == 'name' then name = row[i + 1] end
    if row[i] == 'last-delivered-id' then position = row[i + 1] end
  end
  local pending = redis.call('XPENDING', KEYS[1], name)
  if pending[1] > 0 then position = pending[2] end
  found[#found + 1] = name
  found[#found + 1] = position
  found[#found + 1] = pending[1]
end
return found
