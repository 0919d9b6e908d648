-- List the receivers that a program has, forget those that no program had for long, and return the
-- list.
-- KEYS    receivers (hash: receiver to 'START SINCE SEEN FORGOTTEN SIGNAL...', times in
--         milliseconds, FORGOTTEN '0' for a receiver of the group; the empty name to the version
--         of the list)
-- ARGV    milliseconds after which a receiver is forgotten, milliseconds for which a group is new,
--         '1' to take over signals; then for each receiver: name, start ('': by the group's age),
--         signals with spaces between
-- Answer  now: milliseconds; version; added, dropped: names; receivers: names and values,
--         alternating
-- Race    Two programs of a new group start at once: both find no list, and the second would take
--         itself for a late-comer of an old group, or overwrite the first.
local receivers = KEYS[1]
local forget_after, new_for, begins = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local listed, is_new_group = {}, true
local flat = redis.call('HGETALL', receivers)
local version = 0
for i = 1, #flat, 2 do
  local name, text = flat[i], flat[i + 1]
  -- What has another form was written by another program, and counts for nothing.
  local start, since, seen, forgotten, signals = string.match(
    text, '^(%a+) (%d+) (%d+) (%d+) (.+)$'
  )
  if name == '' then
    version = tonumber(text) or 0
  elseif start then
    listed[name] = {
      start = start, since = tonumber(since), seen = tonumber(seen),
      forgotten = tonumber(forgotten), signals = signals
    }
    if tonumber(since) < now - new_for then is_new_group = false end
  end
end

-- A server that is full lets a script grow that has removed before.
redis.call('HDEL', receivers, '\n')
local added, dropped, is_changed = {}, {}, false
local function write(name)
  local each = listed[name]
  redis.call('HSET', receivers, name, string.format(
    '%s %d %d %d %s', each.start, each.since, each.seen, each.forgotten, each.signals
  ))
end

for i = 4, #ARGV, 3 do
  local name, start, signals = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local each = listed[name]
  if not each or each.forgotten > 0 then
    if start == '' then start = is_new_group and 'kept' or 'now' end
    each = {start = start, since = now, signals = signals}
    listed[name] = each
    added[#added + 1] = name
    is_changed = true
  elseif begins and each.signals ~= signals then
    each.signals = signals
    is_changed = true
  end
  each.seen, each.forgotten = now, 0
  write(name)
end
for name, each in pairs(listed) do
  if each.forgotten == 0 and each.seen < now - forget_after then
    each.forgotten = now
    write(name)
    dropped[#dropped + 1] = name
    is_changed = true
  end
end
if is_changed then
  -- By the clock: a list that is lost and made again has another version.
  version = math.max(version + 1, now)
  redis.call('HSET', receivers, '', string.format('%d', version))
end

local rows = {}
for name, each in pairs(listed) do
  rows[#rows + 1] = name
  rows[#rows + 1] = string.format(
    '%s %d %d %d %s', each.start, each.since, each.seen, each.forgotten, each.signals
  )
end
return {
  'now', now, 'version', string.format('%d', version), 'added', added, 'dropped', dropped,
  'receivers', rows
}
