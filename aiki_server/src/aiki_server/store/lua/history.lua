#!lua flags=no-writes
-- history: a page of events.
-- KEYS[1]   history  list
-- ARGV[1]   index of the first event   [2]  events at most   [3]  bytes at most (one event is always returned)
-- Returns   the events.
--@ page
local first = tonumber(ARGV[1])
local stop = math.min(first + tonumber(ARGV[2]), redis.call('LLEN', KEYS[1]))
return page(KEYS[1], first, stop, tonumber(ARGV[3]))
