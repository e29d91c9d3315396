-- Renews what a process holds of a lease with a capacity: all its holders in one call, on Redis's clock.
--
-- KEYS[1]  the lease: sorted set, holder -> expiry in microseconds since the epoch (lease.lua)
-- ARGV[1]  how long they are held from now on, microseconds, over 0
-- ARGV[2]  and so on: the holders, 1 or more; one that is missing (Redis lost the key) is held again, whatever the
--          capacity says: it is in use
-- Reply    how many were missing
-- Cost     O(holders * log n) for n holders of all processes

local time = redis.call('TIME')
local expiry = string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[1])
local missing = 0
for i = 2, #ARGV do
  missing = missing + redis.call('ZADD', KEYS[1], expiry, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000))
return missing
