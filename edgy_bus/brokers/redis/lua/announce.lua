-- Append events without any promise, and remove the oldest entries beyond a number of bytes.
-- KEYS    events, size
-- ARGV    bytes to keep; then for every event: id, header, data, signature ('': none)
-- Answer  dropped: number of removed entries that some group had not read
-- Race    Somebody else removes entries, or a program of an older release appends. So the size is
--         kept together with the number of entries, and measured again when the number differs.
local events, size = unpack(KEYS)
local budget = tonumber(ARGV[1])
local page = 20

local function bytes_of(entry)
  local bytes = 0
  for i = 2, #entry[2], 2 do bytes = bytes + #entry[2][i] end
  return bytes
end

local function parts(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(seq)
end

local function least_read()
  local least_ms, least_seq
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', events)) do
    for i = 1, #row, 2 do
      if row[i] == 'last-delivered-id' then
        local ms, seq = parts(row[i + 1])
        if not least_ms or ms < least_ms or (ms == least_ms and seq < least_seq) then
          least_ms, least_seq = ms, seq
        end
      end
    end
  end
  return least_ms, least_seq
end

local function unread_below(id)
  local ms, seq = least_read()
  if not ms then return 0 end
  local unread, after = 0, string.format('(%.0f-%.0f', ms, seq)
  while true do
    local entries = redis.call('XRANGE', events, after, '(' .. id, 'COUNT', page)
    unread = unread + #entries
    if #entries < page then return unread end
    after = '(' .. entries[#entries][1]
  end
end

-- The newest entries that fit are measured, and the entries before them are removed.
local function measured()
  local total, last = 0, '+'
  while true do
    local entries = redis.call('XREVRANGE', events, last, '-', 'COUNT', page)
    for _, entry in ipairs(entries) do
      total = total + bytes_of(entry)
      if total > budget then
        local unread = unread_below(entry[1])
        redis.call('XTRIM', events, 'MINID', '=', entry[1])
        return total, unread
      end
    end
    if #entries < page then return total, 0 end
    last = '(' .. entries[#entries][1]
  end
end

local dropped = 0
local count, total = string.match(redis.call('GET', size) or '', '^(%d+) (%d+)$')
if tonumber(count) == redis.call('XLEN', events) then
  total = tonumber(total)
else
  total, dropped = measured()
end

for i = 2, #ARGV, 4 do
  local event, header, data, signature = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if signature == '' then
    redis.call('XADD', events, '*', 'id', event, 'head', header, 'data', data)
  else
    redis.call('XADD', events, '*', 'id', event, 'head', header, 'data', data, 'sig', signature)
  end
  total = total + #event + #header + #data + #signature
end

if total > budget then
  local read_ms, read_seq = least_read()
  local function is_unread(ms, seq)
    return read_ms and (ms > read_ms or (ms == read_ms and seq > read_seq))
  end
  while total > budget do
    local last_ms, last_seq
    for _, entry in ipairs(redis.call('XRANGE', events, '-', '+', 'COUNT', page)) do
      if total <= budget then break end
      total = total - bytes_of(entry)
      last_ms, last_seq = parts(entry[1])
      if is_unread(last_ms, last_seq) then dropped = dropped + 1 end
    end
    if not last_ms then break end
    redis.call('XTRIM', events, 'MINID', '=', string.format('%.0f-%.0f', last_ms, last_seq + 1))
  end
end
redis.call('SET', size, string.format('%d %d', redis.call('XLEN', events), total))
return {'dropped', dropped}
