#!lua flags=allow-oom
-- take_task: lease a remote task that is ready.
-- KEYS[1]   tasks  hash   KEYS[2]  run  hash   KEYS[3]  ready  zset
-- KEYS[4]   held:INCARNATION  set   KEYS[5]  holders  zset
-- ARGV[1]   run id   [2]  address   [3]  incarnation   [4]  nonce, new for each lease   [5]  worker, for people
-- ARGV[6]   now_ms   [7]  '1': the incarnation holds nothing else   [8]  leases a task may have lost to be beside others
-- Returns   {'no'}, {'alone', queue, handler}: it lost more, or {'taken', epoch, spec, attempt from 1, deadline_ms, checkpoint or ''}
-- A nonce that is the current one is a repeat and gets the same answer while the lease is held. Losing a lease
-- uses up no attempt. Allow-oom: what was accepted must be able to end.
--@ states
--@ tasks
local task = load_task(KEYS[1], ARGV[2])
local member = 't|' .. ARGV[1] .. '|' .. ARGV[2]
local state = redis.call('HGET', KEYS[2], 'state')
if not task or not state or is_closed(state) then
  redis.call('ZREM', KEYS[3], member)
  return {'no'}
end
if task.state == 'leased' then
  if task.nonce ~= ARGV[4] or task.holder ~= ARGV[3] then
    return {'no'}
  end
else
  if task.state ~= 'ready' or task.nonce == ARGV[4] then
    return {'no'}
  end
  if ARGV[7] ~= '1' and (task.lost or 0) > tonumber(ARGV[8]) then
    return {'alone', task.queue, task.handler}
  end
  task.state, task.epoch, task.nonce, task.holder = 'leased', task.epoch + 1, ARGV[4], ARGV[3]
  -- One that is alone starts at once, and might not live to say so.
  task.alone = tonumber(ARGV[7])
  task.worker, task.started, task.since = ARGV[5], task.alone, tonumber(ARGV[6])
  save_task(KEYS[1], ARGV[2], task)
  redis.call('ZREM', KEYS[3], member)
  redis.call('SADD', KEYS[4], member)
  redis.call('ZADD', KEYS[5], 'NX', ARGV[6], ARGV[3])
end
return {'taken', task.epoch, redis.call('HGET', KEYS[1], 'spec:' .. ARGV[2]), task.attempts + 1, task.deadline,
  redis.call('HGET', KEYS[1], 'checkpoint:' .. ARGV[2]) or ''}
