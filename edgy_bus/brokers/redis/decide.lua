-- Somebody has decided about a held row: its parked events are to be handled, or the first of them is to be left out.
-- KEYS  held rows, the row's parked events, dead letters
-- ARGV  row, '1' to move its first parked event to the dead letters
-- The row stays held until the owner of the partition finds nothing parked: it takes a hold that is gone for a loss.
-- Answers 1, or 0 if the row is not held, or being handled already.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'held' then return 0 end
if ARGV[2] == '1' then
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if first then
    redis.call('XADD', KEYS[3], '*', unpack(first[2]))
    redis.call('XDEL', KEYS[2], first[1])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], 'retry 0')
return 1
