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
