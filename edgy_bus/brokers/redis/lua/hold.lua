-- Change the state of a held row.
-- KEYS    lease, epoch, notes, held rows, the row's parked events
-- ARGV    holder, epoch, the tenure's last confirmed write, row, state
-- Answer  writes: the number of this write; or refused: 'lost', or 'rolled_back' if the confirmed
--         write is missing
-- Race    A former owner wakes up and holds a row that its successor has finished. And a late call
--         for a row without parked events would hold that row for ever.
local lease, epoch, notes, held, parked = unpack(KEYS)
local holder, expected_epoch, confirmed, row, state = unpack(ARGV)

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
if redis.call('XLEN', parked) > 0 then
  -- A server that is full lets a script grow that has deleted before.
  redis.call('HDEL', held, row)
  redis.call('HSET', held, row, state)
else
  redis.call('DEL', parked)
  redis.call('HDEL', held, row)
end
redis.call('HSET', notes, 'writes', writes + 1)
return {'writes', writes + 1}
