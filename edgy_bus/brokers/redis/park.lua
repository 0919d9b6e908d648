-- Parks an event of a row that its receiver holds, behind those that are parked already, and keeps the note that says so in one step.
-- One that is kept already was parked by a call whose answer was lost. Another last one than expected means that some were lost.
-- KEYS  lease, epoch, notes, held rows, the row's parked events
-- ARGV  holder, epoch, how many were kept before; for each of them, and then for this one, its field among the notes and the event's id;
--       entry id, note, row, '1' if the row is held from now on, the last parked event ('0-0': none), then the fields of the event's letter
-- Answers the place of the last parked event; 0 if the lease is lost, 1 if another event is the last or the notes do not know what was kept
-- before, 2 if the row is not held (any more).
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
local own = 4 + 2 * tonumber(ARGV[3])
for i = 4, own - 1, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) ~= ARGV[i + 1] then return 1 end
end
local row, begin, after = ARGV[own + 4], ARGV[own + 5], ARGV[own + 6]
local last = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1]
last = last and last[1] or '0-0'
if redis.call('HGET', KEYS[3], ARGV[own]) == ARGV[own + 1] then return last end
if begin ~= '1' and not redis.call('HGET', KEYS[4], row) then return 2 end
if last ~= after then return 1 end
if begin == '1' then redis.call('HSET', KEYS[4], row, 'held') end
last = redis.call('XADD', KEYS[5], '*', unpack(ARGV, own + 7))
redis.call('HSET', KEYS[3], unpack(ARGV, own, own + 3))
return last
