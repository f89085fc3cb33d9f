-- Is this the task's lease that is held now? A lease that is over leaves nothing in held:INCARNATION. Incarnation ''
-- stands for whoever has the token of an attempt.
local function is_mine(task, epoch, nonce, incarnation)
  return task and (task.state == 'leased' or incarnation == '' and task.state == 'deferred')
    and task.epoch == tonumber(epoch) and task.nonce == nonce and (incarnation == '' or task.holder == incarnation)
end

local function forget_held(task, held_key, run_id, address, incarnation)
  if not (task and task.state == 'leased' and task.holder == incarnation) then
    redis.call('SREM', held_key, 't|' .. run_id .. '|' .. address)
  end
end

local function fenced_task(task)
  if task and task.state == 'leased' then
    return {'fenced', task.epoch, task.nonce, task.holder}
  end
  return {'fenced', 0, '', ''}
end
