#!lua flags=allow-oom
-- ready_entry: what an entry of `ready` is about; one that is about nothing is removed.
-- KEYS[1]   ready  zset   KEYS[2]  run  hash   KEYS[3]  tasks  hash
-- ARGV[1]   run id   [2]  address, '' for the run itself
-- Returns   nil   {'run', attention}   {'task', namespace, queue, handler, where it may go}
--@ states
--@ tasks
--@ attention
local state = redis.call('HGET', KEYS[2], 'state')
local open = state and not is_closed(state)
if ARGV[2] == '' then
  if state ~= 'running' and state ~= 'waiting' then
    redis.call('ZREM', KEYS[1], 'r|' .. ARGV[1])
    return nil
  end
  return {'run', attention(KEYS[2], 0)}
end
local task = open and load_task(KEYS[3], ARGV[2])
if not task or task.state ~= 'ready' then
  redis.call('ZREM', KEYS[1], 't|' .. ARGV[1] .. '|' .. ARGV[2])
  return nil
end
return {'task', redis.call('HGET', KEYS[2], 'namespace'), task.queue, task.handler, task.place or ''}
