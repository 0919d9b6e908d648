-- Save a dead letter, and its proof among the notes.
-- KEYS    lease, epoch, notes, dead letters
-- ARGV    holder, epoch, the tenure's last confirmed write, entry id, the letter's proof: field
--         among the notes ('ENTRY RECEIVER') and event id, number of earlier proofs; then
--         field and event id of every earlier proof; then the fields of the letter
-- Answer  writes: the number of this write; or refused: 'lost', or 'rolled_back' if the confirmed
--         write or an earlier proof is missing
-- Race    A crash between the letter and the note would bury the event twice, and so would a
--         repeated call whose first answer was lost.
local lease, epoch, notes, dead = unpack(KEYS)
local holder, expected_epoch, confirmed, entry, proof, event, proofs = unpack(ARGV, 1, 7)
local letter = 8 + 2 * proofs

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
for i = 8, letter - 1, 2 do
  if redis.call('HGET', notes, ARGV[i]) ~= ARGV[i + 1] then return {'refused', 'rolled_back'} end
end
if redis.call('HGET', notes, proof) == event then return {'writes', writes} end
redis.call('XADD', dead, '*', unpack(ARGV, letter))
-- What is kept has fields of its own: a note that is under way cannot undo it.
local names = redis.call('HGET', notes, entry .. ' *kept')
local receiver = string.sub(proof, #entry + 2)
names = names and names .. '\n' .. receiver or receiver
redis.call('HSET', notes, proof, event, entry .. ' *kept', names, 'writes', writes + 1)
return {'writes', writes + 1}
