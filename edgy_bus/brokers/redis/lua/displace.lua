-- Move values of another type out of the way: nothing in a key may stop a program.
-- KEYS    for every key: the key, and the name that a value of another type gets
-- ARGV    for every key: the type that it has to have
-- Answer  moved: name, new name and type of every value that was moved
-- Race    Two programs find the value at once. The second finds no value, or a right one.
local moved = {}
for i, expected in ipairs(ARGV) do
  local key, aside = KEYS[2 * i - 1], KEYS[2 * i]
  local kind = redis.call('TYPE', key)['ok']
  if kind ~= 'none' and kind ~= expected then
    redis.call('RENAME', key, aside)
    moved[#moved + 1] = key
    moved[#moved + 1] = aside
    moved[#moved + 1] = kind
  end
end
return {'moved', moved}
