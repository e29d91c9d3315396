-- Submitted before? Claims an Idempotency-Key, or tells what became of the request that did.
--
-- KEYS[1]  gateway:idempotency:<digest>
-- ARGV[1]  not_after: time of this server, us, after which the call is dead and does nothing
-- ARGV[2]  fingerprint of the request, 64 hex
-- ARGV[3]  holder: the name of this claim, unlike any other of the fleet; letters, digits, dots
-- ARGV[4]  lease, ms: a claim that was not renewed for so long has lost its holder
-- ARGV[5]  ttl, ms: how long a record stays when its lease is over
-- ARGV[6]  longest record that is handed out, bytes
-- Reply    {'claimed', ms}    it is this holder's from now on (ms: this server's clock): to be renewed, and settled
--          {'running', ms}    another's request is under way, since so many ms
--          {'done', record}   it was answered
--          {'reused'}         the key stands for another request
--          {'unknown'}        its holder is gone or could not tell, or others wrote there: it may have run
--          {'late'}           the call came after not_after; nothing was done
-- Cost     O(length of the record): about 15 us for one of a few hundred bytes
--
--   claimed -> running -> done | unknown | given back (settle.lua)       running, lease over -> as if unknown

local time = redis.call('TIME')
if time[1] * 1000000 + time[2] > tonumber(ARGV[1]) then return {'late'} end
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, ttl = tonumber(ARGV[4]), tonumber(ARGV[5])

local head = redis.pcall('GETRANGE', KEYS[1], 0, 255)
if type(head) ~= 'string' then return {'unknown'} end -- of another type
if head == '' then
  local record = string.format(
    '{"state":"running","holder":"%s","print":"%s","since":%.0f,"until":%.0f}', ARGV[3], ARGV[2], now, now + lease
  )
  if redis.call('SET', KEYS[1], record, 'NX', 'PX', lease + ttl) then return {'claimed', now} end
  return {'unknown'} -- an empty value, which others wrote
end

if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ttl) end -- what lost its end gets another
local state, fingerprint, rest = string.match(head, '^{"state":"(%l+)","holder":"[%w.]+","print":"(%x+)"(.*)')
if not state then return {'unknown'} end
if fingerprint ~= ARGV[2] then return {'reused'} end
if state == 'done' and redis.call('STRLEN', KEYS[1]) <= tonumber(ARGV[6]) then
  return {'done', redis.call('GET', KEYS[1])}
end
local since, held_until = string.match(rest, '^,"since":(%d+),"until":(%d+)}$')
if state == 'running' and since and now <= tonumber(held_until) then
  return {'running', math.max(0, now - since)}
end
return {'unknown'}
