#!lua flags=no-writes
-- look: what a partition holds that somebody may have to act on.
-- KEYS[1]   ready  zset   KEYS[2]  timers  zset   KEYS[3]  deadlines  zset   KEYS[4]  outbox  stream
-- KEYS[5]   holders  zset
-- Returns   nil: nothing at all
--           {oldest hint, first timer, first deadline, entries of the outbox, holders}: times in ms, '' for none
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]) == 0 then
  return nil
end
local function first(key)
  return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or ''
end
return {first(KEYS[1]), first(KEYS[2]), first(KEYS[3]), redis.call('XLEN', KEYS[4]), redis.call('ZRANGE', KEYS[5], 0, -1)}
