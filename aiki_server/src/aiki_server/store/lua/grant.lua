#!lua flags=allow-oom
-- grant: lease a run that needs attention, move its mail into the history, return what the worker lacks.
-- KEYS[1]   run    hash   KEYS[2]  history  list   KEYS[3]  mailbox  list
-- KEYS[4]   ready  zset   KEYS[5]  held:INCARNATION  set   KEYS[6]  holders  zset
-- ARGV[1]   run id   [2]  incarnation   [3]  nonce, new for each lease   [4]  now_ms
-- ARGV[5]   what the worker has cached, 'EPOCH:NONCE:LENGTH' of the release, or ''
-- ARGV[6]   bytes of events to return at most   [7]  what runs the worker's code, or ''
-- Returns   {'no'}, or {'granted', epoch, length, first index, 1 if mail is left, events, and of the run:
--           namespace, workflow id, workflow, version, queue, start_ms, leases lost with dead workers, where it may go}
-- A nonce that is the current one is a repeat and gets the same answer while the lease is held; a later one
-- gets 'no'. Allow-oom: it takes no more than it frees, and a full store must be able to go on.
--@ drain
--@ page
local run = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'nonce', 'holder', 'mark', 'granted',
  'namespace', 'workflow_id', 'workflow', 'version', 'queue', 'start_ms', 'losses', 'place')
local member = 'r|' .. ARGV[1]
local state = run[1]
if state ~= 'running' and state ~= 'waiting' then
  redis.call('ZREM', KEYS[4], member)
  return {'no'}
end
local epoch, length, first, left = tonumber(run[2]), 0, 0, 0
if run[4] ~= '' then
  if run[3] ~= ARGV[3] or run[4] ~= ARGV[2] then
    return {'no'}
  end
  local values = {}
  for value in string.gmatch(run[6], '%d+') do
    values[#values + 1] = tonumber(value)
  end
  length, first = values[1], values[2]
  left = redis.call('LLEN', KEYS[3])
else
  if run[3] == ARGV[3] or not redis.call('ZSCORE', KEYS[4], member) then
    return {'no'}
  end
  epoch = epoch + 1
  local _, remaining = drain(KEYS[3], KEYS[2])
  left = remaining
  length = redis.call('LLEN', KEYS[2])
  if run[5] and run[5] == ARGV[5] then
    first = tonumber(string.match(ARGV[5], '(%d+)$'))
  end
  if left == 0 then
    redis.call('ZREM', KEYS[4], member)
  end
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'nonce', ARGV[3], 'holder', ARGV[2], 'state', 'running',
    'number', 0, 'answer', '', 'granted', length .. ':' .. first, 'held_ms', ARGV[4])
  if ARGV[7] ~= '' then
    redis.call('HSET', KEYS[1], 'runtime', ARGV[7])
  end
  redis.call('SADD', KEYS[5], member)
  redis.call('ZADD', KEYS[6], 'NX', ARGV[4], ARGV[2])
end
return {'granted', epoch, length, first, left > 0 and 1 or 0, page(KEYS[2], first, length, tonumber(ARGV[6])),
  run[7], run[8], run[9], run[10], run[11], run[12], tonumber(run[13] or 0), run[14] or ''}
