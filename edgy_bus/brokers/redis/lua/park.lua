-- Append an event to the parked events of a row, and save the entry's notes with the proof.
-- KEYS    lease, epoch, notes, held rows, the row's parked events
-- ARGV    holder, epoch, entry id, note, the event's proof: field among the notes ('ENTRY
--         RECEIVER') and event id, row, '1' to hold the row from now on, the last parked event
--         ('0-0': none), number of earlier proofs; then field and event id of every earlier proof;
--         then the fields of the event's letter
-- Answer  last: the id of the last parked event; or refused: 'lost', 'not_held', or 'rolled_back'
--         if an earlier proof is missing or another event is the last
-- Race    The row is released between the look and the append: an event parked behind nothing would
--         never be handled. Or a failover loses parked events: they come again, and would stand
--         behind this later event of their row.
local lease, epoch, notes, held, parked = unpack(KEYS)
local holder, expected_epoch, entry, note, proof, event = unpack(ARGV, 1, 6)
local row, begin, after, proofs = unpack(ARGV, 7, 10)
local letter = 11 + 2 * proofs

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
for i = 11, letter - 1, 2 do
  if redis.call('HGET', notes, ARGV[i]) ~= ARGV[i + 1] then return {'refused', 'rolled_back'} end
end
local last = redis.call('XREVRANGE', parked, '+', '-', 'COUNT', 1)[1]
last = last and last[1] or '0-0'
-- A proof that is there was saved by an earlier call whose answer was lost.
if redis.call('HGET', notes, proof) == event then return {'last', last} end
if begin ~= '1' and not redis.call('HGET', held, row) then return {'refused', 'not_held'} end
if last ~= after then return {'refused', 'rolled_back'} end
if begin == '1' then redis.call('HSET', held, row, 'held') end
last = redis.call('XADD', parked, '*', unpack(ARGV, letter))
redis.call('HSET', notes, entry, note, proof, event)
return {'last', last}
