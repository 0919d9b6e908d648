-- Remove the entries below an entry, if the stream still holds the publisher's head.
-- KEYS    events, epoch
-- ARGV    epoch, entry and event id of the publisher's head; the entry below which to remove
-- Answer  removed: number of entries; or refused: 'moved'
-- Race    The stream is lost and written anew before the publisher trims. If the server's clock
--         went back, the new entries have smaller ids, and trimming would remove them unread.
local events, epoch = unpack(KEYS)
local expected_epoch, expected_entry, expected_event, below = unpack(ARGV)

if redis.call('GET', epoch) ~= expected_epoch then return {'refused', 'moved'} end
local head = redis.call('XRANGE', events, expected_entry, expected_entry)[1]
if not head or head[2][2] ~= expected_event then return {'refused', 'moved'} end
return {'removed', redis.call('XTRIM', events, 'MINID', '=', below)}
