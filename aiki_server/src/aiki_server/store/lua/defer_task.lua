#!lua flags=allow-oom
-- defer_task: an attempt is over without an outcome, which somebody gives by its token until `attempt_by`.
-- KEYS[1]   tasks  hash   KEYS[2]  timers  zset   KEYS[3]  held:INCARNATION  set
-- ARGV[1]   run id   [2]  address   [3]  epoch   [4]  nonce   [5]  incarnation   [6]  attempt_by, ms; 0: no limit
-- ARGV[7]   now_ms
-- Returns   {'ok', attempt_by or 0}   {'fenced', epoch, nonce, holder}
-- Epoch and nonce stay those of the lease; whoever had the outcome earlier may have given it already.
--@ tasks
--@ mine
local task = load_task(KEYS[1], ARGV[2])
forget_held(task, KEYS[3], ARGV[1], ARGV[2], ARGV[5])
local given = task and task.epoch == tonumber(ARGV[3]) and task.nonce == ARGV[4]
if given and (task.state == 'deferred' or task.ended == ARGV[3] .. ':' .. ARGV[4]) then
  return {'ok', 0}
end
if not is_mine(task, ARGV[3], ARGV[4], ARGV[5]) then
  return fenced_task(task)
end
task.state, task.holder, task.attempt_by, task.since = 'deferred', '', tonumber(ARGV[6]), tonumber(ARGV[7])
save_task(KEYS[1], ARGV[2], task)
redis.call('SREM', KEYS[3], 't|' .. ARGV[1] .. '|' .. ARGV[2])
arm_task(KEYS[2], ARGV[1], ARGV[2], task)
return {'ok', task.attempt_by}
