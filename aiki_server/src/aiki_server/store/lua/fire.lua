#!lua flags=allow-oom
-- fire: do what a timer is for, if it is (still) due.
-- KEYS[1]   timers  zset   KEYS[2]  run  hash   KEYS[3]  mailbox  list   KEYS[4]  ready  zset   KEYS[5]  tasks  hash
-- ARGV[1]   kind: 'timer' or 'retry' (mail for the run), 'task' (the next deadline of a remote task), 'wake' (begin)
-- ARGV[2]   run id   [3]  address   [4]  now_ms   [5]  event: for 'task' the failure when its total time is over
-- ARGV[6]   the failure when it has waited too long in its queue
-- Returns   nil: gone, or not due (any more)
--           {'run', attention, cancelled lease: epoch, nonce, holder, or nothing}
--           {'task', namespace, queue, handler, where it may go}: the remote task is ready again
--           {'expired', epoch, nonce, spec, attempt}: a deferred attempt is out of time, to be judged, or asked again
-- The member is removed in the script of its effect, so firing twice is firing once. Allow-oom: what was accepted
-- must be able to go on.
--@ states
--@ tasks
--@ attention
--@ wake
local run_id, address, now_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])
local member = ARGV[1] .. '|' .. run_id .. '|' .. address
local due = redis.call('ZSCORE', KEYS[1], member)
if not due or tonumber(due) > now_ms then
  return nil
end
local run = redis.call('HMGET', KEYS[2], 'state', 'paused')
local state = run[1]
-- A run that is held with its timers starts them again, later, when it goes on.
if not state or is_closed(state) or (ARGV[1] == 'timer' and run[2] == 'freeze') then
  redis.call('ZREM', KEYS[1], member)
  return nil
end
if ARGV[1] == 'wake' then
  redis.call('ZREM', KEYS[1], member)
  if state ~= 'scheduled' then
    return nil
  end
  redis.call('HSET', KEYS[2], 'state', 'running')
  local fresh = wake(KEYS[2], KEYS[4], run_id, 'running', ARGV[4])
  return {'run', attention(KEYS[2], fresh), {}}
end
local cancelled = {}
if ARGV[1] == 'task' then
  local task = load_task(KEYS[5], address)
  if not task or task.state == 'done' or task.state == 'cancelled' then
    redis.call('ZREM', KEYS[1], member)
    return nil
  end
  if task.deadline == 0 or task.deadline > now_ms then
    if task.state == 'deferred' and task.attempt_by > 0 and task.attempt_by <= now_ms then
      redis.call('ZADD', KEYS[1], now_ms + 5000, member)
      return {'expired', task.epoch, task.nonce, redis.call('HGET', KEYS[5], 'spec:' .. address), task.attempts + 1}
    end
    local waited = task.state == 'ready' and task.queue_by > 0 and task.queue_by <= now_ms
    if not waited then
      local again = task.state == 'backoff' and task.due <= now_ms
      if again then
        make_ready(KEYS[4], run_id, address, task, now_ms)
        save_task(KEYS[5], address, task)
      end
      arm_task(KEYS[1], run_id, address, task)
      return again and {'task', redis.call('HGET', KEYS[2], 'namespace'), task.queue, task.handler, task.place or ''} or nil
    end
    ARGV[5] = ARGV[6]
  end
  if task.state == 'leased' then
    cancelled = {task.epoch, task.nonce, task.holder}
  end
  end_task(KEYS[5], KEYS[1], KEYS[4], run_id, address, task, 'done', now_ms)
else
  redis.call('ZREM', KEYS[1], member)
end
redis.call('RPUSH', KEYS[3], ARGV[5])
local fresh = wake(KEYS[2], KEYS[4], run_id, state, ARGV[4])
return {'run', attention(KEYS[2], fresh), cancelled}
