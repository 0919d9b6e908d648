-- Acknowledges entries if the lease still holds. Nothing here grows, so that it works on a server that is full.
-- KEYS  events, lease, epoch, notes
-- ARGV  group, holder, epoch, entry ids
if redis.call('GET', KEYS[2]) ~= ARGV[2] or redis.call('GET', KEYS[3]) ~= ARGV[3] then return 0 end
for i = 4, #ARGV, 500 do
  local last = math.min(i + 499, #ARGV)
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, last))
  redis.call('HDEL', KEYS[4], unpack(ARGV, i, last))
end
return 1
