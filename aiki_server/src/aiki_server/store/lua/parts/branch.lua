-- The rest of `reset` and `fork`: the run that goes on from a history that is there already. `about` has run id,
-- namespace, workflow id, workflow, version, queue and where it may go ('' for anywhere); ARGV from `at` on: the first event, the note RunReset, and
-- counts of timers, fields, children and mail, when its time is up (0: never), and then these: member, due_ms; field, value; address, record; event.
local function branch(keys, about, length, now_ms, at)
  redis.call('LTRIM', keys.history, 0, length - 1)
  redis.call('LSET', keys.history, 0, ARGV[at])
  redis.call('RPUSH', keys.history, ARGV[at + 1])
  local timers, fields, children, mail = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  if ARGV[at + 6] ~= '0' then
    redis.call('ZADD', keys.deadlines, ARGV[at + 6], about[1] .. '|' .. about[2])
  end
  at = at + 7
  redis.call('HSET', keys.run, 'namespace', about[2], 'workflow_id', about[3], 'workflow', about[4], 'version', about[5],
    'queue', about[6], 'input_hash', '', 'state', 'running', 'start_ms', now_ms, 'epoch', 0, 'nonce', '', 'holder', '')
  if about[7] ~= '' then
    redis.call('HSET', keys.run, 'place', about[7])
  end
  for _ = 1, tonumber(timers) do
    redis.call('ZADD', keys.timers, ARGV[at + 1], ARGV[at])
    at = at + 2
  end
  for _ = 1, tonumber(fields) do
    redis.call('HSET', keys.state, ARGV[at], ARGV[at + 1])
    at = at + 2
  end
  for _ = 1, tonumber(children) do
    redis.call('HSET', keys.tasks, 'child:' .. ARGV[at], ARGV[at + 1])
    redis.call('HSET', keys.run, 'children', 1)
    at = at + 2
  end
  for _ = 1, tonumber(mail) do
    redis.call('RPUSH', keys.mailbox, ARGV[at])
    at = at + 1
  end
  redis.call('SET', keys.workflow, about[1])
  redis.call('ZADD', keys.open, now_ms, about[1])
  redis.call('ZADD', keys.ready, now_ms, 'r|' .. about[1])
end
