#!lua flags=allow-oom
-- purge: delete a closed run with all that is its own.
-- KEYS[1]   run  hash   KEYS[2]  history   KEYS[3]  mailbox   KEYS[4]  tasks   KEYS[5]  closed runs by time  zset
-- KEYS[6]   state  hash   KEYS[7]  workflow  string   KEYS[8]  seen  zset
-- KEYS[9]   logs  zset   KEYS[10]  and on: the indexes of closed runs  zset
-- ARGV[1]   run id   [2]  closed before, ms
-- Returns   1 if it was deleted (now or before), 0 if it is open or closed later.
-- UNLINK frees long values in the background. Timers and entries of `ready` that are left do nothing when they come.
-- Allow-oom: it frees.
--@ states
local run = redis.call('HMGET', KEYS[1], 'state', 'close_ms')
if run[1] and not (is_closed(run[1]) and tonumber(run[2]) < tonumber(ARGV[2])) then
  return 0
end
if redis.call('GET', KEYS[7]) == ARGV[1] then
  redis.call('UNLINK', KEYS[7], KEYS[8])
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6], KEYS[9])
redis.call('ZREM', KEYS[5], ARGV[1])
for i = 10, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
return 1
