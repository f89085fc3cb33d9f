-- End a run from outside, whoever holds it: needs `close`. `next_id` is the run that goes on, or ''. Returns what
-- `close_run` returns. `ending` is the state it closes in; without one, terminated or continued.
local function finish_run(keys, run_key, history_key, held_key, run_id, event, next_id, now_ms, ending)
  ending = ending or next_id == '' and 'terminated' or 'continued'
  redis.call('RPUSH', history_key, event)
  redis.call('ZREM', keys.stalled, run_id)
  local cancelled, moved = close_run(keys, run_key, run_id, ending, event, now_ms)
  redis.call('HSET', run_key, 'state', ending, 'holder', '', 'nonce', '', 'mark', '', 'number', 0, 'answer', '')
  redis.call('HINCRBY', run_key, 'epoch', 1)
  redis.call('HDEL', run_key, 'paused', 'paused_ms')
  if next_id ~= '' then
    redis.call('HSET', run_key, 'next', next_id)
  end
  redis.call('SREM', held_key, 'r|' .. run_id)
  return cancelled, moved
end
