-- Acknowledges entries if the lease still holds. Nothing here grows, so that it works on a server that is full.
-- KEYS  events, lease, epoch, notes
-- ARGV  group, holder, epoch, how many were kept; for each of them its entry id, its field among the notes and the event's id; then entry ids
-- Answers 0 if the lease is lost, or if an unfinished entry was kept and the notes do not know it: the server was rolled back.
if redis.call('GET', KEYS[2]) ~= ARGV[2] or redis.call('GET', KEYS[3]) ~= ARGV[3] then return 0 end
local first = 5 + 3 * tonumber(ARGV[4])
for i = 5, first - 1, 3 do
  -- What is not pending was acknowledged before, by a call whose answer was lost. A group that is gone has nothing pending.
  if redis.call('HGET', KEYS[4], ARGV[i + 1]) ~= ARGV[i + 2]
    and redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1] then return 0 end
end
for i = 5, first - 1, 3 do redis.call('HDEL', KEYS[4], ARGV[i + 1]) end
for i = first, #ARGV, 500 do
  local last = math.min(i + 499, #ARGV)
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, last))
  redis.call('HDEL', KEYS[4], unpack(ARGV, i, last))
end
return 1
