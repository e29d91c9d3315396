-- Puts what was fetched where lookups find it, unless it is out of date already.
--
-- KEYS  entry, lease, fence [, base]     fence: the lease without a scope (forget.lua); base: where the marker stands
-- ARGV  1 value                   the entry as JSON
--       2 px                      its time to live, ms
--       3 holder                  who fetched it
--       4 marker                  JSON, with a base among the keys
--       5 marker_px               ms
--       6 known                   1: the marker is in use, and must still be there
-- Reply 1 stored; 0 not: the lease is gone (it took too long), the resource was changed meanwhile, or the marker is gone
-- Cost  O(value)

local ends = redis.call('ZSCORE', KEYS[2], ARGV[3])
if not ends then return 0 end
redis.call('ZREM', KEYS[2], ARGV[3])
local fence = redis.call('ZSCORE', KEYS[3], '#')
if fence and tonumber(fence) >= tonumber(ends) then return 0 end
if KEYS[4] then
  if ARGV[6] == '1' then
    -- never brought back: a marker that was deleted took all its variants with it
    if not redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5], 'XX') then return 0 end
  else
    redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5])
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
