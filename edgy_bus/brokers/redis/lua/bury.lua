-- Save a dead letter, and the entry's notes with the proof of the letter.
-- KEYS    lease, epoch, notes, dead letters
-- ARGV    holder, epoch, entry id, note, the letter's proof: field among the notes ('ENTRY
--         RECEIVER') and event id, number of earlier proofs; then field and event id of every
--         earlier proof; then the fields of the letter
-- Answer  nothing; or refused: 'lost', or 'rolled_back' if an earlier proof is missing
-- Race    A crash between the letter and the note would bury the event twice, and so would a
--         repeated call whose first answer was lost.
local lease, epoch, notes, dead = unpack(KEYS)
local holder, expected_epoch, entry, note, proof, event, proofs = unpack(ARGV, 1, 7)
local letter = 8 + 2 * proofs

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
for i = 8, letter - 1, 2 do
  if redis.call('HGET', notes, ARGV[i]) ~= ARGV[i + 1] then return {'refused', 'rolled_back'} end
end
if redis.call('HGET', notes, proof) == event then return {} end
redis.call('XADD', dead, '*', unpack(ARGV, letter))
redis.call('HSET', notes, entry, note, proof, event)
return {}
