-- Continue the landmarks of `inspect`, if the stream still holds the head that was newest then.
-- KEYS    events, epoch
-- ARGV    epoch, entry and event id of that head; the entry after which to continue; number of
--         landmarks
-- Answer  landmarks: [entry id, event id, header] each; or refused: 'moved'
-- Race    The stream is lost and written anew between two pages. The pages would mix two streams.
local events, epoch = unpack(KEYS)
local expected_epoch, expected_entry, expected_event, after, count = unpack(ARGV)

if redis.call('GET', epoch) ~= expected_epoch then return {'refused', 'moved'} end
local head = redis.call('XRANGE', events, expected_entry, expected_entry)[1]
if not head or head[2][2] ~= expected_event then return {'refused', 'moved'} end

local landmarks = {}
local page = redis.call('XRANGE', events, '(' .. after, expected_entry, 'COUNT', count)
for _, entry in ipairs(page) do
  landmarks[#landmarks + 1] = {entry[1], entry[2][2], entry[2][4] or ''}
end
return {'landmarks', landmarks}
