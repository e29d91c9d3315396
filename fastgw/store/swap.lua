-- Compare and set: replaces a text only if it still is what the caller has read.
--
-- KEYS[1]  the text; what is no string (others wrote it) counts as absent
-- ARGV[1]  what the caller has read; empty: absent
-- ARGV[2]  the new text
-- Reply    1 if it was replaced, 0 if another was faster
-- Cost     O(length of the text)

local now = redis.pcall('GET', KEYS[1])
if type(now) ~= 'string' then
  now = ''
end
if now ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
