-- Tells a publisher where the stream stands. A stream without an epoch gets one, and one that does not hold the publisher's head any
-- more gets another: what it appends from here on may have numbers that it gave out before.
-- KEYS  events, epoch
-- ARGV  the publisher's epoch, the entry of its head, the event id in it, a fresh epoch, how many landmarks
-- Answers epoch, newest landmark, the first ones behind the head, or of all the stream in another epoch than the publisher's. A landmark
-- is [entry, event id, the event's head].
local function landmark(found)
  if found then return {found[1], found[2][2], found[2][4] or ''} end
  return {}
end
local epoch = redis.call('GET', KEYS[2])
if epoch == ARGV[1] and ARGV[2] ~= '0-0' then
  local known = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
  if not known or known[2][2] ~= ARGV[3] then epoch = false end
end
if not epoch then
  epoch = ARGV[4]
  redis.call('SET', KEYS[2], epoch)
end
local newest = landmark(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1])
local after = '-'
if epoch == ARGV[1] and ARGV[2] ~= '0-0' then after = '(' .. ARGV[2] end
local behind = {}
for _, found in ipairs(redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', ARGV[5])) do
  behind[#behind + 1] = landmark(found)
end
return {epoch, newest, behind}
