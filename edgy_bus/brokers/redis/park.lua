-- Parks an event of a row that its receiver holds, behind those that are parked already, and keeps the note that says so in one step.
-- The same note again means that the answer to the first call was lost. Another last one than expected means that some were lost.
-- KEYS  lease, epoch, notes, held rows, the row's parked events
-- ARGV  holder, epoch, entry id, note, row, '1' if the row is held from now on, the last parked event ('0-0': none), then the fields of
--       the event's letter
-- Answers the place of the last parked event; 0 if the lease is lost, 1 if another event is the last, 2 if the row is not held (any more).
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
local last = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1]
last = last and last[1] or '0-0'
if redis.call('HGET', KEYS[3], ARGV[3]) == ARGV[4] then return last end
if ARGV[6] ~= '1' and not redis.call('HGET', KEYS[4], ARGV[5]) then return 2 end
if last ~= ARGV[7] then return 1 end
if ARGV[6] == '1' then redis.call('HSET', KEYS[4], ARGV[5], 'held') end
last = redis.call('XADD', KEYS[5], '*', unpack(ARGV, 8))
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
return last
