-- Finish entries for a group. Nothing grows here, so that the script works on a server that is
-- full.
-- KEYS    events, lease, epoch, notes
-- ARGV    group, holder, epoch, the tenure's last confirmed write, number of proofs; then for every
--         proof: its field among the notes ('ENTRY RECEIVER'), event id; then the entry ids
-- Answer  writes: the number of this write; or refused: 'lost', or 'rolled_back' if the confirmed
--         write or a proof of an unfinished entry is missing
-- Race    A former owner wakes up and acknowledges entries that its successor handles. Or a
--         failover loses a parked event between parking and settling: settled without the proof,
--         the event would be gone.
local events, lease, epoch, notes = unpack(KEYS)
local group, holder, expected_epoch, confirmed, proofs = unpack(ARGV, 1, 5)
local first = 6 + 2 * proofs

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
for i = 6, first - 1, 2 do
  local proof, event = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', notes, proof) ~= event then
    -- An entry that is not pending was settled by an earlier call whose answer was lost. pcall,
    -- because a group that is gone has no pending entries.
    local entry = string.match(proof, '^%S+')
    local pending = redis.pcall('XPENDING', events, group, entry, entry, 1)
    if pending[1] then return {'refused', 'rolled_back'} end
  end
end
for i = 6, first - 1, 2 do
  redis.call('HDEL', notes, ARGV[i], string.match(ARGV[i], '^%S+') .. ' *kept')
end
-- Lua's stack bounds the number of arguments of a call.
for i = first, #ARGV, 500 do
  local last = math.min(i + 499, #ARGV)
  redis.call('XACK', events, group, unpack(ARGV, i, last))
  -- Most entries have no notes.
  if redis.call('HDEL', notes, unpack(ARGV, i, last)) > 0 then
    for each = i, last do redis.call('HDEL', notes, ARGV[each] .. ' *number') end
  end
end
redis.call('HSET', notes, 'writes', writes + 1)
return {'writes', writes + 1}
