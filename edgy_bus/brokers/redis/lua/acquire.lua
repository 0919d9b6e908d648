-- Take a lease that has no holder, with a token above the tokens of all former tenures.
-- KEYS    lease, fence, epoch
-- ARGV    owner, milliseconds, a fresh epoch for a stream that has no epoch
-- Answer  token, epoch, former: the owner of the tenure before, '' if unknown; or refused: 'taken'
-- Race    Two workers find a free lease at the same moment. Check, token and lease are one step:
--         the second worker is refused, and a former holder that wakes up has a lower token.
local lease, fence, epoch = unpack(KEYS)
local owner, ttl, fresh_epoch = unpack(ARGV)

-- Every lease runs out. What does not was written by another program, and would last for ever.
if redis.call('PTTL', lease) >= 0 then return {'refused', 'taken'} end
-- Before the first write: a script that fails half-way would leave a lease that nobody holds.
local current = redis.call('GET', epoch)
-- A server that is full lets a script grow that has deleted before: what comes back is as small.
redis.call('DEL', lease)
local last = redis.pcall('GET', fence)
if not last then last = '0' end
local number, former = string.match(type(last) == 'string' and last or '', '^(%d+) ?(.*)$')
-- Where the number of the last tenure is unknown: there were fewer tenures than seconds since 1970.
local token = number and tonumber(number) + 1 or tonumber(redis.call('TIME')[1])
redis.call('SET', fence, token .. ' ' .. owner)
-- An epoch that another program wrote may have bytes that are no text.
if not current or not string.match(current, '^[%w-]+$') then
  current = fresh_epoch
  redis.call('SET', epoch, current)
end
redis.call('SET', lease, token .. '.' .. owner, 'PX', ttl)
return {'token', token, 'epoch', current, 'former', former or ''}
