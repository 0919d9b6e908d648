-- Append events without any promise, and keep about the last entries.
-- KEYS    events
-- ARGV    number of entries to keep; then for every event: id, header, data, signature ('': none)
-- Answer  nothing
-- Race    None: nothing is compared. One script saves the round trip for trimming.
local events, keep = KEYS[1], ARGV[1]

for i = 2, #ARGV, 4 do
  local event, header, data, signature = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if signature == '' then
    redis.call('XADD', events, '*', 'id', event, 'head', header, 'data', data)
  else
    redis.call('XADD', events, '*', 'id', event, 'head', header, 'data', data, 'sig', signature)
  end
end
redis.call('XTRIM', events, 'MAXLEN', '~', keep)
return {}
