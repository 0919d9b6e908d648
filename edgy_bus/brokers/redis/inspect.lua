-- Tells a publisher where the stream stands, and makes an epoch where there is none.
-- KEYS  events, epoch
-- ARGV  the publisher's epoch, the entry of its head, a fresh epoch
-- Answers epoch, newest [entry, event id], the entries behind the head, the newest entry at or below the head.
local function landmark(found)
  if found then return {found[1], found[2][2]} end
  return {}
end
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  epoch = ARGV[3]
  redis.call('SET', KEYS[2], epoch)
end
local newest = landmark(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1])
local after, survivor = '-', {}
if epoch == ARGV[1] and ARGV[2] ~= '0-0' then
  after = '(' .. ARGV[2]
  survivor = landmark(redis.call('XREVRANGE', KEYS[1], ARGV[2], '-', 'COUNT', 1)[1])
end
local behind = {}
for _, found in ipairs(redis.call('XRANGE', KEYS[1], after, '+')) do behind[#behind + 1] = landmark(found) end
return {epoch, newest, behind, survivor}
