-- Keeps notes about entries for their next owner, if the lease still holds.
-- KEYS  lease, epoch, notes
-- ARGV  holder, epoch, how many were kept; for each of them its field among the notes and the event's id; then entry id and note
-- Answers 0 if the lease is lost, or if the notes do not know what was kept: the server was rolled back.
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
local first = 4 + 2 * tonumber(ARGV[3])
for i = 4, first - 1, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
for i = first, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
return 1
