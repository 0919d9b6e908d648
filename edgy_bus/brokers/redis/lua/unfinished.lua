-- Tell the oldest entry that a group has not finished, whether read or unread.
-- KEYS    events, aside (as in arrange.lua)
-- ARGV    group
-- Answer  oldest: the entry's id; nothing if the group has finished every entry
-- Race    An entry is read between a look at unread and a look at unfinished entries, and would be
--         seen by neither.
local events, aside = unpack(KEYS)
local group_of_all = ARGV[1]

local function oldest_of(group)
  local pending = redis.pcall('XPENDING', events, group)
  if pending.err and not string.find(pending.err, 'NOGROUP', 1, true) then error(pending.err) end
  -- A group that the stream does not have begins with the oldest entry.
  local first = '-'
  if not pending.err then
    if pending[1] > 0 then return pending[2] end
    for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
      local fields = {}
      for i = 1, #row, 2 do fields[row[i]] = row[i + 1] end
      if fields['name'] == group then first = '(' .. fields['last-delivered-id'] end
    end
  end
  local entry = redis.call('XRANGE', events, first, '+', 'COUNT', 1)[1]
  return entry and entry[1]
end
-- Ids in the order of their entries.
local function padded(id)
  return (string.gsub(id, '%d+', function(part) return string.rep('0', 20 - #part) .. part end))
end

local oldest = oldest_of(group_of_all)
-- A receiver that is set aside has unfinished entries of its own.
local states = redis.call('HGETALL', aside)
for i = 1, #states, 2 do
  local entry = oldest_of(group_of_all .. '/' .. states[i])
  if entry and (not oldest or padded(entry) < padded(oldest)) then oldest = entry end
end
return oldest and {'oldest', oldest} or {}
