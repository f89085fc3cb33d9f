#!lua flags=allow-oom
-- pulse: a write that tells nothing; WAIT after it covers everything that the node has done before.
-- KEYS[1]  pulse  string
-- Returns  1
redis.call('SET', KEYS[1], '')
return 1
