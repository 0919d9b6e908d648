-- Before a tenure reads: set the receivers aside that the tenure leaves out, and take those back
-- that have caught up. A receiver that is set aside has a consumer group of its own on the same
-- stream, GROUP/RECEIVER.
-- KEYS    events, lease, epoch, notes, aside (hash: receiver to 'STATE EPOCH ENTRY SINCE REASON'),
--         here (hash: receiver to 'EPOCH FLOOR'; the empty name to the time of the first call)
-- ARGV    group, holder, epoch, the tenure's last confirmed write, the beginning of every key of
--         the partition, '1' if receivers may be set aside, entries that are moved at most,
--         milliseconds by which a new receiver may be listed before the first call, milliseconds
--         by which a receiver that is near is behind at most, number of receivers that take part,
--         number of receivers that are left out; then name, start, time of listing, and why it
--         would be set aside, of each; then the names of receivers that are forgotten
-- Answer  aside: names; floors: name and floor, alternating; set_aside, returned: names, of this
--         call; dropped: names and unfinished entries (-1: unknown), alternating; more: 1 if the
--         script is to be called again before anything is read; near: 1 if a receiver comes back as
--         soon as nothing is read; writes: the number of this write; or refused: 'lost', or
--         'rolled_back' if the confirmed write is missing
-- State   moving: unfinished entries up to ENTRY are in the receiver's own group, which nobody
--         reads; aside: the own group is complete since it stood at ENTRY; due: as aside, and the
--         owner of the partition wants the receiver back.
-- Race    A program without the receiver takes the partition while another program learns of the
--         receiver: every receiver that was here counts as left out, also if the caller has never
--         heard its name. And two tenures, of the group and of the receiver, must never both call
--         the receiver: it comes back only when the lease of its own group is free.
local events, lease, epoch, notes, aside, here = unpack(KEYS)
local group, holder, expected_epoch, confirmed, tag = unpack(ARGV, 1, 5)
local sets_aside, page, slack = ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])
local near, taking_part, left_out = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local most_bytes = 4000000

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function read(hash)
  local values, flat = {}, redis.call('HGETALL', hash)
  for i = 1, #flat, 2 do values[flat[i]] = flat[i + 1] end
  return values
end
local states, floors = {}, read(here)
for name, text in pairs(read(aside)) do
  local state, of_epoch, entry, since, why = string.match(
    text, '^(%a+) (%S+) (%d+%-%d+) (%d+) (.*)$'
  )
  if state then
    states[name] = {state = state, epoch = of_epoch, entry = entry, since = since, reason = why}
  end
end
local established = tonumber(floors[''])
floors[''] = nil

local pending = redis.pcall('XPENDING', events, group)
if pending.err then
  if not string.find(pending.err, 'NOGROUP', 1, true) then return redis.error_reply(pending.err) end
  -- A server that is full lets a script grow that has acknowledged before, were it nothing.
  redis.call('XACK', events, group, '0-0')
  redis.call('XGROUP', 'CREATE', events, group, '0', 'MKSTREAM')
  -- All entries come again. A proof of before would keep an event from being parked behind an
  -- earlier event of its row, which is parked anew.
  local before = redis.call('HGET', notes, 'writes')
  redis.call('DEL', notes)
  if before then redis.call('HSET', notes, 'writes', before) end
end
local function groups()
  local infos = {}
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    local info = {}
    for i = 1, #row, 2 do info[row[i]] = row[i + 1] end
    infos[info['name']] = info
  end
  return infos
end
local infos = groups()
local position = infos[group]['last-delivered-id']

-- Ids in the order of their entries.
local function padded(id)
  return (string.gsub(id, '%d+', function(part) return string.rep('0', 20 - #part) .. part end))
end
local function role_of(name) return group .. '/' .. name end
local function notes_of(name) return tag .. ':notes:' .. role_of(name) end
local function floor_of(name)
  local of_epoch, floor = string.match(floors[name] or '', '^(%S+) (%d+%-%d+)$')
  return of_epoch == expected_epoch and floor or '0-0'
end

local is_new = {}
local is_changed, answer = false, {set_aside = {}, returned = {}, dropped = {}}
local function save(name, state)
  states[name] = state
  redis.call('HSET', aside, name, string.format(
    '%s %s %s %s %s', state.state, state.epoch, state.entry, state.since, state.reason
  ))
  is_changed = true
end
local function take_part(name, floor)
  floors[name] = expected_epoch .. ' ' .. floor
  redis.call('HSET', here, name, floors[name])
  is_changed = true
end
-- `entry` is up to where the receiver has nothing unfinished in the group.
local function set_aside(name, state, at, entry, why)
  -- What an older copy of the data has brought back.
  if infos[role_of(name)] then redis.call('XGROUP', 'DESTROY', events, role_of(name)) end
  redis.call('DEL', notes_of(name))
  redis.call('XGROUP', 'CREATE', events, role_of(name), at)
  is_new[name] = true
  redis.call('HDEL', here, name)
  floors[name] = nil
  save(name, {
    state = state, epoch = expected_epoch, entry = entry, since = string.format('%d', now),
    reason = why
  })
  table.insert(answer.set_aside, name)
end
local function remove(name)
  redis.call('XGROUP', 'DESTROY', events, role_of(name))
  redis.call('DEL', notes_of(name))
  redis.call('HDEL', aside, name)
  states[name] = nil
  is_changed = true
end

-- A server that is full lets a script grow that has removed before.
redis.call('HDEL', here, '\n')

-- Whether a receiver that the partition does not know begins with the oldest entry.
local function begins_with_kept(start, since)
  return start == 'kept' and tonumber(since) >= established - slack
end

local is_near = false
local function ms_of(id) return tonumber(string.match(id, '^%d+')) end
local function bring_back(name)
  local state, info = states[name], infos[role_of(name)]
  if state.state == 'moving' then return end
  if state.state == 'aside' then
    state.state = 'due'
    save(name, state)
  end
  if not info then return end
  if padded(info['last-delivered-id']) < padded(position) then
    is_near = is_near or ms_of(position) - ms_of(info['last-delivered-id']) < near
    return
  end
  if info['pending'] > 0 or redis.call('EXISTS', tag .. ':lease:' .. role_of(name)) == 1 then
    is_near = true
    return
  end
  remove(name)
  take_part(name, info['last-delivered-id'])
  table.insert(answer.returned, name)
end

-- The receivers that take part
local mentioned, at = {}, 12
for _ = 1, taking_part do
  local name, start, since, reason = unpack(ARGV, at, at + 3)
  at, mentioned[name] = at + 4, true
  if states[name] then
    bring_back(name)
  elseif not floors[name] and sets_aside then
    if not established then
      take_part(name, '0-0')
    elseif not begins_with_kept(start, since) then
      take_part(name, position)
    elseif position == '0-0' then
      take_part(name, '0-0')
    else
      set_aside(name, 'due', '0', '0-0', reason)
    end
  end
end

-- The receivers that are left out
local function leave_out(name, reason)
  local state = states[name]
  if state then
    if state.state == 'due' then
      state.state = 'aside'
      save(name, state)
    end
  elseif sets_aside then
    local floor = floor_of(name)
    -- A receiver that came back may have finished more than its group has read.
    local from = padded(floor) > padded(position) and floor or position
    set_aside(name, 'moving', from, floor, reason)
  end
end
for _ = 1, left_out do
  local name, start, since, reason = unpack(ARGV, at, at + 3)
  at, mentioned[name] = at + 4, true
  if states[name] or floors[name] or not established then
    leave_out(name, reason)
  elseif sets_aside then
    local from = begins_with_kept(start, since) and '0-0' or position
    set_aside(name, 'aside', from, from, reason)
  end
end
for i = at, #ARGV do
  local name = ARGV[i]
  mentioned[name] = true
  local info = states[name] and infos[role_of(name)]
  if states[name] then
    local unread = info and info['lag'] or -1
    table.insert(answer.dropped, name)
    table.insert(answer.dropped, info and unread >= 0 and info['pending'] + unread or -1)
    remove(name)
  end
  if floors[name] then
    redis.call('HDEL', here, name)
    floors[name], is_changed = nil, true
  end
end
for name in pairs(floors) do
  if not mentioned[name] then leave_out(name, 'missing') end
end
if not established and sets_aside then
  redis.call('HSET', here, '', string.format('%d', now))
  is_changed = true
end

-- The receivers whose unfinished entries are in the group
local function has_finished(name, id)
  local proof, note = unpack(redis.call('HMGET', notes, id .. ' ' .. name, id))
  local readable, states_of = pcall(cjson.decode, note or '')
  local state = readable and type(states_of) == 'table' and type(states_of[2]) == 'table'
    and states_of[2][name]
  local is_done = type(state) == 'table' and state[3] == true
  if not proof and not is_done then return false, 0 end
  -- The id may have belonged to a lost event.
  local entry, bytes = redis.call('XRANGE', events, id, id)[1], 0
  if not entry then return false, 0 end
  for i = 2, #entry[2], 2 do bytes = bytes + #entry[2][i] end
  local event = entry[2][2]
  return proof == event or (is_done and states_of[1] == event), bytes, note
end
local function move(name, state)
  local after = state.epoch == expected_epoch and state.entry or '0-0'
  if not infos[role_of(name)] and not is_new[name] then
    -- The own group was deleted while nobody could read it. What was moved moves again.
    redis.call('XGROUP', 'CREATE', events, role_of(name), position)
    after = '0-0'
  end
  local rows = redis.call('XPENDING', events, group, '(' .. after, '+', page)
  local moved, bytes = 0, 0
  while moved < #rows and bytes < most_bytes do
    moved = moved + 1
    local id, times = rows[moved][1], rows[moved][4]
    local finished, size = has_finished(name, id)
    bytes, after = bytes + size, id
    if not finished then
      redis.call(
        'XCLAIM', events, role_of(name), 'aside', 0, id, 'RETRYCOUNT', times, 'FORCE', 'JUSTID'
      )
      local note = redis.call('HGET', notes, id)
      if note then redis.call('HSET', notes_of(name), id, note) end
    end
  end
  state.epoch, state.entry = expected_epoch, after
  if moved == #rows and #rows < page then state.state, state.entry = 'aside', position end
  save(name, state)
end
-- One receiver and one page at a time.
local moves, more = false, 0
for name, state in pairs(states) do
  if state.state == 'moving' and not moves then
    moves = true
    move(name, state)
  end
  if state.state == 'moving' then more = 1 end
end

local names, listed = {}, {}
for name in pairs(states) do names[#names + 1] = name end
for name in pairs(floors) do
  local floor = floor_of(name)
  if floor ~= '0-0' then
    listed[#listed + 1] = name
    listed[#listed + 1] = floor
  end
end
if is_changed then
  writes = writes + 1
  redis.call('HSET', notes, 'writes', writes)
end
return {
  'aside', names, 'floors', listed, 'set_aside', answer.set_aside, 'returned', answer.returned,
  'dropped', answer.dropped, 'more', more, 'near', is_near and 1 or 0, 'writes', writes
}
