-- Tell a publisher how far every group is; or remove the entries below an entry, if no group has
-- gone back since the publisher asked.
-- KEYS    events, epoch
-- ARGV    epoch, entry and event id of the publisher's head, the beginning of every key of the
--         partition; to remove: the entry below which to remove, and alternating a group and the
--         entry below which it had finished everything
-- Answer  unfinished: group and its least unfinished entry, alternating; read: for the groups that
--         have finished what they read, group and its last entry, alternating; or removed: number
--         of entries; or refused: 'moved' or 'behind'
-- Race    The stream is lost and written anew. Its ids mean other events, and the publisher would
--         take them for confirmed. Or a receiver is set aside between two looks: neither its group
--         of all nor its own would count what it has not finished. Or an older copy of the data
--         comes back after the publisher asked, with the same head: its groups have not finished
--         what would be removed.
local events, epoch = unpack(KEYS)
local expected_epoch, expected_entry, expected_event, tag, below = unpack(ARGV)

if redis.call('GET', epoch) ~= expected_epoch then return {'refused', 'moved'} end
local head = redis.call('XRANGE', events, expected_entry, expected_entry)[1]
if not head or head[2][2] ~= expected_event then return {'refused', 'moved'} end

local groups = {}
for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  local pending, least = unpack(redis.call('XPENDING', events, group['name']))
  groups[group['name']] = {
    is_done = pending == 0, entry = pending > 0 and least or group['last-delivered-id']
  }
end
-- Ids in the order of their entries.
local function padded(id)
  return (string.gsub(id, '%d+', function(part) return string.rep('0', 20 - #part) .. part end))
end
-- Of two groups with the same entry, the one that has not finished the entry is behind.
local function is_behind(one, other)
  local entry, other_entry = padded(one.entry), padded(other.entry)
  return entry < other_entry or (entry == other_entry and not one.is_done)
end

-- With a right that services of earlier releases have.
local function receivers_aside(name)
  local names, cursor = {}, '0'
  repeat
    local page = redis.call('HSCAN', tag .. ':aside:' .. name, cursor)
    cursor = page[1]
    for i = 1, #page[2], 2 do names[#names + 1] = page[2][i] end
  until cursor == '0'
  return names
end

-- The entry below which a group has finished everything.
local function finished(group)
  if not group.is_done then return group.entry end
  local ms, seq = string.match(group.entry, '(%d+)-(%d+)')
  return ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
end
local before = {}
for i = 6, #ARGV, 2 do before[ARGV[i]] = ARGV[i + 1] end

local unfinished, read = {}, {}
for name, group in pairs(groups) do
  -- The groups of receivers that are set aside count as part of their group, and no others.
  if not string.find(name, '/', 1, true) then
    for _, receiver in ipairs(receivers_aside(name)) do
      -- A group that is missing has finished nothing.
      local own = groups[name .. '/' .. receiver] or {is_done = false, entry = '0-1'}
      if is_behind(own, group) then group = own end
    end
    if before[name] and padded(finished(group)) < padded(before[name]) then
      return {'refused', 'behind'}
    end
    local list = group.is_done and read or unfinished
    list[#list + 1] = name
    list[#list + 1] = group.entry
  end
end
if below then return {'removed', redis.call('XTRIM', events, 'MINID', '=', below)} end
return {'unfinished', unfinished, 'read', read}
