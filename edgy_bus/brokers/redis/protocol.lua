-- Keeps the newest protocol that a program speaks, and the oldest that may take part. Neither falls.
-- Writes only what rises: a full server refuses writes, and answers all the same.
-- KEYS  protocol (hash: version, oldest)
-- ARGV  a program's version, its oldest
-- Answers [version, oldest] as they are kept now.
local function keep(field, number)
  local kept = tonumber(redis.call('HGET', KEYS[1], field)) or 0
  if tonumber(number) > kept then
    redis.call('HSET', KEYS[1], field, number)
    return tonumber(number)
  end
  return kept
end
return {keep('version', ARGV[1]), keep('oldest', ARGV[2])}
