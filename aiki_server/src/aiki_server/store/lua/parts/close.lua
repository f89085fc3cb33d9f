-- What closing a run means beyond its own state: it leaves the indexes of open runs, its remote tasks end, its
-- parent is told and its children meet their close policy, both through the outbox. `keys` has open, closed_as,
-- closed, tasks, timers, ready and outbox; `ending` is the new state. Returns the leases that were cancelled, each
-- as address, epoch, nonce, incarnation, and 1 if the outbox has something new.
local function close_run(keys, run_key, run_id, ending, event, now_ms)
  local run = redis.call('HMGET', run_key, 'start_ms', 'namespace', 'parent', 'parent_address', 'children')
  redis.call('ZREM', keys.ready, 'r|' .. run_id)
  redis.call('ZREM', keys.open, run_id)
  if ending ~= 'continued' then
    redis.call('ZADD', keys.closed_as, run[1], run_id)
  end
  redis.call('ZADD', keys.closed, now_ms, run_id)
  redis.call('HSET', run_key, 'close_ms', now_ms)
  local cancelled, moved = {}, 0
  -- Beyond 2,000 fields the rest is refused when it is taken or reported: the run is closed.
  local fields = redis.call('HLEN', keys.tasks)
  if fields > 0 and fields <= 2000 then
    for _, field in ipairs(redis.call('HKEYS', keys.tasks)) do
      if string.sub(field, 1, 5) == 'task:' then
        cancel_task(keys, run_id, string.sub(field, 6), cancelled, now_ms)
      end
    end
  end
  if run[3] and ending ~= 'continued' then
    redis.call('XADD', keys.outbox, '*', 'k', 'done', 'n', run[2], 's', run_id, 't', run[3], 'a', run[4], 'd', event)
    moved = 1
  end
  if run[5] then
    redis.call('XADD', keys.outbox, '*', 'k', 'closed', 'n', run[2], 's', run_id, 't', run_id, 'a', '', 'd', '')
    moved = 1
  end
  return cancelled, moved
end
