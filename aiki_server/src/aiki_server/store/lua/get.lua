#!lua flags=no-writes
-- get: a run as it stands.
-- KEYS[1]   run   hash     KEYS[2]  history  list     KEYS[3]  mailbox  list
-- Returns   nil, or the fields in the order below, length of the history, length of the mailbox, and the last
--           event of a closed run ('' otherwise).
local run = redis.call('HMGET', KEYS[1], 'namespace', 'workflow_id', 'workflow', 'version', 'queue', 'state',
  'start_ms', 'close_ms', 'epoch', 'nonce', 'holder', 'mark', 'failure')
if not run[1] then
  return nil
end
run[14] = redis.call('LLEN', KEYS[2])
run[15] = redis.call('LLEN', KEYS[3])
run[16] = ''
if run[6] == 'completed' or run[6] == 'failed' then
  run[16] = redis.call('LINDEX', KEYS[2], -1)
end
return run
