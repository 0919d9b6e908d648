-- Takes a lease that nobody holds, with a token higher than any before.
-- KEYS  lease, fence
-- ARGV  owner, milliseconds
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token .. '.' .. ARGV[1], 'PX', ARGV[2])
return token
