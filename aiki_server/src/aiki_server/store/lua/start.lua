#!lua
-- start: make a run, unless it is there or its workflow id is in use.
-- KEYS[1]   run        hash     KEYS[2]  mailbox  list     KEYS[3]  workflow  string, workflow id -> run
-- KEYS[4]   ready      zset     KEYS[5]  index of open runs, zset
-- KEYS[6]   the run that the caller believes has the workflow id, hash; KEYS[1] again if none
-- ARGV[1]   run id   [2]  the run id that KEYS[6] stands for, or ''
-- ARGV[3]   '1': a closed run may be replaced
-- ARGV[4]   now_ms   [5]  the event RunStarted
-- ARGV[6]   namespace   [7]  workflow id   [8]  workflow   [9]  version   [10]  queue   [11]  hash of the input
-- Returns   {'started'} | {'repeat'}
--           {'other', run id}: call again with that run as KEYS[6]
--           {'existing', state, 1 if workflow, version and input are equal}
-- A start whose run exists is a repeat, before any policy. Not allow-oom: a full store takes nothing new.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'repeat'}
end
local current = redis.call('GET', KEYS[3])
if current then
  if current ~= ARGV[2] then
    return {'other', current}
  end
  local other = redis.call('HMGET', KEYS[6], 'state', 'workflow', 'version', 'input_hash')
  local closed = other[1] == 'completed' or other[1] == 'failed'
  if other[1] and not (closed and ARGV[3] == '1') then
    local equal = other[2] == ARGV[8] and other[3] == ARGV[9] and other[4] == ARGV[11]
    return {'existing', other[1], equal and 1 or 0}
  end
end
redis.call('HSET', KEYS[1], 'namespace', ARGV[6], 'workflow_id', ARGV[7], 'workflow', ARGV[8], 'version', ARGV[9],
  'queue', ARGV[10], 'input_hash', ARGV[11], 'state', 'running', 'start_ms', ARGV[4], 'epoch', 0, 'nonce', '',
  'holder', '')
redis.call('RPUSH', KEYS[2], ARGV[5])
redis.call('SET', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[4], 'r|' .. ARGV[1])
redis.call('ZADD', KEYS[5], ARGV[4], ARGV[1])
return {'started'}
