#!lua flags=allow-oom
-- unstall: wake a stalled run.
-- KEYS[1]   run  hash   KEYS[2]  ready  zset   KEYS[3]  index of stalled runs  zset
-- ARGV[1]   run id   [2]  now_ms
-- Returns   {'ok', attention}   {'state', the state it is in}   {'none'}
--@ attention
--@ wake
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return {'none'}
end
if state ~= 'stalled' then
  return {'state', state}
end
redis.call('HSET', KEYS[1], 'state', 'running')
redis.call('HDEL', KEYS[1], 'failure')
redis.call('ZREM', KEYS[3], ARGV[1])
local fresh = wake(KEYS[1], KEYS[2], ARGV[1], 'running', ARGV[2])
return {'ok', attention(KEYS[1], fresh)}
