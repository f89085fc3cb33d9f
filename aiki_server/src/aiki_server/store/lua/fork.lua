#!lua
-- fork: make a run that goes on from an event of another, which stays as it is, under a new workflow id.
-- KEYS[1]   run  hash   KEYS[2]  history  list   KEYS[3]  mailbox  list   KEYS[4]  tasks  hash   KEYS[5]  state  hash
-- KEYS[6]   workflow  string, workflow id -> run   KEYS[7]  ready  zset   KEYS[8]  timers  zset
-- KEYS[9]   index of open runs  zset   KEYS[10]  deadlines  zset
-- ARGV[1]   run id   [2]  namespace   [3]  workflow id   [4]  workflow   [5]  version   [6]  queue   [7]  now_ms
-- ARGV[8]   events that are kept   [9]  the other run's history, as DUMP said   [10]  where it may go, '' for anywhere
-- ARGV[11 …] as `branch` says
-- Returns   {'ok'} | {'repeat'} | {'taken', run id}
--@ branch
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'repeat'}
end
local current = redis.call('GET', KEYS[6])
if current then
  return {'taken', current}
end
redis.call('RESTORE', KEYS[2], 0, ARGV[9], 'REPLACE')
local keys = {run = KEYS[1], history = KEYS[2], mailbox = KEYS[3], tasks = KEYS[4], state = KEYS[5], workflow = KEYS[6],
  ready = KEYS[7], timers = KEYS[8], open = KEYS[9], deadlines = KEYS[10]}
branch(keys, {ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[10]}, tonumber(ARGV[8]), ARGV[7], 11)
return {'ok'}
