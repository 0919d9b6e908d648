-- What became of a row's first parked event, under the lease: it is finished and gone, and attempts are counted anew for the next one; or
-- the row's state is another now.
-- KEYS  lease, epoch, held rows, the row's parked events
-- ARGV  holder, epoch, row, the state, or '', the parked entry that is finished and the id of the event in it
-- Answers how many events are still parked, plus one; 0 if the lease is lost. A row without parked events is held no more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
else
  -- A server that has lost its tail gives numbers out again.
  local found = redis.call('XRANGE', KEYS[4], ARGV[5], ARGV[5])[1]
  for i = 1, found and #found[2] or 0, 2 do
    if found[2][i] == 'event.id' and found[2][i + 1] == ARGV[6] then
      redis.call('XDEL', KEYS[4], ARGV[5])
      redis.call('HSET', KEYS[3], ARGV[3], 'retry 0')
    end
  end
end
local left = redis.call('XLEN', KEYS[4])
if left == 0 then
  redis.call('DEL', KEYS[4])
  redis.call('HDEL', KEYS[3], ARGV[3])
end
return left + 1
