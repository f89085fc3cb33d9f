-- The states in which a run takes nothing more. `refused`: the run of a child that could not be started.
local CLOSED = {completed = 1, failed = 1, cancelled = 1, terminated = 1, timed_out = 1, continued = 1, refused = 1}

local function is_closed(state)
  return CLOSED[state] ~= nil
end
