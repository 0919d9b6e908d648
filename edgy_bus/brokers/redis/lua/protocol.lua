-- Store the newest protocol of all programs, and the oldest that may take part. Neither falls.
-- KEYS    protocol (hash: version, oldest)
-- ARGV    a program's version, its oldest
-- Answer  version, oldest: as they are stored now
-- Race    Two programs start at once, or an older program starts last. Compare and store in one
--         step. Only what rises is written: a full server refuses writes, and can answer.
local protocol = KEYS[1]
local version, oldest = unpack(ARGV)

local function rise(field, number)
  local stored = tonumber(redis.call('HGET', protocol, field)) or 0
  if tonumber(number) <= stored then return stored end
  redis.call('HSET', protocol, field, number)
  return tonumber(number)
end

return {'version', rise('version', version), 'oldest', rise('oldest', oldest)}
