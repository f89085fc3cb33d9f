#!lua
-- progress_task: keep what an attempt told of how far it is.
-- KEYS[1]   tasks  hash
-- ARGV[1]   address   [2]  epoch   [3]  nonce   [4]  incarnation   [5]  checkpoint
-- Returns   1; 0 when the lease is over. Not allow-oom: without it the task can end all the same.
--@ tasks
--@ mine
local task = load_task(KEYS[1], ARGV[1])
if not is_mine(task, ARGV[2], ARGV[3], ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], 'checkpoint:' .. ARGV[1], ARGV[5])
return 1
