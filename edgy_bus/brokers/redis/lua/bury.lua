-- Save a dead letter, and its proof among the notes. Remove and count the oldest letters that the
-- limits of the group do not keep.
-- KEYS    lease, epoch, notes, dead letters, number of letters that were removed
-- ARGV    holder, epoch, the tenure's last confirmed write, milliseconds for which letters are kept
--         (0: for ever), the most letters (0: any number), the most that are removed, entry id, the
--         letter's proof: field among the notes ('ENTRY RECEIVER') and event id, number of earlier
--         proofs; then field and event id of every earlier proof; then the fields of the letter
-- Answer  writes: the number of this write, removed: number of letters; or refused: 'lost', or
--         'rolled_back' if the confirmed write or an earlier proof is missing
-- Race    A crash between the letter and the note would bury the event twice, and so would a
--         repeated call whose first answer was lost. A crash between the removal and the count
--         would lose letters silently.
local lease, epoch, notes, dead, removed = unpack(KEYS)
local holder, expected_epoch, confirmed = unpack(ARGV, 1, 3)
local age, most, most_removed = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local entry, proof, event, proofs = unpack(ARGV, 7, 10)
local letter = 11 + 2 * proofs
-- Bytes of old letters after which no more are looked at: the look copies them.
local most_bytes = 1000000

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
for i = 11, letter - 1, 2 do
  if redis.call('HGET', notes, ARGV[i]) ~= ARGV[i + 1] then return {'refused', 'rolled_back'} end
end
if redis.call('HGET', notes, proof) == event then return {'writes', writes, 'removed', 0} end

-- The letters that are too old, one after another: a letter may be large.
local function count_old()
  if age == 0 then return 0 end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local last = string.format('%.0f', math.max(0, now - age))
  local count, bytes, after = 0, 0, '-'
  while count < most_removed and bytes < most_bytes do
    local oldest = redis.call('XRANGE', dead, after, last, 'COUNT', 1)[1]
    if not oldest then break end
    count, after = count + 1, '(' .. oldest[1]
    for i = 2, #oldest[2], 2 do bytes = bytes + #oldest[2][i] end
  end
  return count
end

local letters, excess = redis.call('XLEN', dead), count_old()
if most > 0 then excess = math.max(excess, math.min(letters + 1 - most, most_removed)) end
if excess > 0 then
  local before = tonumber(redis.call('GET', removed)) or 0
  -- With the new letter, and not by XTRIM or XDEL: a worker has the right to append alone.
  redis.call('XADD', dead, 'MAXLEN', letters + 1 - excess, '*', unpack(ARGV, letter))
  redis.call('SET', removed, before + excess)
else
  redis.call('XADD', dead, '*', unpack(ARGV, letter))
end
-- What is kept has fields of its own: a note that is under way cannot undo it.
local names = redis.call('HGET', notes, entry .. ' *kept')
local receiver = string.sub(proof, #entry + 2)
names = names and names .. '\n' .. receiver or receiver
redis.call('HSET', notes, proof, event, entry .. ' *kept', names, 'writes', writes + 1)
return {'writes', writes + 1, 'removed', excess}
