-- Describe a stream and its groups.
-- KEYS    events
-- ARGV    the beginning of every key of the partition
-- Answer  now: milliseconds of the server's clock; entries: number; size: bytes of memory, -1 if
--         unknown; groups: [name, unfinished entries, unread entries (-1: unknown), oldest entry
--         that is not finished (''), dead letters, held rows, holder of the lease (''), entries
--         that were ever read (-1: unknown), dead letters that limits removed] of each
-- Race    An entry is read between a look at unread and a look at unfinished entries, and would be
--         seen by neither.
local events = KEYS[1]
local tag = ARGV[1]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', events) == 0 then
  return {'now', now, 'entries', 0, 'size', 0, 'groups', {}}
end

-- The keys of a group may have values of another type, which other programs have written, and which
-- count as nothing. Other errors are the answer.
local failure
local function look(command, key, nothing)
  local answer = redis.pcall(command, key)
  if type(answer) ~= 'table' then return answer or nothing end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then failure = answer end
  return nothing
end

local function oldest_of(name, pending, last, unread)
  if pending > 0 then return redis.call('XPENDING', events, name)[2] end
  if unread == 0 then return '' end
  local entry = redis.call('XRANGE', events, '(' .. last, '+', 'COUNT', 1)[1]
  return entry and entry[1] or ''
end

local groups = {}
for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  local name, pending, unread = group['name'], group['pending'], group['lag'] or -1
  local oldest = oldest_of(name, pending, group['last-delivered-id'], unread)
  if unread == -1 and pending == 0 and oldest == '' then unread = 0 end
  groups[#groups + 1] = {
    name, pending, unread, oldest, look('XLEN', tag .. ':dead:' .. name, 0),
    look('HLEN', tag .. ':held:' .. name, 0), look('GET', tag .. ':lease:' .. name, ''),
    group['entries-read'] or -1, tonumber(look('GET', tag .. ':removed:' .. name, '0')) or 0
  }
end
if failure then return failure end
-- Optional: a user without this right sees no sizes.
local size = redis.pcall('MEMORY', 'USAGE', events)
return {
  'now', now, 'entries', redis.call('XLEN', events), 'size', type(size) == 'number' and size or -1,
  'groups', groups
}
