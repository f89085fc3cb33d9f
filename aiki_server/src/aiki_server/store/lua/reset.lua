#!lua flags=allow-oom
-- reset: end a run, unless it is closed, and make another that goes on from an event of its history.
-- KEYS[1]   run  hash   KEYS[2]  history  list   KEYS[3]  ready  zset   KEYS[4]  held:INCARNATION  set
-- KEYS[5]   timers  zset   KEYS[6]  tasks  hash   KEYS[7]  index of open runs  zset
-- KEYS[8]   index of terminated runs  zset   KEYS[9]  closed runs by time  zset   KEYS[10]  outbox  stream
-- KEYS[11]  index of stalled runs  zset   KEYS[12]  mailbox  list   KEYS[13]  workflow  string, workflow id -> run
-- KEYS[14]  the new run  hash   KEYS[15]  its history  list   KEYS[16]  its mailbox  list   KEYS[17]  its tasks  hash
-- KEYS[18]  its state  hash   KEYS[19]  deadlines  zset
-- ARGV[1]   run id   [2]  the incarnation that KEYS[4] is of   [3]  now_ms   [4]  the event RunTerminated
-- ARGV[5]   the new run's id   [6]  length of the history   [7]  length of the mailbox   [8]  events that are kept
-- ARGV[9 …] as `branch` says
-- Returns   as `terminate`; or {'repeat'}: the new run is there   {'other', run id}: it has the workflow id
--           {'changed'}: history or mailbox have other lengths, look again
--@ states
--@ tasks
--@ close
--@ finish
--@ branch
if redis.call('EXISTS', KEYS[14]) == 1 then
  return {'repeat'}
end
local run = redis.call('HMGET', KEYS[1], 'state', 'holder', 'epoch', 'nonce', 'waiters')
if not run[1] then
  return {'none'}
end
local current = redis.call('GET', KEYS[13])
if current ~= ARGV[1] then
  return {'other', current or ''}
end
if not is_closed(run[1]) and run[2] ~= ARGV[2] then
  return {'holder', run[2]}
end
if redis.call('LLEN', KEYS[2]) ~= tonumber(ARGV[6]) or redis.call('LLEN', KEYS[12]) ~= tonumber(ARGV[7]) then
  return {'changed'}
end
local run_id, now_ms, next_id, at = ARGV[1], ARGV[3], ARGV[5], 9
redis.call('COPY', KEYS[2], KEYS[15], 'REPLACE')

-- Children that were started before go over, in the state they are in; how they end is sent after them.
local first = at + 7 + 2 * (tonumber(ARGV[at + 2]) + tonumber(ARGV[at + 3]))
for i = first, first + 2 * (tonumber(ARGV[at + 4]) - 1), 2 do
  local field = 'child:' .. ARGV[i]
  local child = cjson.decode(ARGV[i + 1])
  local open = child.state == 'open'
  child.state, child.to = 'moved', next_id
  redis.call('HSET', KEYS[6], field, cjson.encode(child))
  if open then
    redis.call('XADD', KEYS[10], '*', 'k', 'moved', 'n', redis.call('HGET', KEYS[1], 'namespace'), 's', next_id,
      't', run_id, 'a', ARGV[i], 'd', child.run)
  end
end
local about = redis.call('HMGET', KEYS[1], 'namespace', 'workflow_id', 'workflow', 'version', 'queue', 'parent', 'parent_address', 'place')
local cancelled, moved = {}, 1
if not is_closed(run[1]) then
  local keys = {open = KEYS[7], closed_as = KEYS[8], closed = KEYS[9], tasks = KEYS[6], timers = KEYS[5], ready = KEYS[3],
    outbox = KEYS[10], stalled = KEYS[11]}
  cancelled = finish_run(keys, KEYS[1], KEYS[2], KEYS[4], run_id, ARGV[4], next_id, now_ms)
  redis.call('DEL', KEYS[12])
end
local keys = {run = KEYS[14], history = KEYS[15], mailbox = KEYS[16], tasks = KEYS[17], state = KEYS[18],
  workflow = KEYS[13], ready = KEYS[3], timers = KEYS[5], open = KEYS[7], deadlines = KEYS[19]}
branch(keys, {next_id, about[1], about[2], about[3], about[4], about[5], about[8] or ''}, tonumber(ARGV[8]), now_ms, at)
redis.call('HSET', KEYS[14], 'previous', run_id)
if about[6] then
  redis.call('HSET', KEYS[14], 'parent', about[6], 'parent_address', about[7])
end
return {'ok', run[5] or '', cancelled, moved, tonumber(run[3]), run[4]}
