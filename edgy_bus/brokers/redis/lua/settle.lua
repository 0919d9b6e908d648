-- Finish entries for a group. Nothing grows here, so that the script works on a server that is
-- full.
-- KEYS    events, lease, epoch, notes, aside, here (as in arrange.lua)
-- ARGV    group, holder, epoch, the tenure's last confirmed write, number of proofs, number of
--         receivers that were left out; then for every proof: its field among the notes ('ENTRY
--         RECEIVER'), event id; then for every such receiver: name, the greatest entry that it was
--         left out of; then the entry ids
-- Answer  writes: the number of this write; or refused: 'lost', or 'rolled_back' if the confirmed
--         write or a proof of an unfinished entry is missing, or if a receiver that was left out
--         is neither set aside nor beyond the entry
-- Race    A former owner wakes up and acknowledges entries that its successor handles. Or a
--         failover loses a parked event between parking and settling: settled without the proof,
--         the event would be gone. Or it loses that a receiver was set aside: the entry would be
--         settled, and no group has the entry for the receiver.
local events, lease, epoch, notes, aside, here = unpack(KEYS)
local group, holder, expected_epoch, confirmed, proofs, left_out = unpack(ARGV, 1, 6)
local receivers = 7 + 2 * proofs
local first = receivers + 2 * left_out

if redis.call('GET', lease) ~= holder or redis.call('GET', epoch) ~= expected_epoch then
  return {'refused', 'lost'}
end
local writes = tonumber(redis.call('HGET', notes, 'writes')) or 0
if writes < tonumber(confirmed) then return {'refused', 'rolled_back'} end
-- Ids in the order of their entries.
local function padded(id)
  return (string.gsub(id, '%d+', function(part) return string.rep('0', 20 - #part) .. part end))
end
for i = receivers, first - 1, 2 do
  local name, entry = ARGV[i], ARGV[i + 1]
  if not redis.call('HGET', aside, name) then
    local of_epoch, floor = string.match(redis.call('HGET', here, name) or '', '^(%S+) (%S+)$')
    if of_epoch ~= expected_epoch or padded(floor) < padded(entry) then
      return {'refused', 'rolled_back'}
    end
  end
end
for i = 7, receivers - 1, 2 do
  local proof, event = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', notes, proof) ~= event then
    -- An entry that is not pending was settled by an earlier call whose answer was lost. pcall,
    -- because a group that is gone has no pending entries.
    local entry = string.match(proof, '^%S+')
    local pending = redis.pcall('XPENDING', events, group, entry, entry, 1)
    if pending[1] then return {'refused', 'rolled_back'} end
  end
end
for i = 7, receivers - 1, 2 do
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
