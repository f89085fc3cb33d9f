#!lua flags=allow-oom
-- watch: have a coordinator told when a run closes or stalls.
-- KEYS[1]   run  hash
-- ARGV[1]   coordinator id, without spaces
-- Returns   the state, or nil when there is no such run. A closed run is not watched.
-- Nothing is written for a run that is held through that very coordinator: it sees the commit itself.
-- At most 64 coordinators; the oldest goes first, and those that wait re-read every few seconds anyway.
--@ states
local run = redis.call('HMGET', KEYS[1], 'state', 'waiters', 'holder')
if not run[1] or is_closed(run[1]) then
  return run[1]
end
if string.sub(run[3] or '', 1, #ARGV[1] + 1) == ARGV[1] .. '.' then
  return run[1]
end
local waiters = {}
for waiter in string.gmatch(run[2] or '', '%S+') do
  if waiter == ARGV[1] then
    return run[1]
  end
  waiters[#waiters + 1] = waiter
end
waiters[#waiters + 1] = ARGV[1]
redis.call('HSET', KEYS[1], 'waiters', table.concat(waiters, ' ', math.max(1, #waiters - 63)))
return run[1]
