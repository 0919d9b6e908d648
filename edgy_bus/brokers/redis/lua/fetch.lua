-- Read entries for a group: first the entries that former owners left unfinished, and new entries
-- only after them.
-- KEYS    events, lease, epoch, notes, aside (as in arrange.lua)
-- ARGV    group, holder, epoch, the tenure's last confirmed write, number of entries, '1' if former
--         owners may have left entries, the last entry that this tenure has taken over ('0-0':
--         none), bytes of values after which the read ends, the most entries that are read before
--         their size is looked at, the receiver whose own group this is ('': the group of all), the
--         group of all
-- Answer  fresh: the new entries, position: the last entry that the group has read, more: 1 if the
--         stream may have more entries, else 0; or inherited:
--         the entries of former owners, notes and deliveries: of each of them, kept: of each of
--         them the receivers and event ids of its proofs, alternating, missing: the entry ids that
--         are no longer in the stream, position: the last entry that was taken over; or refused:
--         'lost', 'rolled_back', or 'returned' if the receiver is set aside no more, or can come
--         back. Entries are as XREADGROUP returns them: [entry id, [field, value, ...]].
-- Race    A lease is valid when checked and lost when the entries are read. Two owners would handle
--         the events of a row side by side, so the check and the read are one step.
local events, lease, epoch, notes, aside = unpack(KEYS)
local group, holder, expected_epoch, confirmed, count, inherit, after = unpack(ARGV, 1, 7)
local most_bytes, overshoot = tonumber(ARGV[8]), tonumber(ARGV[9])
local receiver, group_of_all = ARGV[10], ARGV[11]
-- A server that runs a script does nothing else. Entries that are taken over cost more.
local most_new, most_inherited, most_removed = 300, 120, 200

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
if (tonumber(redis.call('HGET', notes, 'writes')) or 0) < tonumber(confirmed) then
  return {'refused', 'rolled_back'}
end

-- The group of a receiver that came back would be made again, and keep the stream for ever.
local state
if receiver ~= '' then
  state = string.match(redis.call('HGET', aside, receiver) or '', '^%a+')
  if state ~= 'aside' and state ~= 'due' then return {'refused', 'returned'} end
end

local pending = redis.pcall('XPENDING', events, group)
if pending.err then
  if not string.find(pending.err, 'NOGROUP', 1, true) then return redis.error_reply(pending.err) end
  -- A server that is full lets a script grow that has acknowledged before, were it nothing.
  redis.call('XACK', events, group, '0-0')
  redis.call('XGROUP', 'CREATE', events, group, '0', 'MKSTREAM')
  -- All entries come again. A proof of before would keep an event from being parked behind an
  -- earlier event of its row, which is parked anew.
  local before = redis.call('HGET', notes, 'writes')
  redis.call('DEL', notes)
  if before then redis.call('HSET', notes, 'writes', before) end
  pending = {0}
end

-- Former owners' entries are taken over in the order of their ids: this tenure has nothing behind
-- `after`, and the first page is full, so that no page costs more than another.
local function unfinished_by_others(limit)
  local ids, deliveries, owners, start = {}, {}, {}, '(' .. after
  while #ids < limit and pending[1] > 0 do
    local page = redis.call('XPENDING', events, group, start, '+', limit - #ids)
    if #page == 0 then break end
    for _, row in ipairs(page) do
      local id, consumer, times = row[1], row[2], row[4]
      if consumer ~= holder then
        ids[#ids + 1] = id
        deliveries[id], owners[consumer] = times + 1, true
      end
    end
    start = '(' .. page[#page][1]
  end
  return ids, deliveries, owners
end

local function bytes_of(entry)
  local bytes = 0
  for i = 2, #entry[2], 2 do bytes = bytes + #entry[2][i] end
  return bytes
end

-- Read piece by piece, until there are enough entries or bytes. The first entry is read alone, and
-- its size says how many more may fit. `next_piece` returns the entries of a piece, and whether
-- more may follow.
local function in_pieces(limit, next_piece)
  local entries, done, bytes, piece, more = {}, 0, 0, 1, true
  while more and done < limit and bytes < most_bytes do
    local new
    piece = math.min(piece, limit - done)
    new, more = next_piece(done, piece)
    done = done + piece
    for _, entry in ipairs(new) do
      entries[#entries + 1] = entry
      bytes = bytes + bytes_of(entry)
    end
    piece = overshoot
    if bytes > 0 then
      local fit = math.floor((most_bytes - bytes) * #entries / bytes)
      piece = math.max(1, math.min(overshoot, fit))
    end
  end
  return entries, done, more
end

-- What was put aside of an entry: receiver and event id of each proof, alternating.
local function kept_of(entry)
  local proofs, names = {}, redis.call('HGET', notes, entry .. ' *kept') or ''
  for name in string.gmatch(names, '[^\n]+') do
    proofs[#proofs + 1] = name
    proofs[#proofs + 1] = redis.call('HGET', notes, entry .. ' ' .. name) or ''
  end
  return proofs
end

local function hand_over(ids, deliveries_by_id)
  -- Before the claim: entries that a script has claimed and not returned would be nobody's.
  local notes_of = {}
  for i, note in ipairs(redis.call('HMGET', notes, unpack(ids))) do notes_of[ids[i]] = note end
  local entries, claimed = in_pieces(#ids, function(done, piece)
    local there = {}
    local answer = redis.call(
      'XCLAIM', events, group, holder, 0, unpack(ids, done + 1, done + piece)
    )
    for _, entry in ipairs(answer) do
      -- Redis before 7 returns false for an entry that is no longer in the stream.
      if entry then there[#there + 1] = entry end
    end
    return there, true
  end)
  local present, entry_notes, kept, deliveries = {}, {}, {}, {}
  for i, entry in ipairs(entries) do
    local id = entry[1]
    entry_notes[i], deliveries[i], present[id] = notes_of[id] or '', deliveries_by_id[id], true
    kept[i] = kept_of(id)
  end
  local missing = {}
  for i = 1, claimed do
    local id = ids[i]
    if not present[id] then
      missing[#missing + 1] = id
      redis.call('XACK', events, group, id)
    end
  end
  return {
    'inherited', entries, 'notes', entry_notes, 'kept', kept, 'deliveries', deliveries,
    'missing', missing, 'position', ids[claimed]
  }
end

-- Remove consumers of former owners whose entries were all taken over.
local function remove_emptied(owners)
  for name in pairs(owners) do
    if #redis.call('XPENDING', events, group, '-', '+', 1, name) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', events, group, name)
    end
  end
end

-- Remove consumers of former owners that had finished everything. The next owner removes the rest.
local function remove_idle_consumers()
  local removed = 0
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', events, group)) do
    local name, unfinished = consumer[2], consumer[4]
    if name ~= holder and unfinished == 0 and removed < most_removed then
      redis.call('XGROUP', 'DELCONSUMER', events, group, name)
      removed = removed + 1
    end
  end
end

if inherit == '1' then
  local limit = math.min(tonumber(count), most_inherited)
  local ids, deliveries, owners = unfinished_by_others(limit)
  if #ids > 0 then
    local answer = hand_over(ids, deliveries)
    remove_emptied(owners)
    return answer
  end
  remove_idle_consumers()
end
-- Only the holder of the lease reads: entries of another consumer can only have come back with an
-- older copy of the stream.
for _, consumer in ipairs(pending[4] or {}) do
  if consumer[1] ~= holder then return {'refused', 'rolled_back'} end
end

local function position_of(name)
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local info = {}
    for i = 1, #row, 2 do info[row[i]] = row[i + 1] end
    if info['name'] == name then return info['last-delivered-id'] end
  end
  return '0-0'
end
-- Ids in the order of their entries.
local function padded(id)
  return (string.gsub(id, '%d+', function(part) return string.rep('0', 20 - #part) .. part end))
end
-- A receiver that is to come back reads no further than the group of all, which waits for that.
if state == 'due' then
  local position = position_of(group)
  if padded(position) >= padded(position_of(group_of_all)) then
    if pending[1] == 0 then return {'refused', 'returned'} end
    return {'fresh', {}, 'position', position, 'more', 1}
  end
end

local entries, _, more = in_pieces(math.min(tonumber(count), most_new), function(_, piece)
  local reply = redis.call(
    'XREADGROUP', 'GROUP', group, holder, 'COUNT', piece, 'STREAMS', events, '>'
  )
  local new = reply and reply[1] and reply[1][2] or {}
  return new, #new == piece
end)
local position = #entries > 0 and entries[#entries][1] or position_of(group)
return {'fresh', entries, 'position', position, 'more', more and 1 or 0}
