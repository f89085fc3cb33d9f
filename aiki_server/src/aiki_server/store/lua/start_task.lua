#!lua flags=allow-oom
-- start_task: record that an attempt has begun.
-- KEYS[1]   tasks  hash
-- ARGV[1]   address   [2]  epoch   [3]  nonce   [4]  now_ms
-- ARGV[5]   '1': it runs at most once, so that its lease cannot be given to another any more
-- Returns   1, also on a repeat; 0 when the lease is over.
--@ tasks
local task = load_task(KEYS[1], ARGV[1])
if not task or task.state ~= 'leased' or task.epoch ~= tonumber(ARGV[2]) or task.nonce ~= ARGV[3] then
  return 0
end
if ARGV[5] == '1' and task.once ~= 1 then
  task.once, task.started, task.since = 1, 1, tonumber(ARGV[4])
  save_task(KEYS[1], ARGV[1], task)
elseif task.started == 0 then
  task.started, task.since = 1, tonumber(ARGV[4])
  save_task(KEYS[1], ARGV[1], task)
end
return 1
