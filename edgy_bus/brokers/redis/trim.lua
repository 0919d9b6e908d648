-- Removes what lies below an entry, if the stream is still the one that the publisher knows.
-- KEYS  events, epoch
-- ARGV  epoch, entry of the publisher's head, its event id, the entry below which to remove
-- Answers how many entries are gone.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local known = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not known or known[2][2] ~= ARGV[3] then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[4])
