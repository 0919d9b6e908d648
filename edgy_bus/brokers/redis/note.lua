-- Keeps notes about entries for their next owner, if the lease still holds.
-- KEYS  lease, notes
-- ARGV  holder, then entry id and note
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
