#!lua flags=allow-oom
-- adopt_task: move the lease of a remote task to another incarnation of its session.
-- KEYS[1]   tasks  hash   KEYS[2]  held:OLD  set   KEYS[3]  held:NEW  set   KEYS[4]  holders  zset
-- ARGV[1]   run id   [2]  address   [3]  epoch   [4]  nonce   [5]  old incarnation   [6]  new one   [7]  now_ms
-- Returns   1, also on a repeat; 0 when the lease is not held by the old one.
--@ tasks
--@ mine
local task = load_task(KEYS[1], ARGV[2])
if is_mine(task, ARGV[3], ARGV[4], ARGV[6]) then
  return 1
end
if not is_mine(task, ARGV[3], ARGV[4], ARGV[5]) then
  return 0
end
local member = 't|' .. ARGV[1] .. '|' .. ARGV[2]
-- Its new coordinator does not know that it is to be alone.
task.holder, task.alone = ARGV[6], 0
save_task(KEYS[1], ARGV[2], task)
redis.call('SREM', KEYS[2], member)
redis.call('SADD', KEYS[3], member)
redis.call('ZADD', KEYS[4], 'NX', ARGV[7], ARGV[6])
return 1
