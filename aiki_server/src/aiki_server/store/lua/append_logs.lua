#!lua
-- append_logs: keep what code logged in a run, the newest so many lines.
-- KEYS[1]   run   hash   KEYS[2]  logs   zset: a line by its time, us
-- ARGV[1]   epoch, or '' for an attempt of a remote task   [2]  nonce   [3]  lines that are kept at most
-- ARGV[4]   and on: time, line; …
-- Returns   1; 0 when there is no such run, or the lease is over.
-- A line is a member, so a repeat keeps it once. At most 200 lines, so it is bounded. Not allow-oom: a full store keeps none.
local run = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'nonce')
if not run[1] or (ARGV[1] ~= '' and (run[2] ~= ARGV[1] or run[3] ~= ARGV[2])) then
  return 0
end
redis.call('ZADD', KEYS[2], unpack(ARGV, 4))
local beyond = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
if beyond > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, beyond - 1)
  redis.call('HINCRBY', KEYS[1], 'logs_dropped', beyond)
end
return 1
