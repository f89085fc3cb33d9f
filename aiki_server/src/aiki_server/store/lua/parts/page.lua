-- Events from `first` to before `stop`: at most `bytes_max` of them, at least one if there is one.
local function page(history_key, first, stop, bytes_max)
  local events, bytes = {}, 0
  while first < stop do
    local chunk = redis.call('LRANGE', history_key, first, math.min(first + 50, stop) - 1)
    if #chunk == 0 then
      return events
    end
    for i = 1, #chunk do
      bytes = bytes + #chunk[i]
      if bytes > bytes_max and #events > 0 then
        return events
      end
      events[#events + 1] = chunk[i]
    end
    if #events >= 2000 then
      return events
    end
    first = first + #chunk
  end
  return events
end
