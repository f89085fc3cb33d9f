#!lua
-- deliver: put an input into a run's mailbox, once.
-- KEYS[1]   run  hash   KEYS[2]  mailbox  list   KEYS[3]  ready  zset
-- KEYS[4]   seen  zset, dedupe id -> when, of the workflow id   KEYS[5]  workflow  string, workflow id -> run
-- ARGV[1]   run id   [2]  event   [3]  dedupe id   [4]  now_ms   [5]  '1': only if it is the workflow id's current run
-- Returns   {'ok', attention}   {'repeat'}   {'closed', state}   {'none'}   {'moved', run id or ''}
-- `seen` is looked at before the state: a repeat is a repeat even when the run has closed since. It keeps 24 h,
-- at most 10 old ones are dropped per call. Not allow-oom: a full store takes nothing new.
--@ attention
--@ wake
if ARGV[5] == '1' then
  local current = redis.call('GET', KEYS[5])
  if current ~= ARGV[1] then
    return {'moved', current or ''}
  end
end
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return {'none'}
end
if redis.call('ZSCORE', KEYS[4], ARGV[3]) then
  return {'repeat'}
end
if state == 'completed' or state == 'failed' then
  return {'closed', state}
end
local old = redis.call('ZRANGE', KEYS[4], '-inf', tonumber(ARGV[4]) - 86400000, 'BYSCORE', 'LIMIT', 0, 10)
if #old > 0 then
  redis.call('ZREM', KEYS[4], unpack(old))
end
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[3])
redis.call('RPUSH', KEYS[2], ARGV[2])
local fresh = wake(KEYS[1], KEYS[3], ARGV[1], state, ARGV[4])
return {'ok', attention(KEYS[1], fresh)}
