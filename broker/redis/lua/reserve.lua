-- Takes an idempotency key for a run, or finds which run has it.
--
-- KEYS: the idempotency key. ARGV: 1 the body's digest · 2 the run's id, if the key is free · 3 seconds
-- that the key is kept.
--
-- Answers {'taken', run id, '1' if its request is in the stream, else '0'} or {'other body'}.

local key = KEYS[1]
local digest = redis.call('HGET', key, 'body')
if digest and digest ~= ARGV[1] then
  return {'other body'}
end
if not digest then
  redis.call('HSET', key, 'body', ARGV[1], 'run', ARGV[2])
  redis.call('EXPIRE', key, ARGV[3])
end
return {'taken', redis.call('HGET', key, 'run'), redis.call('HEXISTS', key, 'request') == 1 and '1' or '0'}
