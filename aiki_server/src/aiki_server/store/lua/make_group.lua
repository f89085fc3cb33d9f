#!lua flags=allow-oom
-- make_group: a stream that can be read by a group; from its beginning, if the group is new. In a full store too.
-- KEYS[1]  stream
-- ARGV[1]  group
-- Returns  1
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
  return made
end
return 1
