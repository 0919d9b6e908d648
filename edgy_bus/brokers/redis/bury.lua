-- Keeps a dead letter and the note that says so in one step: a crash between them would bury the event twice.
-- KEYS  lease, epoch, notes, dead letters
-- ARGV  holder, epoch, how many were kept before; for each of them, and then for this one, its field among the notes and the event's id;
--       entry id, note, then the fields of the letter
-- Answers 0 if the lease is lost, or if the notes do not know what was kept before: the server was rolled back.
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
local own = 4 + 2 * tonumber(ARGV[3])
for i = 4, own - 1, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
if redis.call('HGET', KEYS[3], ARGV[own]) == ARGV[own + 1] then return 1 end
redis.call('XADD', KEYS[4], '*', unpack(ARGV, own + 4))
redis.call('HSET', KEYS[3], unpack(ARGV, own, own + 3))
return 1
