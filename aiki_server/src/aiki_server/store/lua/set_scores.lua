#!lua flags=allow-oom
-- set_scores: who is alive until when, or what was hinted when; also in a full store, where sessions must go on.
-- KEYS[1]  zset
-- ARGV[1]  'XX': only of members that are there, or ''
-- ARGV[2…] score, member, …; at most 1,000 of them
-- Returns  1
local arguments = {KEYS[1]}
if ARGV[1] ~= '' then
  arguments[2] = ARGV[1]
end
for at = 2, #ARGV do
  arguments[#arguments + 1] = ARGV[at]
end
redis.call('ZADD', unpack(arguments))
return 1
