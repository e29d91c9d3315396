-- A request's admission: counts it in its client's sliding window, and looks up what the cache has for it.
--
-- KEYS  [window]            with a limit
--       [base [variant]]    with a lookup: the entry's key, and that of its variant
--       [lease]             with a lookup and a holder
--       In a Cluster the window and the rest are two calls, as they lie in different slots.
-- ARGV  1 not_after         time of this server, us, after which the call is dead: a server that was frozen must not
--                           count what the gateway has decided by itself meanwhile
--       2 limit             requests in any window; 0: no limit, and no window among the keys
--       3 length            of the window, us
--       4 lookup            0 none, 1 base, 2 base and variant
--       5 base_stamp        how the value begins that the process holds a copy of; "" for none
--       6 variant_stamp     the same for the variant
--       7 holder            who would fetch the entry from the backend if it is missing; "" for nobody
--       8 lease_us          how long it may take
--       9 anyway            1: claim the lease though the entry is there, as it is stale
-- Reply {admitted, count, wait_us, base, variant, lead}
--       admitted            1 yes, 0 over the limit, -1 too late (nothing was done; ask again or decide alone)
--       count               requests in the window, this one included if it was admitted
--       wait_us             until the oldest of them leaves the window
--       base, variant       0 nothing there, 1 as the copy, else the value
--       lead                1 this holder fetches, 0 somebody else does, 2 nobody need wait: it is not storable
-- Cost  O(log n + m), n requests in the window, m of them past it; 5 to 7 commands for the limit, one per lookup.
--
-- The window is a sorted set whose members are the times of its requests, so ZCARD is the count and nothing else need be
-- stored. Members must differ: a time that is taken is moved on by a microsecond.

local MAX_VALUE = 16777216 -- bytes: what others may have written under our keys must not fill the gateway's memory

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function look_up(key, stamp)
  if stamp ~= '' then
    local begins = redis.pcall('GETRANGE', key, 0, #stamp - 1)
    if begins == stamp then return 1 end
  end
  local value = redis.pcall('GETRANGE', key, 0, MAX_VALUE)
  if type(value) ~= 'string' or value == '' then return 0 end -- absent, or of another type: not ours
  return value
end

local function claim(lease, holder, lease_us)
  local now = now_us()
  if now > tonumber(ARGV[1]) then return 0 end -- who asked has gone on without it
  redis.call('ZREMRANGEBYSCORE', lease, '-inf', now)
  for _, held in ipairs(redis.call('ZRANGE', lease, 0, -1)) do
    if held == '!' then return 2 end
    if held ~= '#' and held ~= holder then return 0 end
  end
  redis.call('ZADD', lease, now + lease_us, holder)
  redis.call('PEXPIRE', lease, math.ceil(lease_us / 1000))
  return 1
end

local limit = tonumber(ARGV[2])
local at = 1
local count, wait_us = 0, 0
if limit > 0 then
  local now, length = now_us(), tonumber(ARGV[3])
  if now > tonumber(ARGV[1]) then return {-1, 0, 0, 0, 0, 0} end
  local window = KEYS[1]
  at = 2
  local oldest = redis.call('ZRANGE', window, 0, 0)[1]
  if oldest and tonumber(oldest) <= now - length then
    redis.call('ZREMRANGEBYSCORE', window, '-inf', now - length)
    oldest = redis.call('ZRANGE', window, 0, 0)[1]
  end
  wait_us = (oldest or now) + length - now
  count = oldest and redis.call('ZCARD', window) or 0
  if count >= limit then return {0, count, wait_us, 0, 0, 0} end
  while redis.call('ZADD', window, 'NX', now, now) == 0 do now = now + 1 end
  redis.call('PEXPIRE', window, math.ceil(length / 1000))
  count = count + 1
end

local lookup = tonumber(ARGV[4])
if lookup == 0 then return {1, count, wait_us, 0, 0, 0} end
local base, variant, lead = look_up(KEYS[at], ARGV[5]), 0, 0
if lookup == 2 and base == 1 then variant = look_up(KEYS[at + 1], ARGV[6]) end
local missing = ARGV[9] == '1' or base == 0 or (lookup == 2 and base == 1 and variant == 0)
if missing and ARGV[7] ~= '' then lead = claim(KEYS[#KEYS], ARGV[7], tonumber(ARGV[8])) end
return {1, count, wait_us, base, variant, lead}
