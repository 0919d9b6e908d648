-- Describe an entry, and how far each group of the stream is with the entry.
-- KEYS    events
-- ARGV    the beginning of every key of the partition, entry, '1' with the data of the event
-- Answer  fields: [field, value, ...] of the entry, empty if the stream does not have the entry;
--         groups: [name, last entry that the group has read, tenure that has read the entry and not
--         finished it (''), deliveries, notes of the entry ('')] of each
-- Race    The entry is read between a look at the group's position and a look at its unfinished
--         entries, or settled in between: the entry would look finished before its receivers ran.
local events = KEYS[1]
local tag, entry, with_data = unpack(ARGV)

if redis.call('EXISTS', events) == 0 then return {'fields', {}, 'groups', {}} end

local fields = {}
local found = redis.call('XRANGE', events, entry, entry)[1]
for i = 1, found and #found[2] or 0, 2 do
  if with_data == '1' or found[2][i] ~= 'data' then
    fields[#fields + 1] = found[2][i]
    fields[#fields + 1] = found[2][i + 1]
  end
end

-- The notes may be a value of another type, which another program has written, and which counts as
-- nothing. Other errors are the answer.
local failure
local function notes_of(name)
  local notes = redis.pcall('HGET', tag .. ':notes:' .. name, entry)
  if type(notes) ~= 'table' then return notes or '' end
  if not string.find(notes.err, 'WRONGTYPE', 1, true) then failure = notes end
  return ''
end

local groups = {}
for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  local name, reader, deliveries = group['name'], '', 0
  local pending = redis.call('XPENDING', events, name, entry, entry, 1)[1]
  if pending then reader, deliveries = pending[2], pending[4] end
  groups[#groups + 1] = {name, group['last-delivered-id'], reader, deliveries, notes_of(name)}
end
if failure then return failure end
return {'fields', fields, 'groups', groups}
