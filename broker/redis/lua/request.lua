-- Appends the request for a run, once for each idempotency key.
--
-- KEYS: the stream of requests, the idempotency key. ARGV: 1 most entries · 2 seconds that the key is
-- kept · then the entry's fields and values.
--
-- Answers the request's id.

if redis.replicate_commands then
  redis.replicate_commands()
end
local requests, key = KEYS[1], KEYS[2]
local known = redis.call('HGET', key, 'request')
if known then
  return known
end
local id = redis.call('XADD', requests, 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
redis.call('HSET', key, 'request', id)
redis.call('EXPIRE', key, ARGV[2])
return id
