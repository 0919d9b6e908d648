-- Keeps a dead letter and the note that says so in one step: a crash between them would bury the event twice.
-- The same note again means that the answer to the first call was lost.
-- KEYS  lease, epoch, notes, dead letters
-- ARGV  holder, epoch, entry id, note, then the fields of the letter
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
if redis.call('HGET', KEYS[3], ARGV[3]) == ARGV[4] then return 1 end
redis.call('XADD', KEYS[4], '*', unpack(ARGV, 5))
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
return 1
