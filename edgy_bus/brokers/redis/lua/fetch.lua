-- Read entries for a group: first the entries that former owners left unfinished, and new entries
-- only after them.
-- KEYS    events, lease, epoch, notes
-- ARGV    group, holder, epoch, number of entries, '1' if former owners may have left entries
-- Answer  fresh: the new entries, position: the last entry that the group has read; or inherited:
--         the entries of former owners, notes and deliveries: of each of them, missing: the entry
--         ids that are no longer in the stream; or refused: 'lost', or 'rolled_back'. Entries are
--         as XREADGROUP returns them: [entry id, [field, value, ...]].
-- Race    A lease is valid when checked and lost when the entries are read. Two owners would handle
--         the events of a row side by side, so the check and the read are one step.
local events, lease, epoch, notes = unpack(KEYS)
local group, holder, expected_epoch, count, inherit = unpack(ARGV)

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end

local pending = redis.pcall('XPENDING', events, group)
if pending.err then
  if not string.find(pending.err, 'NOGROUP', 1, true) then return redis.error_reply(pending.err) end
  redis.call('XGROUP', 'CREATE', events, group, '0', 'MKSTREAM')
  pending = {0}
end

local function unfinished_by_others(limit)
  local ids, deliveries, start = {}, {}, '-'
  while #ids < limit and pending[1] > 0 do
    local page = redis.call('XPENDING', events, group, start, '+', 100)
    for _, row in ipairs(page) do
      local id, consumer, times = row[1], row[2], row[4]
      if consumer ~= holder and #ids < limit then
        ids[#ids + 1] = id
        deliveries[id] = times + 1
      end
    end
    if #page < 100 then break end
    start = '(' .. page[#page][1]
  end
  return ids, deliveries
end

local function hand_over(ids, deliveries_by_id)
  local entries, present = {}, {}
  for _, entry in ipairs(redis.call('XCLAIM', events, group, holder, 0, unpack(ids))) do
    -- Redis before 7 returns false for an entry that is no longer in the stream.
    if entry then
      entries[#entries + 1] = entry
      present[entry[1]] = true
    end
  end
  local missing = {}
  for _, id in ipairs(ids) do
    if not present[id] then
      missing[#missing + 1] = id
      redis.call('XACK', events, group, id)
    end
  end
  local entry_notes, deliveries = {}, {}
  for i, entry in ipairs(entries) do
    entry_notes[i] = redis.call('HGET', notes, entry[1]) or ''
    deliveries[i] = deliveries_by_id[entry[1]]
  end
  return {'inherited', entries, 'notes', entry_notes, 'deliveries', deliveries, 'missing', missing}
end

if inherit == '1' then
  -- XCLAIM takes its ids as arguments, and Lua's stack bounds their number.
  local ids, deliveries = unfinished_by_others(math.min(tonumber(count), 1000))
  if #ids > 0 then return hand_over(ids, deliveries) end
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', events, group)) do
    local name, unfinished = consumer[2], consumer[4]
    if name ~= holder and unfinished == 0 then
      redis.call('XGROUP', 'DELCONSUMER', events, group, name)
    end
  end
else
  -- Only the holder of the lease reads: entries of another consumer can only have come back with
  -- an older copy of the stream.
  for _, consumer in ipairs(pending[4] or {}) do
    if consumer[1] ~= holder then return {'refused', 'rolled_back'} end
  end
end

local reply = redis.call(
  'XREADGROUP', 'GROUP', group, holder, 'COUNT', count, 'STREAMS', events, '>'
)
if reply and reply[1] and #reply[1][2] > 0 then
  local entries = reply[1][2]
  return {'fresh', entries, 'position', entries[#entries][1]}
end
local position = '0-0'
for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local info = {}
  for i = 1, #row, 2 do info[row[i]] = row[i + 1] end
  if info['name'] == group then position = info['last-delivered-id'] end
end
return {'fresh', {}, 'position', position}
