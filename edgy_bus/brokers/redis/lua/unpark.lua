-- Remove the first parked event of a row, which is finished, and count attempts anew for the next.
-- A row without parked events is no longer held.
-- KEYS    lease, epoch, held rows, the row's parked events
-- ARGV    holder, epoch, row, the parked event's id, the event id in it
-- Answer  parked: number of events that are still parked; or refused: 'lost'
-- Race    An event is parked between the removal of the last event and the end of the hold: it
--         would be parked behind nothing. And after a loss, the id may belong to another event,
--         which is not finished.
local lease, epoch, held, parked = unpack(KEYS)
local holder, expected_epoch, row, id, event = unpack(ARGV)

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local first = redis.call('XRANGE', parked, id, id)[1]
local fields = first and first[2] or {}
for i = 1, #fields, 2 do
  if fields[i] == 'event.id' and fields[i + 1] == event then
    redis.call('XDEL', parked, id)
    redis.call('HSET', held, row, 'retry 0')
  end
end
local remaining = redis.call('XLEN', parked)
if remaining == 0 then
  redis.call('DEL', parked)
  redis.call('HDEL', held, row)
end
return {'parked', remaining}
