#!lua flags=allow-oom
-- deliver_anyway: deliver.lua for what must go on in a full store: cancellation, and what comes of accepted work.
-- KEYS, ARGV and what it returns: as deliver.lua has them.
--@ states
--@ attention
--@ wake
--@ deliver
return deliver(KEYS, ARGV)
