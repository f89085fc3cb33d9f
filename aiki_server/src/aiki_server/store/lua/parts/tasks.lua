-- A remote task is the field `task:ADDRESS`, a JSON record; beside it `spec:ADDRESS`, `failure:ADDRESS` and
-- `checkpoint:ADDRESS`. It has one timer, at the earliest of: `deadline`, the end of its total time; `queue_by`, while
-- it is ready; `due`, the end of a backoff; `attempt_by`, while its attempt has deferred its outcome.
local function load_task(tasks_key, address)
  local text = redis.call('HGET', tasks_key, 'task:' .. address)
  return text and cjson.decode(text)
end

local function save_task(tasks_key, address, task)
  redis.call('HSET', tasks_key, 'task:' .. address, cjson.encode(task))
end

-- Set the timer of a task; nil when it needs none.
local function arm_task(timers_key, run_id, address, task)
  local first = task.deadline > 0 and task.deadline or nil
  local own = task.state == 'ready' and task.queue_by or task.state == 'backoff' and task.due
    or task.state == 'deferred' and task.attempt_by or 0
  if own > 0 and (not first or own < first) then
    first = own
  end
  if first then
    redis.call('ZADD', timers_key, first, 'task|' .. run_id .. '|' .. address)
  else
    redis.call('ZREM', timers_key, 'task|' .. run_id .. '|' .. address)
  end
  return first
end

-- It waits in its queue from now on.
local function make_ready(ready_key, run_id, address, task, now_ms)
  task.state, task.due, task.since = 'ready', 0, tonumber(now_ms)
  task.queue_by = task.queue_ms > 0 and task.since + task.queue_ms or 0
  redis.call('ZADD', ready_key, now_ms, 't|' .. run_id .. '|' .. address)
end

-- End a task for good: its record stays for repeats, the rest goes.
local function end_task(tasks_key, timers_key, ready_key, run_id, address, task, state, now_ms)
  task.state = state
  task.since = now_ms
  save_task(tasks_key, address, task)
  redis.call('HDEL', tasks_key, 'spec:' .. address, 'failure:' .. address, 'checkpoint:' .. address)
  redis.call('ZREM', timers_key, 'task|' .. run_id .. '|' .. address)
  redis.call('ZREM', ready_key, 't|' .. run_id .. '|' .. address)
end

-- Nobody wants the outcome any more; a lease that this ends is added to `cancelled`.
local function cancel_task(keys, run_id, address, cancelled, now_ms)
  local task = load_task(keys.tasks, address)
  if not task or task.state == 'done' or task.state == 'cancelled' then
    return
  end
  if task.state == 'leased' then
    for _, value in ipairs({address, task.epoch, task.nonce, task.holder}) do
      cancelled[#cancelled + 1] = value
    end
  end
  end_task(keys.tasks, keys.timers, keys.ready, run_id, address, task, 'cancelled', tonumber(now_ms))
end
