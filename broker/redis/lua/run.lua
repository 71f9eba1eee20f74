-- What the scripts below share. KEYS: a run's stream and its meta hash; ARGV[1]: how entries are
-- read, as JSON (see appending.py).

-- Redis before 7.0 replicates scripts as text unless told to replicate what they do; these read the
-- clock, and have Redis make ids.
if redis.replicate_commands then
  redis.replicate_commands()
end

local stream, meta = KEYS[1], KEYS[2]
local format = cjson.decode(ARGV[1])

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Numbers up to 2^53, without an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

-- Whether an entry with these fields, names and values in turn, ends the run.
local function ends_run(entry)
  local fields = {}
  for index = 1, #entry, 2 do
    fields[entry[index]] = entry[index + 1]
  end
  if fields[format.final_field] == '1' then
    return true
  end
  local event_type = fields[format.type_field]
  if event_type and format.terminal_types[event_type] then
    return true
  end
  local rule = format.terminal_rule
  if not rule then
    return false
  end
  local document = fields
  local data = fields[format.data_field]
  if data then
    -- Most events do not mention the key: those need not be parsed.
    if not string.find(data, rule.key, 1, true) then
      return false
    end
    local parsed, value = pcall(cjson.decode, data)
    if not parsed or type(value) ~= 'table' then
      return false
    end
    document = value
  end
  local value = document[rule.key]
  return type(value) == 'string' and rule.values[value] == true
end

-- The stream's newest entry, or nil.
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]

-- A stream that was deleted takes with it what was known of its events, and whose they were: the run
-- begins anew. One that has not begun yet keeps its owner.
if not newest and redis.call('EXISTS', stream) == 0 then
  local begun = false
  for _, name in ipairs(redis.call('HKEYS', meta)) do
    if name == 'final' or string.sub(name, 1, 2) == 'p:' then
      redis.call('HDEL', meta, name)
      begun = true
    end
  end
  if begun then
    redis.call('HDEL', meta, 'owner')
  end
end

-- The id of the event that has ended the run, or nil. Of an end that is not ours (`ours`: the id that
-- the meta hash has, or false), by a plain XADD, we know if it is the newest entry.
local function final_id(ours)
  if ours then
    return ours
  end
  if newest and ends_run(newest[2]) then
    return newest[1]
  end
end

-- The number of the stream's newest id where those are 0-1, 0-2, ..., 0 where it has none yet, and
-- nil where they begin with a time. Of the stream, not of its last entry, which may be deleted.
local function dense_number()
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for index = 1, #info, 2 do
    if info[index] == 'last-generated-id' then
      local number = string.match(info[index + 1], '^0%-(%d+)$')
      return number and tonumber(number)
    end
  end
end
