#!lua
-- deliver: put an input into a run's mailbox, once.
-- KEYS[1]   run  hash   KEYS[2]  mailbox  list   KEYS[3]  ready  zset
-- KEYS[4]   seen  zset, dedupe id -> when, of the workflow id   KEYS[5]  workflow  string, workflow id -> run
-- KEYS[6]   state  hash
-- ARGV[1]   run id   [2]  event   [3]  dedupe id   [4]  now_ms   [5]  '1': only if it is the workflow id's current run
-- ARGV[6]   the field of KEYS[6] that will have the answer to an update; it is made, empty; or ''
-- Returns   {'ok', attention}   {'repeat'}   {'closed', state}   {'none'}   {'moved', run id or ''}
--           {'next', run id}: the run continued as that one
-- `seen` is looked at before the state: a repeat is a repeat even when the run has closed since. It keeps 24 h,
-- at most 10 old ones are dropped per call. Not allow-oom: a full store takes nothing new.
--@ states
--@ attention
--@ wake
--@ deliver
return deliver(KEYS, ARGV)
