-- End the pause of a group, or of one receiver of the group.
-- KEYS    paused (as in pause.lua)
-- ARGV    receiver ('': the group)
-- Answer  paused: 1 if there was a pause that had not ended
-- Race    A pause that has ended by the clock stays in the hash; only the server knows the time.
local paused, receiver = KEYS[1], ARGV[1]

local ends = tonumber(string.match(redis.call('HGET', paused, receiver) or '', '^%d+'))
redis.call('HDEL', paused, receiver)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {'paused', (ends and (ends == 0 or ends > now)) and 1 or 0}
