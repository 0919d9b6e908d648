-- List a relay, by the server's clock, and remove relays whose time has run out.
-- KEYS    relays (hash: relay to milliseconds until which its line counts, milliseconds since which
--         it leads or stands by, and its card)
-- ARGV    relay, milliseconds that the line counts, milliseconds for which the relay has led or
--         stood by, card
-- Answer  nothing
-- Race    A relay that slept lists itself while another removes its line, which has run out. The
--         look at the line and its removal are one step.
local relays = KEYS[1]
local relay, ttl, age, card = unpack(ARGV)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A server that is full lets a script grow that has removed before.
redis.call('HDEL', relays, relay)
local lines = redis.call('HGETALL', relays)
for i = 1, #lines, 2 do
  local ends = tonumber(string.match(lines[i + 1], '^(%d+) %d+ '))
  if ends and ends <= now then redis.call('HDEL', relays, lines[i]) end
end
redis.call('HSET', relays, relay, string.format('%.0f %.0f %s', now + ttl, now - age, card))
return {}
