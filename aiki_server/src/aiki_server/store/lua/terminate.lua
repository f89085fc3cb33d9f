#!lua flags=allow-oom
-- terminate: end a run at once, whoever holds it.
-- KEYS[1]   run    hash   KEYS[2]  history  list   KEYS[3]  ready  zset   KEYS[4]  held:INCARNATION  set
-- KEYS[5]   timers  zset   KEYS[6]  tasks  hash   KEYS[7]  index of open runs  zset
-- KEYS[8]   index of terminated runs  zset   KEYS[9]  closed runs by time  zset   KEYS[10]  outbox  stream
-- KEYS[11]  index of stalled runs  zset
-- ARGV[1]   run id   [2]  the incarnation that KEYS[4] is of   [3]  now_ms   [4]  event
-- Returns   {'ok', waiters, {address, epoch, nonce, incarnation, …} of cancelled leases, 1 if the outbox has more,
--           epoch and nonce of the lease that this ended}
--           {'holder', incarnation}: call again with that one   {'state', the state it is closed in}   {'none'}
-- The epoch goes up, so what its holder still commits is fenced.
--@ states
--@ tasks
--@ close
--@ finish
local run = redis.call('HMGET', KEYS[1], 'state', 'holder', 'epoch', 'nonce', 'waiters')
if not run[1] then
  return {'none'}
end
if is_closed(run[1]) then
  return {'state', run[1]}
end
if run[2] ~= ARGV[2] then
  return {'holder', run[2]}
end
local keys = {open = KEYS[7], closed_as = KEYS[8], closed = KEYS[9], tasks = KEYS[6], timers = KEYS[5], ready = KEYS[3],
  outbox = KEYS[10], stalled = KEYS[11]}
local cancelled, moved = finish_run(keys, KEYS[1], KEYS[2], KEYS[4], ARGV[1], ARGV[4], '', ARGV[3])
return {'ok', run[5] or '', cancelled, moved, tonumber(run[3]), run[4]}
