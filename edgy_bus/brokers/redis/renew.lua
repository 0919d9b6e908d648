-- Prolongs a lease that is still held. PEXPIRE, because SET is refused on a server that is full.
-- KEYS  lease
-- ARGV  holder, milliseconds
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
