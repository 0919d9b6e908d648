-- Tell a publisher how far every group is.
-- KEYS    events, epoch
-- ARGV    epoch, entry and event id of the publisher's head
-- Answer  unfinished: group and its least unfinished entry, alternating; read: for the groups that
--         have finished what they read, group and its last entry, alternating; or refused: 'moved'
-- Race    The stream is lost and written anew. Its ids mean other events, and the publisher would
--         take them for confirmed.
local events, epoch = unpack(KEYS)
local expected_epoch, expected_entry, expected_event = unpack(ARGV)

if redis.call('GET', epoch) ~= expected_epoch then return {'refused', 'moved'} end
local head = redis.call('XRANGE', events, expected_entry, expected_entry)[1]
if not head or head[2][2] ~= expected_event then return {'refused', 'moved'} end

local unfinished, read = {}, {}
for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  local pending, least = unpack(redis.call('XPENDING', events, group['name']))
  local list, entry = read, group['last-delivered-id']
  if pending > 0 then list, entry = unfinished, least end
  list[#list + 1] = group['name']
  list[#list + 1] = entry
end
return {'unfinished', unfinished, 'read', read}
