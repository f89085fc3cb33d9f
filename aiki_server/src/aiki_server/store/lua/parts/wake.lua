-- Give an open run attention. A stalled run gets its mail when it is woken. 1 if it was not in `ready`.
local function wake(run_key, ready_key, run_id, state, now_ms)
  if state == 'stalled' then
    return 0
  end
  if state == 'waiting' then
    redis.call('HSET', run_key, 'state', 'running')
  end
  return redis.call('ZADD', ready_key, 'NX', now_ms, 'r|' .. run_id)
end
