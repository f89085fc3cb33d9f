#!lua flags=allow-oom
-- add_entry: a hint or a message, also into a full store: without it nothing that runs would go on.
-- KEYS[1]  stream
-- ARGV[1]  field   [2]  value   [3]  about how many entries it keeps, 0: all
-- Returns  the id of the entry
if ARGV[3] == '0' then
  return redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[2])
end
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', ARGV[1], ARGV[2])
