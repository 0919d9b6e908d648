-- Store the newest protocol of all programs, and the oldest that may take part. Neither falls.
-- KEYS    protocol (string: version and oldest, with a space between)
-- ARGV    a program's version, its oldest
-- Answer  version, oldest: as they are stored now
-- Race    Two programs start at once, or an older program starts last. Compare and store in one
--         step. Only what rises is written: a full server refuses writes, and can answer. GET and
--         SET, because services and workers of older releases have the right to no other command.
local protocol = KEYS[1]
-- A key of another type is overwritten: nothing in a key may stop a program.
local stored = redis.pcall('GET', protocol)
if type(stored) ~= 'string' then stored = '' end
local version, oldest = string.match(stored, '^(%d+) (%d+)$')

version = math.max(tonumber(version) or 0, tonumber(ARGV[1]))
oldest = math.max(tonumber(oldest) or 0, tonumber(ARGV[2]))
local wanted = version .. ' ' .. oldest
if wanted ~= stored then redis.call('SET', protocol, wanted) end

return {'version', version, 'oldest', oldest}
