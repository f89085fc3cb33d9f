#!lua
-- start: make a run, unless it is there or its workflow id is in use.
-- KEYS[1]   run        hash     KEYS[2]  mailbox  list     KEYS[3]  workflow  string, workflow id -> run
-- KEYS[4]   ready      zset     KEYS[5]  index of open runs, zset
-- KEYS[6]   the run that the caller believes has the workflow id, hash; KEYS[1] again if none
-- KEYS[7]   timers     zset     KEYS[8]  closed runs by time  zset     KEYS[9]  deadlines  zset
-- ARGV[1]   run id   [2]  the run id that KEYS[6] stands for, or ''
-- ARGV[3]   '1': a closed run may be replaced
-- ARGV[4]   now_ms   [5]  the event RunStarted
-- ARGV[6]   namespace   [7]  workflow id   [8]  workflow   [9]  version   [10]  queue   [11]  hash of the input
-- ARGV[12]  when it begins, ms; 0: at once   [13]  parent's run id, or ''   [14]  its address in the parent
-- ARGV[15]  an event to be delivered with the start, or ''   [16]  when its time is up, ms; 0: never
-- ARGV[17]  where it may go, '' for anywhere
-- Returns   {'started'} | {'repeat', state}
--           {'other', run id}: call again with that run as KEYS[6]
--           {'existing', state, 1 if workflow, version and input are equal}
-- A start whose run exists is a repeat, before any policy. That a child was refused is recorded, so that it stays
-- refused. Not allow-oom: a full store takes nothing new.
--@ states
local there = redis.call('HGET', KEYS[1], 'state')
if there then
  return {'repeat', there}
end
local current = redis.call('GET', KEYS[3])
if current then
  if current ~= ARGV[2] then
    return {'other', current}
  end
  local other = redis.call('HMGET', KEYS[6], 'state', 'workflow', 'version', 'input_hash')
  if other[1] and not (is_closed(other[1]) and ARGV[3] == '1') then
    if ARGV[13] ~= '' then
      redis.call('HSET', KEYS[1], 'state', 'refused', 'namespace', ARGV[6], 'workflow_id', ARGV[7], 'close_ms', ARGV[4])
      redis.call('ZADD', KEYS[8], ARGV[4], ARGV[1])
    end
    local equal = other[2] == ARGV[8] and other[3] == ARGV[9] and other[4] == ARGV[11]
    return {'existing', other[1], equal and 1 or 0}
  end
end
local delayed = tonumber(ARGV[12]) > tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'namespace', ARGV[6], 'workflow_id', ARGV[7], 'workflow', ARGV[8], 'version', ARGV[9],
  'queue', ARGV[10], 'input_hash', ARGV[11], 'state', delayed and 'scheduled' or 'running', 'start_ms', ARGV[4],
  'epoch', 0, 'nonce', '', 'holder', '')
if ARGV[17] ~= '' then
  redis.call('HSET', KEYS[1], 'place', ARGV[17])
end
if ARGV[13] ~= '' then
  redis.call('HSET', KEYS[1], 'parent', ARGV[13], 'parent_address', ARGV[14])
end
redis.call('RPUSH', KEYS[2], ARGV[5])
if ARGV[15] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[15])
end
redis.call('SET', KEYS[3], ARGV[1])
if delayed then
  redis.call('ZADD', KEYS[7], ARGV[12], 'wake|' .. ARGV[1] .. '|')
else
  redis.call('ZADD', KEYS[4], ARGV[4], 'r|' .. ARGV[1])
end
redis.call('ZADD', KEYS[5], ARGV[4], ARGV[1])
if ARGV[16] ~= '0' then
  redis.call('ZADD', KEYS[9], ARGV[16], ARGV[1] .. '|' .. ARGV[6])
end
return {'started'}
