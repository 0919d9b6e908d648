-- Forget a receiver of a group.
-- KEYS    receivers (as in enlist.lua)
-- ARGV    receiver
-- Answer  nothing; or refused: 'unknown'
-- Race    A program that has the receiver lists it as seen between a look and the write: its line
--         would be overwritten with an older one.
local receivers, name = KEYS[1], ARGV[1]

local text = redis.call('HGET', receivers, name) or ''
local head, signals = string.match(text, '^(%a+ %d+ %d+) 0 (.+)$')
if name == '' or not head then return {'refused', 'unknown'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = math.max((tonumber(redis.call('HGET', receivers, '') or '') or 0) + 1, now)
redis.call(
  'HSET', receivers, name, string.format('%s %d %s', head, now, signals),
  '', string.format('%d', version)
)
return {}
