-- Keeps notes about entries for their next owner, if the lease still holds.
-- KEYS  lease, epoch, notes
-- ARGV  holder, epoch, then entry id and note
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
return 1
