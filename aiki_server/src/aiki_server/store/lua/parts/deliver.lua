-- Put an input into a run's mailbox, once; deliver.lua says what the keys and arguments are.
local function deliver(KEYS, ARGV)
  if ARGV[5] == '1' then
    local current = redis.call('GET', KEYS[5])
    if current ~= ARGV[1] then
      return {'moved', current or ''}
    end
  end
  local run = redis.call('HMGET', KEYS[1], 'state', 'next')
  local state = run[1]
  if not state then
    return {'none'}
  end
  if redis.call('ZSCORE', KEYS[4], ARGV[3]) or (ARGV[6] ~= '' and redis.call('HEXISTS', KEYS[6], ARGV[6]) == 1) then
    return {'repeat'}
  end
  if is_closed(state) then
    return run[2] and {'next', run[2]} or {'closed', state}
  end
  local old = redis.call('ZRANGE', KEYS[4], '-inf', tonumber(ARGV[4]) - 86400000, 'BYSCORE', 'LIMIT', 0, 10)
  if #old > 0 then
    redis.call('ZREM', KEYS[4], unpack(old))
  end
  redis.call('ZADD', KEYS[4], ARGV[4], ARGV[3])
  if ARGV[6] ~= '' then
    redis.call('HSET', KEYS[6], ARGV[6], '')
  end
  redis.call('RPUSH', KEYS[2], ARGV[2])
  local fresh = wake(KEYS[1], KEYS[3], ARGV[1], state, ARGV[4])
  return {'ok', attention(KEYS[1], fresh)}
end
