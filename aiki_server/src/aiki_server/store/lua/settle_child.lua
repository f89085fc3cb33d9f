#!lua flags=allow-oom
-- settle_child: tell a parent how its child ended, once.
-- KEYS[1]   parent  hash   KEYS[2]  mailbox  list   KEYS[3]  ready  zset   KEYS[4]  tasks  hash
-- ARGV[1]   parent's run id   [2]  address of the child   [3]  event   [4]  now_ms   [5]  the child's new state
-- Returns   {'ok', attention}   {'repeat'}: it knows, does not want to know any more, or is gone
--           {'next', run id}: that run, which goes on after a reset, took the child over
-- A child is the field `child:ADDRESS`, a JSON record of state, run, workflow id and close policy.
--@ states
--@ attention
--@ wake
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return {'repeat'}
end
local text = redis.call('HGET', KEYS[4], 'child:' .. ARGV[2])
local child = text and cjson.decode(text)
if child and child.to then
  return {'next', child.to}
end
if is_closed(state) then
  return {'repeat'}
end
if not child or child.state ~= 'open' then
  return {'repeat'}
end
child.state = ARGV[5]
redis.call('HSET', KEYS[4], 'child:' .. ARGV[2], cjson.encode(child))
redis.call('RPUSH', KEYS[2], ARGV[3])
local fresh = wake(KEYS[1], KEYS[3], ARGV[1], state, ARGV[4])
return {'ok', attention(KEYS[1], fresh)}
