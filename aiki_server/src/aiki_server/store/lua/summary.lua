#!lua flags=no-writes
-- summary: a run as a listing shows it.
-- KEYS[1]   run   hash     KEYS[2]  history  list
-- Returns   as get.lua, with neither failure nor last event, and 0 for the mailbox.
local run = redis.call('HMGET', KEYS[1], 'namespace', 'workflow_id', 'workflow', 'version', 'queue', 'state',
  'start_ms', 'close_ms', 'epoch', 'nonce', 'holder', 'mark', 'parent', 'next', 'previous', 'paused',
  'runtime', 'place', 'held_ms')
if not run[1] then
  return nil
end
local rest = {run[13], run[14], run[15], run[16], run[17], run[18], run[19]}
run[13] = ''
run[14] = redis.call('LLEN', KEYS[2])
run[15] = 0
run[16] = ''
for i = 1, 7 do
  run[16 + i] = rest[i] or ''
end
return run
