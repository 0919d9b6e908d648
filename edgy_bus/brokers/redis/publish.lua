-- Appends a batch if the stream stands where the publisher believes it stands (compare-and-set on the head).
-- KEYS  events, epoch
-- ARGV  expected epoch, expected newest entry ('0-0': none), expected event id, then id, head, data and signature of every event
-- Answers false, or the entry ids: only the first one if the others follow it in the same millisecond.
local events = KEYS[1]
local epoch = redis.call('GET', KEYS[2])
if not epoch or epoch ~= ARGV[1] then return false end
local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
local entry, event = '0-0', ''
if newest then entry = newest[1]; event = newest[2][2] end
if entry ~= ARGV[2] or event ~= ARGV[3] then return false end

local function append(place, i)
  if ARGV[i + 3] == '' then
    return redis.call('XADD', events, place, 'id', ARGV[i], 'head', ARGV[i + 1], 'data', ARGV[i + 2])
  end
  return redis.call('XADD', events, place, 'id', ARGV[i], 'head', ARGV[i + 1], 'data', ARGV[i + 2], 'sig', ARGV[i + 3])
end

local ids = {append('*', 4)}
local ms, seq = string.match(ids[1], '(%d+)-(%d+)')
seq = tonumber(seq)
-- Beyond that a number is not exact in Lua any more. Nobody gets there but by an entry that was forged.
local exact = seq < 1e12
for i = 8, #ARGV, 4 do
  if exact then
    seq = seq + 1
    append(ms .. '-' .. seq, i)
  else
    ids[#ids + 1] = append('*', i)
  end
end
return ids
