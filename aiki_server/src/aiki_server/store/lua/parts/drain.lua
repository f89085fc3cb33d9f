-- Move mail into the history: at most 100 inputs and 256 kB, at least one. What moved, and what is left.
local function drain(mailbox_key, history_key)
  local mail = redis.call('LRANGE', mailbox_key, 0, 99)
  local count, bytes = 0, 0
  for i = 1, #mail do
    bytes = bytes + #mail[i]
    if bytes > 262144 and count > 0 then
      break
    end
    count = i
  end
  if count == 0 then
    return {}, 0
  end
  for i = #mail, count + 1, -1 do
    mail[i] = nil
  end
  redis.call('RPUSH', history_key, unpack(mail))
  redis.call('LTRIM', mailbox_key, count, -1)
  return mail, redis.call('LLEN', mailbox_key)
end
