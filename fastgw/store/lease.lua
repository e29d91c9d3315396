-- A lease: at most `capacity` holders at a time, each until its expiry on Redis's clock.
--
-- KEYS[1]  the lease: sorted set, holder -> expiry in microseconds since the epoch
-- ARGV[1]  the holder; one that has it already renews it
-- ARGV[2]  how long it is held from now on, microseconds, over 0
-- ARGV[3]  capacity: how many may hold it at once, 1 or more
-- Reply    1 if the holder has it now, 0 if it is full
-- Cost     O(log n + expired) for n holders; the key goes by itself when nobody renews

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))
return 1
