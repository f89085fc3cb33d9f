#!lua flags=no-writes
-- get: a run as it stands.
-- KEYS[1]   run   hash     KEYS[2]  history  list     KEYS[3]  mailbox  list
-- Returns   nil, or the fields in the order below, and after `failure` the length of the history, that of the mailbox, and the
--           last event of a closed run ('' otherwise).
--@ states
local run = redis.call('HMGET', KEYS[1], 'namespace', 'workflow_id', 'workflow', 'version', 'queue', 'state',
  'start_ms', 'close_ms', 'epoch', 'nonce', 'holder', 'mark', 'failure', 'parent', 'next', 'previous', 'paused',
  'runtime', 'place', 'held_ms')
if not run[1] then
  return nil
end
local rest = {run[14], run[15], run[16], run[17], run[18], run[19], run[20]}
run[14] = redis.call('LLEN', KEYS[2])
run[15] = redis.call('LLEN', KEYS[3])
run[16] = ''
if is_closed(run[6]) then
  run[16] = redis.call('LINDEX', KEYS[2], -1) or ''
end
for i = 1, 7 do
  run[16 + i] = rest[i] or ''
end
return run
