-- Save notes about entries for the next owner.
-- KEYS    lease, epoch, notes
-- ARGV    holder, epoch, the tenure's last confirmed write, the number of these notes, number of
--         proofs; then for every proof: its field among the notes ('ENTRY RECEIVER'), event id;
--         then entry id and note of each
-- Answer  writes: the number of this write; or refused: 'lost', or 'rolled_back' if the confirmed
--         write or a proof is missing
-- Race    A former owner wakes up and overwrites the notes of its successor. Or a failover loses a
--         parked event: notes that call the event finished would keep the next owner from parking
--         the event again. Or a call that got no answer in time is executed after a later call: a
--         note with a smaller number than the saved note is left out.
local lease, epoch, notes = unpack(KEYS)
local holder, expected_epoch, confirmed, number, proofs = unpack(ARGV, 1, 5)
local first = 6 + 2 * proofs

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
for i = 6, first - 1, 2 do
  if redis.call('HGET', notes, ARGV[i]) ~= ARGV[i + 1] then return {'refused', 'rolled_back'} end
end

local function is_outdated(entry)
  local saved = redis.call('HGET', notes, entry .. ' *number') or ''
  local by, other = string.match(saved, '^(.*) (%d+)$')
  return by == holder and tonumber(other) > tonumber(number)
end

-- A server that is full lets a script grow that has deleted before. Notes are small, they go with
-- their entries, and no entry of a former owner can be handled without its note.
redis.call('HDEL', notes, 'writes')
for i = first, #ARGV, 2 do
  local entry = ARGV[i]
  if not is_outdated(entry) then
    redis.call('HSET', notes, entry, ARGV[i + 1], entry .. ' *number', holder .. ' ' .. number)
  end
end
redis.call('HSET', notes, 'writes', writes + 1)
return {'writes', writes + 1}
