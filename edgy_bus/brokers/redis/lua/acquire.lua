-- Take a lease that has no holder, with a token above the tokens of all former tenures.
-- KEYS    lease, fence, epoch, last: the holder of the tenure before
-- ARGV    owner, milliseconds, a fresh epoch for a stream that has no epoch
-- Answer  token, epoch, former: the owner of the tenure before, '' if unknown; or refused: 'taken'
-- Race    Two workers find a free lease at the same moment. Check, token and lease are one step:
--         the second worker is refused, and a former holder that wakes up has a lower token.
local lease, fence, epoch, last = unpack(KEYS)
local owner, ttl, fresh_epoch = unpack(ARGV)

-- Every lease runs out. What does not was written by another program, and would last for ever.
if redis.call('PTTL', lease) >= 0 then return {'refused', 'taken'} end
-- Before the first write: a script that fails half-way would leave a lease that nobody holds.
local current = redis.call('GET', epoch)
local before = redis.pcall('GET', last)
-- A server that is full lets a script grow that has deleted before: what comes back is as small.
redis.call('DEL', lease)
-- The fence stays a bare number: workers of the first release count it up with INCR.
local token = redis.pcall('INCR', fence)
if type(token) ~= 'number' then
  -- The number of the last tenure is unknown: there were fewer tenures than seconds since 1970.
  token = tonumber(redis.call('TIME')[1])
  redis.call('SET', fence, token)
end
-- Such a worker does not write who it is. Then the number says that somebody came in between.
local number, former = string.match(type(before) == 'string' and before or '', '^(%d+)%.(.*)$')
if tonumber(number) ~= token - 1 then former = '' end
-- An epoch that another program wrote may have bytes that are no text.
if not current or not string.match(current, '^[%w-]+$') then
  current = fresh_epoch
  redis.call('SET', epoch, current)
end
local holder = token .. '.' .. owner
redis.call('SET', last, holder)
redis.call('SET', lease, holder, 'PX', ttl)
return {'token', token, 'epoch', current, 'former', former}
