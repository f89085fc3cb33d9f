-- Give an open run attention. One that is stalled, held or not begun gets its mail when it is woken. 1 if it was not
-- in `ready`.
local function wake(run_key, ready_key, run_id, state, now_ms)
  if state == 'stalled' or state == 'paused' or state == 'scheduled' then
    return 0
  end
  if state == 'waiting' then
    redis.call('HSET', run_key, 'state', 'running')
  end
  return redis.call('ZADD', ready_key, 'NX', now_ms, 'r|' .. run_id)
end
