-- Store the newest protocol of all programs, and the oldest that may take part. Neither falls.
-- KEYS    protocol (string: 'VERSION OLDEST')
-- ARGV    a program's version, its oldest
-- Answer  version, oldest: as they are stored now
-- Race    Two programs start at once, or an older program starts last. Compare and store in one
--         step. Only what rises is written: a full server refuses writes, and can answer.
local protocol = KEYS[1]
local version, oldest = tonumber(ARGV[1]), tonumber(ARGV[2])

-- GET and SET, because the rights that docs/security.md gave to services before this key was added
-- contain both: a rolling upgrade needs no other rights.
local stored_version, stored_oldest =
  string.match(redis.call('GET', protocol) or '', '^(%d+) (%d+)$')
stored_version, stored_oldest = tonumber(stored_version or 0), tonumber(stored_oldest or 0)

if version > stored_version or oldest > stored_oldest then
  version, oldest = math.max(version, stored_version), math.max(oldest, stored_oldest)
  redis.call('SET', protocol, version .. ' ' .. oldest)
  return {'version', version, 'oldest', oldest}
end
return {'version', stored_version, 'oldest', stored_oldest}
