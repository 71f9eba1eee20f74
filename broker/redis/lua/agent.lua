-- Makes a run its agent's current one, unless another has become that meanwhile.
--
-- KEYS: the agent's pointer, its numbers. ARGV: 1 the run that is current now, or '' · 2 the run that
-- begins · 3 the number that its dense ids begin above · 4 seconds that both are kept.
--
-- Answers '' once it is, else the run that is current.

local pointer, numbers = KEYS[1], KEYS[2]
local current = redis.call('HGET', numbers, 'run') or ''
if current ~= ARGV[1] then
  return current
end
redis.call('HSET', numbers, 'run', ARGV[2], 'above', ARGV[3])
redis.call('EXPIRE', numbers, ARGV[4])
redis.call('SET', pointer, ARGV[2], 'EX', ARGV[4])
return ''
