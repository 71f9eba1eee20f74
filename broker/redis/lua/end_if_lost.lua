-- Ends a run whose lease has run out, once.
--
-- ARGV: 2 seconds to keep the run then · 3 what is said, as JSON by the reason · 4 the field of the
-- producer that announces runs.
--
-- Answers {'none'}, {'alive', ms until the lease runs out}, {'over', id} for a run that had ended, or
-- {'ended', id} for one that has now.

local lease, lost, ours, announced, heard = unpack(
  redis.call('HMGET', meta, 'lease', 'lost', 'final', ARGV[4], 'heard'))
lease = tonumber(lease or '')
local ended = final_id(ours)
if ended then
  if lease then
    redis.call('HDEL', meta, 'lease', 'heard', 'lost')
  end
  return {'over', ended}
end
if not lease or not lost then
  return {'none'}
end
local now = now_ms()
if lease > now then
  return {'alive', lease - now}
end
if lost == 'no_worker' then
  -- A worker that knows nothing of leases shows by its events that it is there.
  local queued = string.match(announced or '', '^%d+ (%S+)')
  if newest and newest[1] ~= queued then
    redis.call('HDEL', meta, 'lease', 'heard', 'lost')
    return {'none'}
  end
end
local id = '*'
local number = dense_number()
if number and number > 0 then
  id = '0-' .. whole(number + 1)
end
local said = cjson.decode(ARGV[3])
local data = string.format(
  '{"reason":%s,"error":%s,"last_heard_ms":%s}',
  cjson.encode(lost), cjson.encode(said[lost] or lost), heard or 'null')
id = redis.call(
  'XADD', stream, id, format.type_field, lost, format.data_field, data, format.final_field, '1')
redis.call('HSET', meta, 'final', id, 'status', 'failed')
redis.call('HDEL', meta, 'lease', 'heard', 'lost')
redis.call('EXPIRE', stream, ARGV[2])
redis.call('EXPIRE', meta, ARGV[2])
return {'ended', id}
