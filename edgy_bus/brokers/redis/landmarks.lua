-- More of what `inspect` began to tell, if the stream still is the one that it told of.
-- KEYS  events, epoch
-- ARGV  epoch, newest entry, its event id, the entry after which to go on, how many landmarks
-- Answers landmarks [entry, event id, the event's head], or false.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
local known = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not known or known[2][2] ~= ARGV[3] then return false end
local found = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[4], ARGV[2], 'COUNT', ARGV[5])) do
  found[#found + 1] = {entry[1], entry[2][2], entry[2][4] or ''}
end
return found
