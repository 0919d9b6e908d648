-- Appends events without any promise, and keeps about the last ones.
-- KEYS  events
-- ARGV  how many to keep, then id, head, data and signature of every event
for i = 2, #ARGV, 4 do
  if ARGV[i + 3] == '' then
    redis.call('XADD', KEYS[1], '*', 'id', ARGV[i], 'head', ARGV[i + 1], 'data', ARGV[i + 2])
  else
    redis.call('XADD', KEYS[1], '*', 'id', ARGV[i], 'head', ARGV[i + 1], 'data', ARGV[i + 2], 'sig', ARGV[i + 3])
  end
end
return redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
