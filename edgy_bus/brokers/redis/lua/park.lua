-- Append an event to the parked events of a row, and save the proof among the notes.
-- KEYS    lease, epoch, notes, held rows, the row's parked events
-- ARGV    holder, epoch, the tenure's last confirmed write, entry id, the event's proof: field
--         among the notes ('ENTRY RECEIVER') and event id, row, '1' to hold the row from now on,
--         the last parked event ('0-0': none), number of earlier proofs; then field and event id of
--         every earlier proof; then the fields of the event's letter
-- Answer  last: the id of the last parked event, writes: the number of this write; or refused:
--         'lost', 'not_held', or 'rolled_back' if the confirmed write or an earlier proof is
--         missing, or another event is the last
-- Race    The row is released between the look and the append: an event parked behind nothing would
--         never be handled. Or a failover loses parked events: they come again, and would stand
--         behind this later event of their row.
local lease, epoch, notes, held, parked = unpack(KEYS)
local holder, expected_epoch, confirmed, entry, proof, event = unpack(ARGV, 1, 6)
local row, begin, after, proofs = unpack(ARGV, 7, 10)
local letter = 11 + 2 * proofs

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
for i = 11, letter - 1, 2 do
  if redis.call('HGET', notes, ARGV[i]) ~= ARGV[i + 1] then return {'refused', 'rolled_back'} end
end
-- What an operator replays stands behind the last event that the tenure knows, and is no loss.
local function only_replayed_after(known)
  if known ~= '0-0' and #redis.call('XRANGE', parked, known, known) == 0 then return false end
  local behind = redis.call('XRANGE', parked, '(' .. known, '+', 'COUNT', 50)
  for _, entry in ipairs(behind) do
    local is_replayed = false
    for i = 1, #entry[2], 2 do is_replayed = is_replayed or entry[2][i] == 'replayed' end
    if not is_replayed then return false end
  end
  return #behind < 50
end
local last = redis.call('XREVRANGE', parked, '+', '-', 'COUNT', 1)[1]
last = last and last[1] or '0-0'
-- A proof that is there was saved by an earlier call whose answer was lost.
if redis.call('HGET', notes, proof) == event then
  return {'last', last, 'writes', writes}
end
if begin ~= '1' and not redis.call('HGET', held, row) then return {'refused', 'not_held'} end
if last ~= after and not only_replayed_after(after) then return {'refused', 'rolled_back'} end
if begin == '1' then redis.call('HSET', held, row, 'held') end
last = redis.call('XADD', parked, '*', unpack(ARGV, letter))
-- What is kept has fields of its own: a note that is under way cannot undo it.
local names = redis.call('HGET', notes, entry .. ' *kept')
local receiver = string.sub(proof, #entry + 2)
names = names and names .. '\n' .. receiver or receiver
redis.call('HSET', notes, proof, event, entry .. ' *kept', names, 'writes', writes + 1)
return {'last', last, 'writes', writes + 1}
