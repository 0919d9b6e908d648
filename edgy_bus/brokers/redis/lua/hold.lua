-- Change the state of a held row.
-- KEYS    lease, epoch, held rows, the row's parked events
-- ARGV    holder, epoch, row, state
-- Answer  nothing; or refused: 'lost'
-- Race    A former owner wakes up and holds a row that its successor has finished. And a late call
--         for a row without parked events would hold that row for ever.
local lease, epoch, held, parked = unpack(KEYS)
local holder, expected_epoch, row, state = unpack(ARGV)

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
if redis.call('XLEN', parked) > 0 then
  redis.call('HSET', held, row, state)
else
  redis.call('DEL', parked)
  redis.call('HDEL', held, row)
end
return {}
