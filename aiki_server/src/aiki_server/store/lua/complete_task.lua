#!lua flags=allow-oom
-- complete_task: end a remote task with a result or a failure; it becomes mail of its run.
-- KEYS[1]   tasks  hash   KEYS[2]  run  hash   KEYS[3]  mailbox  list   KEYS[4]  ready  zset
-- KEYS[5]   held:INCARNATION  set   KEYS[6]  timers  zset
-- ARGV[1]   run id   [2]  address   [3]  epoch   [4]  nonce   [5]  incarnation, or '' by token
-- ARGV[6]   event TaskCompleted or TaskFailed   [7]  now_ms
-- Returns   {'ok', attention}   {'fenced', epoch, nonce, holder}
-- Compare-and-set on the task's state: a repeat by the lease that ended it gets the same answer. Allow-oom:
-- what runs must be able to end.
--@ states
--@ tasks
--@ mine
--@ attention
--@ wake
local task = load_task(KEYS[1], ARGV[2])
forget_held(task, KEYS[5], ARGV[1], ARGV[2], ARGV[5])
local state = redis.call('HGET', KEYS[2], 'state')
if not task or not state then
  return {'fenced', 0, '', ''}
end
if task.state == 'done' and task.ended == ARGV[3] .. ':' .. ARGV[4] then
  return {'ok', attention(KEYS[2], 0)}
end
if not is_mine(task, ARGV[3], ARGV[4], ARGV[5]) or is_closed(state) then
  return fenced_task(task)
end
task.ended = ARGV[3] .. ':' .. ARGV[4]
end_task(KEYS[1], KEYS[6], KEYS[4], ARGV[1], ARGV[2], task, 'done', tonumber(ARGV[7]))
redis.call('SREM', KEYS[5], 't|' .. ARGV[1] .. '|' .. ARGV[2])
redis.call('RPUSH', KEYS[3], ARGV[6])
local fresh = wake(KEYS[2], KEYS[4], ARGV[1], state, ARGV[7])
return {'ok', attention(KEYS[2], fresh)}
