#!lua flags=allow-oom
-- pause: hold a run; one that a worker holds is held when it gives the run back.
-- KEYS[1]   run  hash   KEYS[2]  mailbox  list   KEYS[3]  ready  zset
-- ARGV[1]   run id   [2]  now_ms   [3]  'run': its timers run on, 'freeze': they stand still   [4]  event
-- Returns   {'ok', attention}: recall what is held   {'state', state}: it is closed, stalled or held already   {'none'}
--@ states
--@ attention
local run = redis.call('HMGET', KEYS[1], 'state', 'holder', 'paused')
if not run[1] then
  return {'none'}
end
if run[3] or is_closed(run[1]) or run[1] == 'stalled' then
  return {'state', run[3] and 'paused' or run[1]}
end
redis.call('HSET', KEYS[1], 'paused', ARGV[3], 'paused_ms', ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[4])
if run[2] == '' then
  redis.call('HSET', KEYS[1], 'state', 'paused')
  redis.call('ZREM', KEYS[3], 'r|' .. ARGV[1])
end
return {'ok', attention(KEYS[1], 0)}
