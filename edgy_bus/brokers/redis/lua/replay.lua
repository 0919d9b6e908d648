-- Move dead letters of a row to the end of the row's parked events, and let the owner of the
-- partition handle these events.
-- KEYS    held rows, the row's parked events, dead letters
-- ARGV    row; then the ids of the letters, in the order in which to handle them
-- Answer  moved: number of letters; or refused: 'waits' if the row waits for a decision
-- Race    Two operators replay the same letter, or one repeats a call whose answer was lost: the
--         letter is moved in one step, and whoever comes second finds the letter gone. The owner
--         ends the hold of the row between a look and the append: the letter would be parked behind
--         nothing.
local held, parked, dead = unpack(KEYS)
local row = ARGV[1]

local state = redis.call('HGET', held, row)
if state and not string.find(state, '^retry') then return {'refused', 'waits'} end
redis.call('XLEN', parked)
local moved = 0
for i = 2, #ARGV do
  local letter = redis.call('XRANGE', dead, ARGV[i], ARGV[i])[1]
  if letter then
    -- A server that is full lets a script grow that has deleted before.
    redis.call('XDEL', dead, ARGV[i])
    -- Lua's stack bounds the number of arguments. No letter has as many fields.
    local count = math.min(#letter[2], 1000)
    redis.call('XADD', parked, '*', 'replayed', '1', unpack(letter[2], 1, count))
    moved = moved + 1
  end
end
if moved > 0 and not state then redis.call('HSET', held, row, 'retry 0') end
return {'moved', moved}
