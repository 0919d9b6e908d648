-- Read a page of dead letters.
-- KEYS    dead letters
-- ARGV    the id after which to read, number of letters, bytes of letters after which the page
--         ends, '1' with the data of the events
-- Answer  letters: [id, size of the event, [field, value, ...]] of each; more: '1' if letters
--         follow
-- Race    A letter is added between two pages: the letter comes last, and is in a later page.
local dead = KEYS[1]
local after, count, most_bytes, with_data = unpack(ARGV)
count, most_bytes = tonumber(count), tonumber(most_bytes)

local function read(entry)
  local fields, size = {}, 0
  for i = 1, #entry[2], 2 do
    local name, value = entry[2][i], entry[2][i + 1]
    if string.sub(name, 1, 6) == 'event.' or name == 'more' then size = size + #value end
    if with_data == '1' or (name ~= 'event.data' and name ~= 'more') then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  return {entry[1], size, fields}, size
end

local letters, bytes, piece = {}, 0, 1
while #letters < count and bytes < most_bytes do
  piece = math.min(piece, count - #letters)
  local page = redis.call('XRANGE', dead, '(' .. after, '+', 'COUNT', piece)
  for _, entry in ipairs(page) do
    local letter, size = read(entry)
    letters[#letters + 1] = letter
    bytes, after = bytes + size, entry[1]
  end
  if #page == 0 then return {'letters', letters, 'more', '0'} end
  -- The first letter says how many may fit.
  local fit = math.floor((most_bytes - bytes) * #letters / math.max(1, bytes))
  piece = math.max(1, math.min(20, fit))
end
local following = redis.call('XRANGE', dead, '(' .. after, '+', 'COUNT', 1)
return {'letters', letters, 'more', tostring(#following)}
