#!lua flags=allow-oom
-- forget_holder: drop an incarnation that holds nothing here (any more).
-- KEYS[1]   holders  zset   KEYS[2]  held:INCARNATION  set
-- ARGV[1]   incarnation
-- Returns   1 if it is not in holders now, 0 if it holds something.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
