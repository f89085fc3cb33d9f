#!lua flags=allow-oom
-- commit: append to a run's history under its lease, with all that the events mean.
-- KEYS[1]   run    hash   KEYS[2]  history  list   KEYS[3]  mailbox  list   KEYS[4]  ready  zset
-- KEYS[5]   held:INCARNATION  set   KEYS[6]  timers  zset   KEYS[7]  tasks  hash
-- KEYS[8]   index of open runs  zset   KEYS[9]  index of stalled, completed or failed runs  zset
-- KEYS[10]  closed runs by time  zset   KEYS[11]  state  hash   KEYS[12]  outbox  stream
-- KEYS[13]  run, mailbox (KEYS[14]), workflow (KEYS[15]) and deadlines (KEYS[16]) of the run that continues this one;
--           else KEYS[1]
-- ARGV[1]   run id   [2]  epoch   [3]  nonce   [4]  incarnation   [5]  number: 1, 2, 3 … within the lease
-- ARGV[6]   now_ms   [7]  '1': drain   [8]  '1': idle   [9]  'stalled', a closed state or ''
-- ARGV[10]  why it stalls   [11]  the namespace that KEYS[8] and KEYS[9] are of
-- ARGV[12]  events   [13]  timers   [14]  cancelled timers   [15]  dispatches   [16]  cancelled tasks
-- ARGV[17]  fields   [18]  children   [19]  effects elsewhere   [20]  parts of the next run, and then
--           these: event; due_ms, member; member; address, handler, queue, spec, attempts made, deadline_ms,
--           the longest it may wait in its queue, ms, where it may go; address;
--           field, value; address, record; event; and of the next run its id, version, when it begins (0: at once),
--           when its time is up (0: never) and the first events of its mailbox
-- Returns   {'ok', length, events drained, 1 if mail is left, 1 if released, 1 if closed, waiters,
--            drained events, {address, epoch, nonce, incarnation, …} of cancelled leases, 1 if the outbox has more}
--           {'fenced', epoch, nonce, holder}   {'gap', last number}   {'namespace', the right one}
-- Fence first, then the number, then the state: a repeat of the commit that closed or released is answered
-- alike. At most 500 commands and 100 inputs, so it is bounded. Allow-oom: at the limit runs must be able to end.
--@ drain
--@ tasks
--@ close
local run = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'holder', 'number', 'answer', 'waiters', 'namespace', 'start_ms', 'paused', 'losses')
if run[1] ~= ARGV[2] or run[2] ~= ARGV[3] then
  return {'fenced', tonumber(run[1] or 0), run[2] or '', run[3] or ''}
end
local number, last = tonumber(ARGV[5]), tonumber(run[4])
if number <= last then
  local answer = {}
  for value in string.gmatch(run[5], '%d+') do
    answer[#answer + 1] = tonumber(value)
  end
  local length, count = answer[1], answer[2]
  local drained = {}
  if number == last and count > 0 then
    drained = redis.call('LRANGE', KEYS[2], length - count, length - 1)
  end
  local released, closed, moved = 0, 0, 0
  if number == last then
    released, closed, moved = answer[3], answer[4], answer[5]
  end
  local waits = redis.call('LLEN', KEYS[3]) > 0 and released == 0
  return {'ok', length, #drained, waits and 1 or 0, released, closed, run[6] or '', drained, {}, moved}
end
if run[3] ~= ARGV[4] then
  return {'fenced', tonumber(run[1]), run[2], run[3]}
end
if number > last + 1 then
  return {'gap', last}
end
local ending = ARGV[9]
if ending ~= '' and run[7] ~= ARGV[11] then
  return {'namespace', run[7]}
end

local run_id, now_ms = ARGV[1], ARGV[6]
local member = 'r|' .. run_id
local at = 21
local function take(count)
  local taken = {}
  for i = 1, count do
    taken[i] = ARGV[at + i - 1]
  end
  at = at + count
  return taken
end

local left_to_push = tonumber(ARGV[12])
local length
while left_to_push > 0 do
  local count = math.min(left_to_push, 1000)
  length = redis.call('RPUSH', KEYS[2], unpack(take(count)))
  left_to_push = left_to_push - count
end
for _ = 1, tonumber(ARGV[13]) do
  redis.call('ZADD', KEYS[6], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[14]) do
  redis.call('ZREM', KEYS[6], ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[15]) do
  local address, deadline = ARGV[at], tonumber(ARGV[at + 5])
  if redis.call('HEXISTS', KEYS[7], 'task:' .. address) == 0 then
    local task = {handler = ARGV[at + 1], queue = ARGV[at + 2], attempts = tonumber(ARGV[at + 4]), deadline = deadline,
      epoch = 0, nonce = '', holder = '', worker = '', started = 0, queue_ms = tonumber(ARGV[at + 6]), lost = run[10] and 1 or 0,
      place = ARGV[at + 7] ~= '' and ARGV[at + 7] or nil}
    make_ready(KEYS[4], run_id, address, task, now_ms)
    save_task(KEYS[7], address, task)
    redis.call('HSET', KEYS[7], 'spec:' .. address, ARGV[at + 3])
    if deadline > 0 or task.queue_by > 0 then
      arm_task(KEYS[6], run_id, address, task)
    end
  end
  at = at + 8
end

local keys = {open = KEYS[8], closed_as = KEYS[9], closed = KEYS[10], tasks = KEYS[7], timers = KEYS[6], ready = KEYS[4],
  outbox = KEYS[12]}
local cancelled, moved = {}, 0
for _ = 1, tonumber(ARGV[16]) do
  cancel_task(keys, run_id, ARGV[at], cancelled, now_ms)
  at = at + 1
end
local fields = tonumber(ARGV[17])
for _ = 1, fields do
  redis.call('HSET', KEYS[11], ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[18]) do
  redis.call('HSETNX', KEYS[7], 'child:' .. ARGV[at], ARGV[at + 1])
  redis.call('HSET', KEYS[1], 'children', 1)
  at = at + 2
end
for _ = 1, tonumber(ARGV[19]) do
  redis.call('XADD', KEYS[12], '*', 'k', 'command', 'n', run[7], 's', run_id, 't', run_id, 'a', '', 'd', ARGV[at])
  moved = 1
  at = at + 1
end

local drained, left, released, closed = {}, 0, 0, 0
if ending == '' then
  if ARGV[7] == '1' then
    drained, left = drain(KEYS[3], KEYS[2])
    if left == 0 then
      redis.call('ZREM', KEYS[4], member)
    end
    if ARGV[8] == '1' and #drained == 0 then
      released = 1
    end
  else
    left = redis.call('LLEN', KEYS[3])
  end
else
  released = 1
  if ending == 'stalled' then
    redis.call('ZREM', KEYS[4], member)
    redis.call('ZADD', KEYS[9], run[8], run_id)
    redis.call('HSET', KEYS[1], 'failure', ARGV[10])
  else
    closed = 1
    local ended, told = close_run(keys, KEYS[1], run_id, ending, redis.call('LINDEX', KEYS[2], -1), now_ms)
    for _, value in ipairs(ended) do
      cancelled[#cancelled + 1] = value
    end
    moved = math.max(moved, told)
  end
  if ending == 'continued' then
    local next_id, begins = ARGV[at], tonumber(ARGV[at + 2])
    local old = redis.call('HMGET', KEYS[1], 'namespace', 'workflow_id', 'workflow', 'queue', 'parent', 'parent_address', 'place')
    redis.call('HSET', KEYS[1], 'next', next_id)
    redis.call('HSET', KEYS[13], 'namespace', old[1], 'workflow_id', old[2], 'workflow', old[3], 'version', ARGV[at + 1],
      'queue', old[4], 'input_hash', '', 'state', begins > 0 and 'scheduled' or 'running', 'start_ms', now_ms,
      'epoch', 0, 'nonce', '', 'holder', '', 'previous', run_id)
    if old[5] then
      redis.call('HSET', KEYS[13], 'parent', old[5], 'parent_address', old[6])
    end
    if old[7] then
      redis.call('HSET', KEYS[13], 'place', old[7])
    end
    if redis.call('EXISTS', KEYS[3]) == 1 then
      redis.call('RENAME', KEYS[3], KEYS[14])
    end
    for i = tonumber(ARGV[20]), 5, -1 do
      redis.call('LPUSH', KEYS[14], ARGV[at + i - 1])
    end
    if ARGV[at + 3] ~= '0' then
      redis.call('ZADD', KEYS[16], ARGV[at + 3], next_id .. '|' .. run[7])
    end
    if redis.call('GET', KEYS[15]) == run_id then
      redis.call('SET', KEYS[15], next_id)
    end
    redis.call('ZADD', KEYS[8], now_ms, next_id)
    if begins > 0 then
      redis.call('ZADD', KEYS[6], begins, 'wake|' .. next_id .. '|')
    else
      redis.call('ZADD', KEYS[4], now_ms, 'r|' .. next_id)
    end
  end
end
length = length and length + #drained or redis.call('LLEN', KEYS[2])
local answer = length .. ':' .. #drained .. ':' .. released .. ':' .. closed .. ':' .. moved
if released == 1 then
  local state = ending
  if ending == '' then
    state = run[9] and 'paused' or 'waiting'
  end
  redis.call('HSET', KEYS[1], 'number', number, 'answer', answer, 'holder', '', 'state', state, 'mark', ARGV[2] .. ':' .. ARGV[3] .. ':' .. length)
  redis.call('SREM', KEYS[5], member)
  if run[10] then
    redis.call('HDEL', KEYS[1], 'losses')
  end
else
  redis.call('HSET', KEYS[1], 'number', number, 'answer', answer)
end
local told = (released == 1 and ending ~= '' or fields > 0) and run[6] or ''
return {'ok', length, #drained, left > 0 and 1 or 0, released, closed, told, drained, cancelled, moved}
