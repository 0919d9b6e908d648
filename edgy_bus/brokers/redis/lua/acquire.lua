-- Take a lease that has no holder, with a token above the tokens of all former tenures.
-- KEYS    lease, fence, epoch
-- ARGV    owner, milliseconds, a fresh epoch for a stream that has no epoch
-- Answer  token, epoch; or refused: 'taken'
-- Race    Two workers find a free lease at the same moment. Check, token and lease are one step:
--         the second worker is refused, and a former holder that wakes up has a lower token.
local lease, fence, epoch = unpack(KEYS)
local owner, ttl, fresh_epoch = unpack(ARGV)

if redis.call('EXISTS', lease) == 1 then return {'refused', 'taken'} end
redis.call('SET', epoch, fresh_epoch, 'NX')
local token = redis.call('INCR', fence)
redis.call('SET', lease, token .. '.' .. owner, 'PX', ttl)
return {'token', token, 'epoch', redis.call('GET', epoch)}
