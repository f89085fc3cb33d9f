#!lua flags=allow-oom
-- move_timer: change when a timer of a run fires.
-- KEYS[1]   run  hash   KEYS[2]  timers  zset   KEYS[3]  mailbox  list   KEYS[4]  ready  zset
-- ARGV[1]   run id   [2]  member of KEYS[2]   [3]  due_ms   [4]  event for the run, or ''   [5]  now_ms
-- Returns   {'ok', attention}   {'none'}: there is no such timer, or it has fired
--@ attention
--@ wake
if not redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  return {'none'}
end
redis.call('ZADD', KEYS[2], 'XX', ARGV[3], ARGV[2])
local fresh = 0
if ARGV[4] ~= '' then
  redis.call('RPUSH', KEYS[3], ARGV[4])
  fresh = wake(KEYS[1], KEYS[4], ARGV[1], redis.call('HGET', KEYS[1], 'state'), ARGV[5])
end
return {'ok', attention(KEYS[1], fresh)}
