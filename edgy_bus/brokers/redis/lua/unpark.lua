-- Remove the first parked event of a row, which is finished, and count attempts anew for the next.
-- A row without parked events is no longer held.
-- KEYS    lease, epoch, notes, held rows, the row's parked events, dead letters
-- ARGV    holder, epoch, the tenure's last confirmed write, row, the parked event's id, the event
--         id in it; then the fields of the dead letter, if the event was given up again
-- Answer  parked: number of events that are still parked, writes: the number of this write; or
--         refused: 'lost', or 'rolled_back' if the confirmed write is missing
-- Race    An event is parked between the removal of the last event and the end of the hold: it
--         would be parked behind nothing. And after a loss, the id may belong to another event,
--         which is not finished.
local lease, epoch, notes, held, parked, dead = unpack(KEYS)
local holder, expected_epoch, confirmed, row, id, event = unpack(ARGV, 1, 6)

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
-- Read before the first write: where the held rows are a value of another type, the script ends
-- here, before the parked event is gone.
redis.call('HGET', held, row)
local first = redis.call('XRANGE', parked, id, id)[1]
local fields, changed = first and first[2] or {}, false
for i = 1, #fields, 2 do
  if fields[i] == 'event.id' and fields[i + 1] == event then
    redis.call('XLEN', dead)
    redis.call('XDEL', parked, id)
    -- A server that is full lets a script grow that has deleted before.
    if #ARGV > 6 then redis.call('XADD', dead, '*', unpack(ARGV, 7)) end
    redis.call('HSET', held, row, 'retry 0')
    changed = true
  end
end
local remaining = redis.call('XLEN', parked)
if remaining == 0 then
  redis.call('DEL', parked)
  redis.call('HDEL', held, row)
  changed = true
end
if changed then
  writes = writes + 1
  redis.call('HSET', notes, 'writes', writes)
end
return {'parked', remaining, 'writes', writes}
