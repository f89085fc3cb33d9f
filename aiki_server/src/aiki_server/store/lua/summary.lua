#!lua flags=no-writes
-- summary: a run as a listing shows it.
-- KEYS[1]   run   hash     KEYS[2]  history  list
-- Returns   as get.lua, with neither failure nor last event, and 0 for the mailbox.
local run = redis.call('HMGET', KEYS[1], 'namespace', 'workflow_id', 'workflow', 'version', 'queue', 'state',
  'start_ms', 'close_ms', 'epoch', 'nonce', 'holder', 'mark')
if not run[1] then
  return nil
end
run[13] = ''
run[14] = redis.call('LLEN', KEYS[2])
run[15] = 0
run[16] = ''
return run
