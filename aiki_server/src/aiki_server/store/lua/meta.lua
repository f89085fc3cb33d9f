#!lua
-- meta: whose store this is; claims an empty one.
-- KEYS[1]   aiki:meta  hash
-- ARGV[1]   schema   [2]  partitions   [3]  cluster id to give it if it is new   [4]  '1': it has been used, and must not be new
-- Returns   {schema, partitions, cluster id}, or nil when it was used before and has lost its meta.
local meta = redis.call('HMGET', KEYS[1], 'schema', 'partitions', 'cluster')
if meta[1] then
  return meta
end
if ARGV[4] == '1' then
  return nil
end
redis.call('HSET', KEYS[1], 'schema', ARGV[1], 'partitions', ARGV[2], 'cluster', ARGV[3])
return {ARGV[1], ARGV[2], ARGV[3]}
