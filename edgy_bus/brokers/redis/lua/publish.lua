-- Append a chunk of events if the stream stands where the publisher expects (compare-and-set on the
-- head).
-- KEYS    events, epoch
-- ARGV    the expected epoch, newest entry ('0-0': none) and event id of that entry; then for every
--         event: id, header, data, signature ('': none)
-- Answer  first: the first entry id, if the others follow it with the next numbers of the same
--         millisecond; else entries: all entry ids; or refused: 'moved'
-- Race    Two relays publish the same events, or one relay repeats a chunk whose answer was lost.
--         Comparison and append are one step: the second append finds another head.
local events, epoch = unpack(KEYS)
local expected_epoch, expected_entry, expected_event = unpack(ARGV, 1, 3)

local known_epoch = redis.call('GET', epoch)
if not known_epoch or known_epoch ~= expected_epoch then return {'refused', 'moved'} end
local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
local entry, event = '0-0', ''
if newest then entry, event = newest[1], newest[2][2] end
if entry ~= expected_entry or event ~= expected_event then return {'refused', 'moved'} end

local function append(id, i)
  local event_id, header, data, signature = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if signature == '' then
    return redis.call('XADD', events, id, 'id', event_id, 'head', header, 'data', data)
  end
  return redis.call(
    'XADD', events, id, 'id', event_id, 'head', header, 'data', data, 'sig', signature
  )
end

local first = append('*', 4)
local ms, seq = string.match(first, '(%d+)-(%d+)')
seq = tonumber(seq)
-- Lua's numbers are exact up to 2^53. Only a forged entry brings a stream near that.
if seq < 1e12 then
  for i = 8, #ARGV, 4 do
    seq = seq + 1
    append(ms .. '-' .. seq, i)
  end
  return {'first', first}
end
local entries = {first}
for i = 8, #ARGV, 4 do entries[#entries + 1] = append('*', i) end
return {'entries', entries}
