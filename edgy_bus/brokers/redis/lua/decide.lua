-- Let the owner of the partition retry the parked events of a row that waits for a decision.
-- KEYS    held rows, the row's parked events, dead letters
-- ARGV    row, '1' to move the first parked event to the dead letters
-- Answer  nothing; or refused: 'not_waiting'
-- Race    Two operators decide about the same row, or decide while a worker retries the row: the
--         second skip would remove an event that nobody looked at. The row stays held until
--         its owner finds no parked event: the owner treats a hold that disappears as a loss.
local held, parked, dead = unpack(KEYS)
local row, skip = unpack(ARGV)

if redis.call('HGET', held, row) ~= 'held' then return {'refused', 'not_waiting'} end
if skip == '1' then
  local first = redis.call('XRANGE', parked, '-', '+', 'COUNT', 1)[1]
  if first then
    -- Lua's stack bounds the number of arguments. No letter has as many fields.
    redis.call('XADD', dead, '*', unpack(first[2], 1, math.min(#first[2], 1000)))
    redis.call('XDEL', parked, first[1])
  end
end
-- A server that is full lets a script grow that has deleted before.
redis.call('HDEL', held, row)
redis.call('HSET', held, row, 'retry 0')
return {}
