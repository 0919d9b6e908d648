-- Tell the oldest entry that a group has not finished, whether read or unread.
-- KEYS    events
-- ARGV    group
-- Answer  oldest: the entry's id; nothing if the group has finished every entry
-- Race    An entry is read between a look at unread and a look at unfinished entries, and would be
--         seen by neither.
local events, group = KEYS[1], ARGV[1]

local pending = redis.pcall('XPENDING', events, group)
if pending.err and not string.find(pending.err, 'NOGROUP', 1, true) then
  return redis.error_reply(pending.err)
end
-- A group that the stream does not have begins with the oldest entry.
local first = '-'
if not pending.err then
  if pending[1] > 0 then return {'oldest', pending[2]} end
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local fields = {}
    for i = 1, #row, 2 do fields[row[i]] = row[i + 1] end
    if fields['name'] == group then first = '(' .. fields['last-delivered-id'] end
  end
end
local entry = redis.call('XRANGE', events, first, '+', 'COUNT', 1)[1]
if entry then return {'oldest', entry[1]} end
return {}
