-- Says that a consumer is still at work on what it has read, so that nobody claims it.
--
-- KEYS: the stream. ARGV: 1 the group · 2 the consumer · then ids.
--
-- Answers those of the ids that are not the consumer's any more.

local lost = {}
for index = 3, #ARGV do
  local id = ARGV[index]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) == 0 then
    lost[#lost + 1] = id
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
  end
end
return lost
