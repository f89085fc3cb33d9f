#!lua flags=allow-oom
-- release_task: end the lease of a remote task before its time; it is ready again.
-- KEYS[1]   tasks  hash   KEYS[2]  run  hash   KEYS[3]  ready  zset   KEYS[4]  held:INCARNATION  set
-- KEYS[5]   timers  zset
-- ARGV[1]   run id   [2]  address   [3]  epoch   [4]  nonce   [5]  incarnation   [6]  now_ms
-- ARGV[7]   '1': its worker died. Two losses, its run's counted as one, and the task runs alone; what it loses alone
--           is kept in `deaths`.
-- Returns   {'released', namespace, queue, handler, where it may go}   {'fenced', epoch, nonce, holder}: not held (any more)
--           {'begun', worker}: it runs at most once and has begun, so that it stays leased: fail it
--@ tasks
--@ mine
local task = load_task(KEYS[1], ARGV[2])
forget_held(task, KEYS[4], ARGV[1], ARGV[2], ARGV[5])
if not is_mine(task, ARGV[3], ARGV[4], ARGV[5]) then
  return fenced_task(task)
end
if task.once == 1 then
  return {'begun', task.worker}
end
if ARGV[7] == '1' then
  task.lost = (task.lost or 0) + 1
  if task.alone == 1 then
    task.deaths = (task.deaths or '') .. ' ' .. ARGV[5]
  end
end
task.holder, task.worker, task.alone = '', '', 0
make_ready(KEYS[3], ARGV[1], ARGV[2], task, ARGV[6])
save_task(KEYS[1], ARGV[2], task)
redis.call('SREM', KEYS[4], 't|' .. ARGV[1] .. '|' .. ARGV[2])
if task.queue_by > 0 then
  arm_task(KEYS[5], ARGV[1], ARGV[2], task)
end
return {'released', redis.call('HGET', KEYS[2], 'namespace') or '', task.queue, task.handler, task.place or ''}
