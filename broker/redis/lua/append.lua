-- Appends events exactly once each, and renews the lease.
--
-- ARGV: 2 the producer's field · 3 sequence of the first event · 4 number that dense ids begin above,
-- or '' for ids that Redis makes · 5 seconds to keep the run, 6 the same once it has ended · 7 the
-- lease in ms or '' · 8 why the run is lost after it · 9 most entries or '' · 10 the owner or '' · 11
-- number of words of fields to set, those words · then type, data and '1' or '0' for final of each
-- event, with its traceparent, if it has one, right behind that digit.
--
-- Answers {'appended', how many were there already, id or '' of each ...}, {'ended', id},
-- {'other owner'} or {'not dense'}. All that can go wrong, but for missing rights, does so before the first write.

local producer, sequence, above = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local retention, lease, limit = ARGV[5], tonumber(ARGV[7]), ARGV[9]
local owner = ARGV[10]
local first_event = 12 + tonumber(ARGV[11])
local count = (#ARGV - first_event + 1) / 3

-- What was appended before.
local ids = {}
local known, ours, lost, owned_by = unpack(
  redis.call('HMGET', meta, producer, 'final', 'lost', 'owner'))
local fresh = 1
if known then
  local last, last_id, first, first_id = string.match(known, '^(%d+) (%S+) (%d+) (%S+)$')
  last, first = tonumber(last), tonumber(first)
  fresh = math.max(1, math.min(last - sequence + 2, count + 1))
  if fresh > 1 then
    -- One call's entries stand together. If one is gone, only the last one's id is certain.
    local together = redis.call('XRANGE', stream, first_id, last_id)
    local complete = #together == last - first + 1
    for index = 1, fresh - 1 do
      local one = sequence + index - 1
      if one == last then
        ids[index] = last_id
      elseif complete and one >= first then
        ids[index] = together[one - first + 1][1]
      else
        ids[index] = ''
      end
    end
    if fresh > count then
      return {'appended', count, unpack(ids)}
    end
  end
end

local ended = final_id(ours)
if ended then
  return {'ended', ended}
end
if owner ~= '' and owned_by and owned_by ~= owner then
  return {'other owner'}
end

local number
if above and count > 0 then
  number = dense_number()
  if not number then
    return {'not dense'}
  end
  number = math.max(number, above)
end

local final
for index = fresh, count do
  local at = first_event + 3 * (index - 1)
  local words = {stream}
  if limit ~= '' then
    words[2], words[3], words[4] = 'MAXLEN', '~', limit
  end
  if number then
    number = number + 1
    words[#words + 1] = '0-' .. whole(number)
  else
    words[#words + 1] = '*'
  end
  if ARGV[at] ~= '' then
    words[#words + 1], words[#words + 2] = format.type_field, ARGV[at]
  end
  words[#words + 1], words[#words + 2] = format.data_field, ARGV[at + 1]
  local ends = string.sub(ARGV[at + 2], 1, 1) == '1'
  if ends then
    words[#words + 1], words[#words + 2] = format.final_field, '1'
  end
  if #ARGV[at + 2] > 1 then
    words[#words + 1], words[#words + 2] = format.trace_field, string.sub(ARGV[at + 2], 2)
  end
  ids[index] = redis.call('XADD', unpack(words))
  if ends then
    final = ids[index]
  end
end

local fields = {meta, unpack(ARGV, 12, first_event - 1)}
local function set(name, value)
  fields[#fields + 1], fields[#fields + 2] = name, value
end
if count > 0 then
  set(producer, table.concat({
    whole(sequence + count - 1), ids[count], whole(sequence + fresh - 1), ids[fresh]
  }, ' '))
end
if final then
  retention = ARGV[6]
  set('final', final)
elseif lease then
  local now = now_ms()
  set('lease', whole(now + lease))
  set('heard', whole(now))
  set('lost', ARGV[8])
end
if owner ~= '' and not owned_by then
  set('owner', owner)
end
if #fields > 1 then
  redis.call('HSET', unpack(fields))
end
if lost and (final or not lease and lost == 'no_worker') then
  -- It is over, or there is a worker after all, one that keeps no lease.
  redis.call('HDEL', meta, 'lease', 'heard', 'lost')
end
redis.call('EXPIRE', stream, retention)
redis.call('EXPIRE', meta, retention)
return {'appended', fresh - 1, unpack(ids)}
