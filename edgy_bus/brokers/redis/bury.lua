-- Keeps a dead letter and the note that says so in one step: a crash between them would bury the event twice.
-- The same note again means that the answer to the first call was lost.
-- KEYS  lease, notes, dead letters
-- ARGV  holder, entry id, note, then the fields of the letter
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then return 1 end
redis.call('XADD', KEYS[3], '*', unpack(ARGV, 4))
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
