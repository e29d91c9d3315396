-- What becomes of a claim: its holder renews it, puts its outcome there, or gives it back.
--
-- KEYS[1]  gateway:idempotency:<digest>
-- ARGV[1]  not_after: time of this server, us, after which the call does nothing; 0: it is good at any time
-- ARGV[2]  holder
-- ARGV[3]  record: JSON; '' to give the claim back, as nothing was sent
-- ARGV[4]  ttl, ms: how long the record stays (of a renewal: when its lease is over)
-- ARGV[5]  lease, ms, from now on, of a renewal: its end is added to the record. 0: the record is whole
-- Reply    1 done; 0 nothing was done: settled already, or another's; -1 nothing was done: too late
-- Cost     O(length of the record): about 15 us for one of a few hundred bytes, 30 if the text comes along
--
-- A record that is not there is made: Redis may have lost it (a failover, a restart), and what has run must be known.
-- What others wrote there is replaced.

local time = redis.call('TIME')
local deadline, lease = tonumber(ARGV[1]), tonumber(ARGV[5])
if deadline > 0 and time[1] * 1000000 + time[2] > deadline then return -1 end

local head = redis.pcall('GETRANGE', KEYS[1], 0, 255)
if type(head) == 'string' then
  local state, holder = string.match(head, '^{"state":"(%l+)","holder":"([%w.]+)"')
  if state and (state ~= 'running' or holder ~= ARGV[2]) then return 0 end
end

if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
elseif lease > 0 then
  local held_until = time[1] * 1000 + math.floor(time[2] / 1000) + lease
  redis.call('SET', KEYS[1], string.format('%s,"until":%.0f}', ARGV[3], held_until), 'PX', lease + tonumber(ARGV[4]))
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
return 1
