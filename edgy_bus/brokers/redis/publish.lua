-- Appends a batch if the stream stands where the publisher believes it stands (compare-and-set on the head).
-- KEYS  events, epoch
-- ARGV  expected epoch, expected newest entry ('0-0': none), expected event id, then id, head, data and signature of every event
-- Answers the entry ids, or false.
local epoch = redis.call('GET', KEYS[2])
if not epoch or epoch ~= ARGV[1] then return false end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local entry, event = '0-0', ''
if newest then entry = newest[1]; event = newest[2][2] end
if entry ~= ARGV[2] or event ~= ARGV[3] then return false end
local ids = {}
for i = 4, #ARGV, 4 do
  local fields = {'id', ARGV[i], 'head', ARGV[i + 1], 'data', ARGV[i + 2]}
  if ARGV[i + 3] ~= '' then fields[7] = 'sig'; fields[8] = ARGV[i + 3] end
  ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', unpack(fields))
end
return ids
