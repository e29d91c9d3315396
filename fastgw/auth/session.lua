-- The session of a credential: who it belongs to, since when, how often it was used. Never the credential.
--
-- KEYS[1]  gateway:session:<digest>
-- ARGV[1]  what happened
--            "used"      a configured credential was used: make its session, or bring it up to date
--            "counted"   a verified one was used: bring its session up to date, but make none
--            "verified"  the backend has said yes: make the session, whatever was there
--            "another"   the backend has said yes for another worker: add it to the session
-- ARGV[2]  type: "key", "token" or "verified"
-- ARGV[3]  identity
-- ARGV[4]  requests since the last call
-- ARGV[5]  longest time to live, ms
-- ARGV[6]  for "verified" and "another": the worker that the question was about, "" for none
-- ARGV[7]  for "another": most workers of one session
-- Reply    the session as JSON; nil if "counted" found none of that type and identity
-- Cost     O(length of the value), which is under 10 KB: about 20 us
--
-- A configured credential's session lives on while it is used. A verified one is what saves the next question, so it
-- ends an hour after the first yes, whatever is counted or added, and one that was deleted by hand stays deleted.
-- What others wrote there is replaced.
local what, kind, identity, worker = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local ttl = tonumber(ARGV[5])

local is_json, old = pcall(cjson.decode, redis.pcall('GET', KEYS[1]))
if not is_json or type(old) ~= 'table' or old.type ~= kind or old.identity ~= identity or what == 'verified' then
  if what == 'counted' then
    return nil
  elseif what == 'another' then
    identity = 'worker:' .. worker
  end
  old = {}
elseif kind == 'verified' then
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 and left < ttl then
    ttl = left
  end
end

local workers, is_new = {}, worker ~= ''
for _, name in ipairs(type(old.workers) == 'table' and old.workers or {}) do
  if type(name) == 'string' then
    workers[#workers + 1] = name
    is_new = is_new and name ~= worker
  end
end
if is_new then
  workers[#workers + 1] = worker
end
if #workers > tonumber(ARGV[7]) then
  table.remove(workers, 2) -- the first gives the identity
end

-- cjson writes neither NaN nor infinity, and large numbers inexactly.
local function whole(value)
  return type(value) == 'number' and value >= 0 and value < 1e13 and math.floor(value) or nil
end

local now = tonumber(redis.call('TIME')[1])
local session = cjson.encode({
  type = kind,
  identity = identity,
  workers = #workers > 0 and workers or nil, -- an empty table would be written as an object
  first_seen = whole(old.first_seen) or now,
  last_seen = now,
  requests = (whole(old.requests) or 0) + tonumber(ARGV[4]),
})
redis.call('SET', KEYS[1], session, 'PX', ttl)
return session
