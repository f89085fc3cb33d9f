#!lua flags=allow-oom
-- adopt: move the lease of a run to another incarnation of its session.
-- KEYS[1]   run  hash   KEYS[2]  held:OLD  set   KEYS[3]  held:NEW  set   KEYS[4]  holders  zset
-- ARGV[1]   run id   [2]  epoch   [3]  nonce   [4]  old incarnation   [5]  new incarnation   [6]  now_ms
-- Returns   1, also on a repeat; 0 when the lease is not held by the old one.
local run = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'holder')
local member = 'r|' .. ARGV[1]
if run[1] ~= ARGV[2] or run[2] ~= ARGV[3] or (run[3] ~= ARGV[4] and run[3] ~= ARGV[5]) then
  return 0
end
redis.call('HSET', KEYS[1], 'holder', ARGV[5])
redis.call('SREM', KEYS[2], member)
redis.call('SADD', KEYS[3], member)
redis.call('ZADD', KEYS[4], 'NX', ARGV[6], ARGV[5])
return 1
