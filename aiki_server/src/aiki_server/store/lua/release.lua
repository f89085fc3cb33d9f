#!lua flags=allow-oom
-- release: end the lease of a run before its time; the run needs attention again.
-- KEYS[1]   run  hash   KEYS[2]  ready  zset   KEYS[3]  held:INCARNATION  set
-- ARGV[1]   run id   [2]  epoch   [3]  nonce   [4]  incarnation   [5]  now_ms   [6]  '1': its worker died
-- Returns   {'released', attention}: see parts/attention.lua
--           {'fenced', epoch, nonce, holder}: it was not held (any more)
-- Used for recall, drain, gap, expiry and cleanup alike. A lease that is over leaves nothing in held:INCARNATION.
--@ attention
--@ wake
local run = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'holder', 'state', 'paused')
local member = 'r|' .. ARGV[1]
if run[1] ~= ARGV[2] or run[2] ~= ARGV[3] or run[3] ~= ARGV[4] then
  if run[3] ~= ARGV[4] then
    redis.call('SREM', KEYS[3], member)
  end
  return {'fenced', tonumber(run[1] or 0), run[2] or '', run[3] or ''}
end
redis.call('HSET', KEYS[1], 'holder', '')
if ARGV[6] == '1' then
  redis.call('HINCRBY', KEYS[1], 'losses', 1)
end
redis.call('SREM', KEYS[3], member)
local state = run[4]
if run[5] and state == 'running' then
  state = 'paused'
  redis.call('HSET', KEYS[1], 'state', state)
  redis.call('ZREM', KEYS[2], member)
end
local fresh = wake(KEYS[1], KEYS[2], ARGV[1], state, ARGV[5])
return {'released', attention(KEYS[1], fresh)}
