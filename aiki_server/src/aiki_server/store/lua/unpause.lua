#!lua flags=allow-oom
-- unpause: let a held run go on.
-- KEYS[1]   run  hash   KEYS[2]  mailbox  list   KEYS[3]  ready  zset
-- ARGV[1]   run id   [2]  now_ms   [3]  paused_ms that the caller has seen: a later pause is another one   [4]  event
-- Returns   {'ok', attention}   {'state', the state it is in}: it is not held   {'none'}
--@ states
--@ attention
--@ wake
local run = redis.call('HMGET', KEYS[1], 'state', 'holder', 'paused_ms')
if not run[1] then
  return {'none'}
end
if is_closed(run[1]) or run[3] ~= ARGV[3] then
  return {'state', run[1]}
end
redis.call('HDEL', KEYS[1], 'paused', 'paused_ms')
if run[1] == 'paused' then
  redis.call('HSET', KEYS[1], 'state', 'running')
end
redis.call('RPUSH', KEYS[2], ARGV[4])
local fresh = wake(KEYS[1], KEYS[3], ARGV[1], 'running', ARGV[2])
return {'ok', attention(KEYS[1], fresh)}
