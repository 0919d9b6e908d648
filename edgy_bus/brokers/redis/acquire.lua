-- Takes a lease that nobody holds, with a token higher than any before, in the stream's epoch, which it begins if there is none.
-- KEYS  lease, fence, epoch
-- ARGV  owner, milliseconds, a fresh epoch
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
redis.call('SET', KEYS[3], ARGV[3], 'NX')
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token .. '.' .. ARGV[1], 'PX', ARGV[2])
return {token, redis.call('GET', KEYS[3])}
