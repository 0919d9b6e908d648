-- Replace a dead letter by an edited copy, which comes last.
-- KEYS    dead letters
-- ARGV    the id of the letter; then the fields of the copy
-- Answer  edited: the id of the copy; or refused: 'gone' if there is no such letter
-- Race    Another operator replays, discards or edits the letter between a look and the edit: the
--         copy would bring an event back that is handled already.
local dead = KEYS[1]
local id = ARGV[1]

-- A server that is full lets a script grow that has deleted before.
if redis.call('XDEL', dead, id) == 0 then return {'refused', 'gone'} end
return {'edited', redis.call('XADD', dead, '*', unpack(ARGV, 2))}
