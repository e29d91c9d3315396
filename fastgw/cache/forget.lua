-- A resource has changed: deletes its entry or marker, and keeps out what was fetched before the change.
--
-- KEYS  base, lease    lease: the one without a scope, where the fence stands
-- ARGV  1 lease_us     how long a fetch may hold a lease
-- Reply 1
-- Cost  O(holders)
--
-- The fence is the member `#`, with the time until which a lease claimed at this moment would be held. A fetch whose
-- lease ends no later was begun before the change: store.lua refuses it. Whoever holds the lease without a scope loses
-- it at once, so that the next request need not wait for it.

local time = redis.call('TIME')
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('ZADD', KEYS[2], time[1] * 1000000 + time[2] + ARGV[1], '#')
redis.call('PEXPIRE', KEYS[2], math.ceil(ARGV[1] / 1000))
return 1
