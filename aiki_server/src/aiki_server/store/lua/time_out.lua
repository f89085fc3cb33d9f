#!lua flags=allow-oom
-- time_out: end a run whose time is up and that nobody holds, as it was read.
-- KEYS[1]   run    hash   KEYS[2]  history  list   KEYS[3]  ready  zset   KEYS[4]  held: of nobody  set
-- KEYS[5]   timers  zset   KEYS[6]  tasks  hash   KEYS[7]  index of open runs  zset
-- KEYS[8]   index of timed out runs  zset   KEYS[9]  closed runs by time  zset   KEYS[10]  outbox  stream
-- KEYS[11]  index of stalled runs  zset   KEYS[12]  mailbox  list   KEYS[13]  deadlines  zset
-- ARGV[1]   run id   [2]  member of KEYS[13]   [3]  now_ms   [4]  event   [5]  epoch, when it was read
-- ARGV[6]   length of the history, when it was read   [7]  of the mailbox
-- Returns   as `terminate`; or {'changed'}: it is not as it was read, look again   {'none'}
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
if run[2] ~= '' or run[3] ~= ARGV[5] or redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[6])
  or redis.call('LLEN', KEYS[12]) ~= tonumber(ARGV[7]) then
  return {'changed'}
end
local keys = {open = KEYS[7], closed_as = KEYS[8], closed = KEYS[9], tasks = KEYS[6], timers = KEYS[5], ready = KEYS[3],
  outbox = KEYS[10], stalled = KEYS[11]}
local cancelled, moved = finish_run(keys, KEYS[1], KEYS[2], KEYS[4], ARGV[1], ARGV[4], '', ARGV[3], 'timed_out')
redis.call('ZREM', KEYS[13], ARGV[2])
return {'ok', run[5] or '', cancelled, moved, tonumber(run[3]), run[4]}
