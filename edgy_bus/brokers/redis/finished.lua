-- The least entry that some group has not finished; what a group without unfinished entries has read last counts for it.
-- KEYS  events
-- Answers an entry id, or false while there is no group.
local function before(a, b)
  local ams, aseq = string.match(a, '(%d+)-(%d+)')
  local bms, bseq = string.match(b, '(%d+)-(%d+)')
  if tonumber(ams) ~= tonumber(bms) then return tonumber(ams) < tonumber(bms) end
  return tonumber(aseq) < tonumber(bseq)
end
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local least = false
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name, position
  for i = 1, #row, 2 do
    if row[i] == 'name' then name = row[i + 1] end
    if row[i] == 'last-delivered-id' then position = row[i + 1] end
  end
  local pending = redis.call('XPENDING', KEYS[1], name)
  if pending[1] > 0 then position = pending[2] end
  if not least or before(position, least) then least = position end
end
return least
