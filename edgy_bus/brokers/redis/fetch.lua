-- Checks the lease, hands over what former owners left unfinished, and only then reads what is new: in one step, because a check
-- that is stale by the time of the read lets two owners reorder a row.
-- KEYS  events, lease, epoch, notes
-- ARGV  group, holder, epoch, count, '1' if former owners may have left something
-- Answers [entries, inherited (1/0), position, notes of the entries, missing entry ids, deliveries of the entries], or false if the
-- lease is lost, or the server was rolled back. Notes and deliveries are told of inherited entries only.
local events, group, me, count = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4])
if redis.call('GET', KEYS[2]) ~= me or redis.call('GET', KEYS[3]) ~= ARGV[3] then return false end

local pending = redis.pcall('XPENDING', events, group)
if pending.err then
  if not string.find(pending.err, 'NOGROUP', 1, true) then return redis.error_reply(pending.err) end
  redis.call('XGROUP', 'CREATE', events, group, '0', 'MKSTREAM')
  pending = {0}
end

if ARGV[5] ~= '1' then
  -- Nobody reads without the lease: what others have left can only have come back with an older copy of the stream.
  for _, consumer in ipairs(pending[4] or {}) do
    if consumer[1] ~= me then return false end
  end
else
  local left, had, start = {}, {}, '-'
  if count > 1000 then count = 1000 end
  while #left < count and pending[1] > 0 do
    local page = redis.call('XPENDING', events, group, start, '+', 100)
    for _, row in ipairs(page) do
      if row[2] ~= me and #left < count then left[#left + 1] = row[1]; had[row[1]] = row[4] end
    end
    if #page < 100 then break end
    start = '(' .. page[#page][1]
  end
  if #left > 0 then
    local entries, found, missing = {}, {}, {}
    for _, entry in ipairs(redis.call('XCLAIM', events, group, me, 0, unpack(left))) do
      if entry then entries[#entries + 1] = entry; found[entry[1]] = true end
    end
    for _, id in ipairs(left) do
      if not found[id] then
        missing[#missing + 1] = id
        redis.call('XACK', events, group, id)
      end
    end
    local notes, deliveries = {}, {}
    for i, entry in ipairs(entries) do
      notes[i] = redis.call('HGET', KEYS[4], entry[1]) or ''
      deliveries[i] = had[entry[1]] + 1
    end
    return {entries, 1, '0-0', notes, missing, deliveries}
  end
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', events, group)) do
    if consumer[2] ~= me and consumer[4] == 0 then redis.call('XGROUP', 'DELCONSUMER', events, group, consumer[2]) end
  end
end

local reply = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', count, 'STREAMS', events, '>')
if reply and reply[1] and #reply[1][2] > 0 then
  local entries = reply[1][2]
  return {entries, 0, entries[#entries][1], {}, {}, {}}
end
for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local name, position
  for i = 1, #row, 2 do
    if row[i] == 'name' then name = row[i + 1] end
    if row[i] == 'last-delivered-id' then position = row[i + 1] end
  end
  if name == group then return {{}, 0, position, {}, {}, {}} end
end
return {{}, 0, '0-0', {}, {}, {}}
