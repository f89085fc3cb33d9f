-- A remote task is the field `task:ADDRESS`, a JSON record; beside it `spec:ADDRESS` and `failure:ADDRESS`.
local function load_task(tasks_key, address)
  local text = redis.call('HGET', tasks_key, 'task:' .. address)
  return text and cjson.decode(text)
end

local function save_task(tasks_key, address, task)
  redis.call('HSET', tasks_key, 'task:' .. address, cjson.encode(task))
end

-- End a task for good: its record stays for repeats, the rest goes.
local function end_task(tasks_key, timers_key, ready_key, run_id, address, task, state, now_ms)
  task.state = state
  task.since = now_ms
  save_task(tasks_key, address, task)
  redis.call('HDEL', tasks_key, 'spec:' .. address, 'failure:' .. address)
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
