-- Look for entries whose event header contains a text.
-- KEYS    events
-- ARGV    text, entry behind which to begin ('': at the end of the stream), number of entries,
--         bytes of entries after which the page ends, entries of one read, '1' backwards
-- Answer  landmarks: [entry id, event id, header] of the entries that match; last: the last entry
--         that was looked at ('': there was none); looked_at: number of entries
-- Race    Entries are appended or trimmed between two pages: what was trimmed is missing, and what
--         was appended comes last. No entry of the stream is passed over.
local events = KEYS[1]
local text, start, count, most_bytes, piece, backwards = unpack(ARGV)
count, most_bytes, piece = tonumber(count), tonumber(most_bytes), tonumber(piece)

local function read(number)
  if backwards == '1' then
    local bound = start == '' and '+' or '(' .. start
    return redis.call('XREVRANGE', events, bound, '-', 'COUNT', number)
  end
  return redis.call('XRANGE', events, start == '' and '-' or '(' .. start, '+', 'COUNT', number)
end

local landmarks, looked_at, bytes, last = {}, 0, 0, ''
while looked_at < count and bytes < most_bytes do
  local page = read(math.min(piece, count - looked_at))
  for _, entry in ipairs(page) do
    local header = entry[2][4] or ''
    if string.find(header, text, 1, true) then
      landmarks[#landmarks + 1] = {entry[1], entry[2][2], header}
    end
    for i = 2, #entry[2], 2 do bytes = bytes + #entry[2][i] end
    last = entry[1]
  end
  looked_at = looked_at + #page
  if #page == 0 then break end
  start = last
end
return {'landmarks', landmarks, 'last', last, 'looked_at', looked_at}
