-- Save notes about entries for the next owner.
-- KEYS    lease, epoch, notes
-- ARGV    holder, epoch, number of proofs; then for every proof: its field among the notes ('ENTRY
--         RECEIVER'), event id; then entry id and note of each
-- Answer  nothing; or refused: 'lost', or 'rolled_back' if a proof is missing
-- Race    A former owner wakes up and overwrites the notes of its successor. Or a failover loses a
--         parked event: notes that call the event finished would keep the next owner from parking
--         the event again.
local lease, epoch, notes = unpack(KEYS)
local holder, expected_epoch, proofs = unpack(ARGV, 1, 3)
local first = 4 + 2 * proofs

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
for i = 4, first - 1, 2 do
  if redis.call('HGET', notes, ARGV[i]) ~= ARGV[i + 1] then return {'refused', 'rolled_back'} end
end
for i = first, #ARGV, 2 do redis.call('HSET', notes, ARGV[i], ARGV[i + 1]) end
return {}
