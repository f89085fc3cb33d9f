-- What somebody who acts on a run must know: its state, its lease if it is held, where it is served and may go.
local function attention(run_key, fresh)
  local run = redis.call('HMGET', run_key, 'state', 'holder', 'epoch', 'nonce', 'namespace', 'queue', 'workflow', 'version', 'place')
  run[9] = run[9] or ''
  run[10] = fresh
  return run
end
