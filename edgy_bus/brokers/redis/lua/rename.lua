-- Let a receiver of a group be known by another name as well.
-- KEYS    receivers (as in enlist.lua), names (hash: other name to the name in the list)
-- ARGV    receiver, its other name; its own name: it has no other name any more
-- Answer  nothing; or refused: 'unknown' without such a receiver, 'taken' if the group has a
--         receiver of the other name, or with it as another name; a name of a forgotten receiver
--         is free
-- Race    A program that has a receiver of the other name lists it between a look and the write.
local receivers, names, name, other = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

local function is_listed(receiver)
  local text = redis.call('HGET', receivers, receiver) or ''
  return receiver ~= '' and string.match(text, '^%a+ %d+ %d+ 0 .+$') ~= nil
end
if not is_listed(name) then return {'refused', 'unknown'} end
if other ~= name then
  local known = redis.call('HGET', names, other) or name
  if is_listed(other) or (known ~= name and is_listed(known)) then return {'refused', 'taken'} end
  redis.call('HSET', names, other, name)
  return {}
end
local flat = redis.call('HGETALL', names)
for i = 1, #flat, 2 do
  if flat[i + 1] == name then redis.call('HDEL', names, flat[i]) end
end
return {}
