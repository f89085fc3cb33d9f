#!lua flags=allow-oom
-- renew: extend a session, unless it is gone.
-- KEYS[1]   aiki:sessions  zset, incarnation -> expiry in ms
-- ARGV[1]   incarnation   [2]  expiry in ms, by the store's clock
-- Returns   1, or 0 when it is gone. A renewal always changes the entry: sweepers look for that.
local expiry = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not expiry then
  return 0
end
redis.call('ZADD', KEYS[1], math.max(tonumber(ARGV[2]), tonumber(expiry) + 1), ARGV[1])
return 1
