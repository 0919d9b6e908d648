-- Give back a lease that is still held.
-- KEYS    lease
-- ARGV    holder
-- Answer  nothing; or refused: 'lost'
-- Race    A holder that slept past its lease wakes up and gives back a lease that its successor
--         holds by then.
local lease, holder = KEYS[1], ARGV[1]

if redis.call('GET', lease) ~= holder then return {'refused', 'lost'} end
redis.call('DEL', lease)
return {}
