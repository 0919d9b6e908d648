-- Record the number of partitions of a model. The first declaration decides.
-- KEYS    models
-- ARGV    model, number, the greatest number of any release
-- Answer  partitions: the recorded number
-- Race    Two relays declare different numbers at once: look and record are one step.
local models = KEYS[1]
local model, partitions, greatest = unpack(ARGV)

local declared = redis.call('HGET', models, model)
-- Anything but a number of partitions was written by another program.
local number = declared and string.match(declared, '^[1-9]%d*$') and tonumber(declared)
if not number or number > tonumber(greatest) then
  declared = partitions
  -- A server that is full lets a script grow that has removed before.
  redis.call('HDEL', models, model)
  redis.call('HSET', models, model, declared)
end
return {'partitions', declared}
