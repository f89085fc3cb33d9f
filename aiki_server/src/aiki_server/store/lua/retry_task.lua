#!lua flags=allow-oom
-- retry_task: an attempt failed, and is made again when its delay is over.
-- KEYS[1]   tasks  hash   KEYS[2]  timers  zset   KEYS[3]  held:INCARNATION  set
-- ARGV[1]   run id   [2]  address   [3]  epoch   [4]  nonce   [5]  incarnation, or '' by token
-- ARGV[6]   due_ms   [7]  failure   [8]  now_ms
-- Returns   {'ok', due_ms}   {'fenced', epoch, nonce, holder}
-- A repeat by the lease that failed gets the same answer.
--@ tasks
--@ mine
local task = load_task(KEYS[1], ARGV[2])
forget_held(task, KEYS[3], ARGV[1], ARGV[2], ARGV[5])
local lease = ARGV[3] .. ':' .. ARGV[4]
if task and task.retried == lease then
  return {'ok', task.retry_due}
end
if not is_mine(task, ARGV[3], ARGV[4], ARGV[5]) then
  return fenced_task(task)
end
local due = tonumber(ARGV[6])
task.state, task.attempts, task.due, task.since = 'backoff', task.attempts + 1, due, tonumber(ARGV[8])
task.holder, task.worker = '', ''
task.retried, task.retry_due = lease, due
save_task(KEYS[1], ARGV[2], task)
redis.call('HSET', KEYS[1], 'failure:' .. ARGV[2], ARGV[7])
redis.call('SREM', KEYS[3], 't|' .. ARGV[1] .. '|' .. ARGV[2])
arm_task(KEYS[2], ARGV[1], ARGV[2], task)
return {'ok', due}
