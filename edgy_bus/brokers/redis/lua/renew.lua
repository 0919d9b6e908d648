-- Extend a lease that is still held. PEXPIRE, because a server that is full refuses SET.
-- KEYS    lease
-- ARGV    holder, milliseconds
-- Answer  nothing; or refused: 'lost'
-- Race    A holder that slept past its lease wakes up and renews. The lease may belong to its
--         successor by then.
local lease = KEYS[1]
local holder, ttl = unpack(ARGV)

if redis.call('GET', lease) ~= holder then return {'refused', 'lost'} end
redis.call('PEXPIRE', lease, ttl)
return {}
