-- Tell a publisher where the stream stands. Start a new epoch if the stream has none, or lost the
-- publisher's head.
-- KEYS    events, epoch
-- ARGV    the publisher's epoch, newest entry ('0-0': none) and event id of that entry; a fresh
--         epoch; number of landmarks
-- Answer  epoch; newest: a landmark, or empty; behind: the landmarks after the publisher's head, or
--         of the whole stream if the epoch is not the publisher's. A landmark is [entry id, event
--         id, header].
-- Race    After a loss, the server gives the ids of lost entries to other events. Between a look
--         and a new epoch set by a second call, another relay could append in the old epoch.
local events, epoch = unpack(KEYS)
local expected_epoch, expected_entry, expected_event, fresh_epoch, count = unpack(ARGV)

local function landmark(entry)
  if entry then return {entry[1], entry[2][2], entry[2][4] or ''} end
  return {}
end

local current = redis.call('GET', epoch)
if current == expected_epoch and expected_entry ~= '0-0' then
  local entry = redis.call('XRANGE', events, expected_entry, expected_entry)[1]
  if not entry or entry[2][2] ~= expected_event then current = false end
end
-- An epoch that another program wrote may have bytes that are no text.
if not current or not string.match(current, '^[%w-]+$') then
  current = fresh_epoch
  -- A server that is full lets a script grow that has deleted before.
  redis.call('DEL', epoch)
  redis.call('SET', epoch, current)
end

local after = '-'
if current == expected_epoch and expected_entry ~= '0-0' then after = '(' .. expected_entry end
local behind = {}
for _, entry in ipairs(redis.call('XRANGE', events, after, '+', 'COUNT', count)) do
  behind[#behind + 1] = landmark(entry)
end
local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
return {'epoch', current, 'newest', landmark(newest), 'behind', behind}
