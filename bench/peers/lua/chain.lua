-- fastgw's chain as a competent nginx engineer would write it: who is it, how often, known already, in access_by_lua.
-- nginx.conf (bench/peers/nginx_lua.py) does the rest: request ids, forwarding, and the answer's fields from variables.
--
-- RESP is spoken by hand over the cosocket: with lua-resty-redis a request took about 7 us more (medians of 8 runs each:
-- 45 against 38 us on a busy machine, lowest 36 against 31). What made no difference that could be seen there: receiveany
-- against five times receive("*l"), string.find against string.match, ngx.var with add_header against ngx.header.
-- Timeouts and pool size come from nginx.conf instead of calls per request.
-- What fastgw does and this does not: keys are kept as they are, not as digests compared in constant time; a reply that
-- comes late is not told to be void; no Vary, no revalidation, no waiting for another's miss.

local lrucache = require "resty.lrucache"

local ngx, tonumber = ngx, tonumber
local var, tcp, now = ngx.var, ngx.socket.tcp, ngx.now
local find, sub, byte, ceil = string.find, string.sub, string.byte, math.ceil

local MAX_COPIES = 1000 -- of cached answers in this process
local STAMP_BYTES = 16 -- random bytes of ngx.var.request_id with which a stored entry begins, in hex: twice as many
local MAX_REPLY = 64 * 1024 -- bytes taken from the socket at once
local FOR_EVER = "9007199254740991" -- admission.lua's not_after

local M = {}
local redis_host, redis_port, identities, cached_prefix, cached_seconds
local script, limit, window_us
local known_script, whole_script -- how a call begins
local copies = assert(lrucache.new(MAX_COPIES))

local function bulk(text)
  return "$" .. #text .. "\r\n" .. text .. "\r\n"
end

-- settings: redis_host ("unix:PATH" or an address), redis_port (nil with unix:), keys {key = identity}, script (path of
-- admission.lua), sha, limit, window_us, cached_prefix, cached_seconds.
function M.configure(settings)
  redis_host, redis_port, identities = settings.redis_host, settings.redis_port, settings.keys
  limit, window_us = settings.limit, settings.window_us
  cached_prefix, cached_seconds = settings.cached_prefix, settings.cached_seconds
  local file = assert(io.open(settings.script))
  script = file:read("*a")
  file:close()
  known_script = "*13\r\n" .. bulk("EVALSHA") .. bulk(settings.sha) .. bulk("2")
  whole_script = "*13\r\n" .. bulk("EVAL") .. bulk(script) .. bulk("2")
  M.tail = bulk(FOR_EVER) .. bulk(tostring(limit)) .. bulk(tostring(window_us)) .. bulk("1")
  M.rest = bulk("") .. bulk("") .. bulk("0")
end

local function connect()
  local socket = tcp()
  local ok, problem
  if redis_port then
    ok, problem = socket:connect(redis_host, redis_port)
  else
    ok, problem = socket:connect(redis_host)
  end
  if not ok then return nil, problem end
  return socket
end

-- admission.lua's reply {admitted, count, wait_us, base, 0, 0}: admitted as text, numbers, base as number or text.
-- Nothing while it has not come whole.
local function decode(reply)
  local a = find(reply, "\r\n", 6, true)
  local b = a and find(reply, "\r\n", a + 3, true)
  local c = b and find(reply, "\r\n", b + 3, true)
  local d = c and find(reply, "\r\n", c + 3, true)
  if not d then return nil end
  local admitted = sub(reply, 6, a - 1)
  local count, wait_us = tonumber(sub(reply, a + 3, b - 1)), tonumber(sub(reply, b + 3, c - 1))
  local base = tonumber(sub(reply, c + 3, d - 1))
  if byte(reply, c + 2) == 36 then -- "$"
    local last = d + 1 + base
    if #reply < last + 10 then return nil end
    base = sub(reply, d + 2, last)
  elseif #reply < d + 9 then
    return nil
  end
  return admitted, count, wait_us, base
end

local function admit(window, entry, stamp)
  local socket, problem = connect()
  if not socket then return nil, problem end
  local call = bulk(window) .. bulk(entry) .. M.tail .. bulk(stamp) .. bulk("") .. M.rest
  local ok
  ok, problem = socket:send(known_script .. call)
  local reply
  if ok then reply, problem = socket:receiveany(MAX_REPLY) end
  if reply and byte(reply, 1) == 45 and find(reply, "-NOSCRIPT", 1, true) then -- "-"
    ok, problem = socket:send(whole_script .. call)
    if ok then reply, problem = socket:receiveany(MAX_REPLY) end
  end
  while reply do
    if byte(reply, 1) ~= 42 then return nil, reply end -- "*"; an error: the connection is not kept
    local admitted, count, wait_us, base = decode(reply)
    if admitted then
      socket:setkeepalive()
      return admitted, count, wait_us, base
    end
    local more
    more, problem = socket:receiveany(MAX_REPLY)
    reply = more and reply .. more
  end
  return nil, problem
end

-- An entry is 32 hex (its stamp), a line end, Unix seconds, a line end, the type, a line end, the body.
local function parse(value)
  local head_end = 2 * STAMP_BYTES + 1
  local at_end = find(value, "\n", head_end + 1, true)
  local type_end = find(value, "\n", at_end + 1, true)
  return {
    stamp = sub(value, 1, 2 * STAMP_BYTES),
    at = tonumber(sub(value, head_end + 1, at_end - 1)),
    type = sub(value, at_end + 1, type_end - 1),
    body = sub(value, type_end + 1),
  }
end

local function serve(copy, state)
  var.cache_state = state
  var.cached_age = ceil(now() - copy.at)
  local header = ngx.header
  header["Content-Type"] = copy.type
  header["Content-Length"] = #copy.body
  ngx.print(copy.body)
  return ngx.exit(200)
end

-- A path that is cached and was not there: fetched through a subrequest, stored, answered.
local function fetch(entry)
  local got = ngx.location.capture("/backend" .. var.request_uri)
  if got.status ~= 200 then return ngx.exit(502) end
  local value = var.request_id .. "\n" .. ngx.time() .. "\n" .. got.header["Content-Type"] .. "\n" .. got.body
  local socket = connect()
  if socket then
    local set = "*5\r\n" .. bulk("SET") .. bulk(entry) .. bulk(value) .. bulk("EX") .. bulk(tostring(cached_seconds))
    local index = "*3\r\n" .. bulk("SADD") .. bulk("gateway:cache:keys") .. bulk(entry)
    socket:send(set .. index)
    if socket:receive() and socket:receive() then socket:setkeepalive() end
  end
  local copy = parse(value)
  copies:set(entry, copy)
  return serve(copy, "MISS")
end

function M.access()
  local key = var.http_x_api_key
  local identity = key and identities[key]
  if not identity then return ngx.exit(401) end
  local uri = var.request_uri
  local entry = "gateway:cache:{" .. identity .. " " .. uri .. "}"
  local copy = copies:get(entry)
  local admitted, count, wait_us, base = admit("gateway:ratelimit:" .. var.remote_addr, entry, copy and copy.stamp or "")
  if not admitted then -- without Redis requests go on, unlimited; the bench sees it in Redis's count of calls
    ngx.log(ngx.ERR, "Redis: ", count)
    admitted, count, wait_us, base, copy = "1", 0, 0, 0, nil
  end
  var.limit_left = limit - count
  var.limit_wait = ceil(wait_us / 1000000)
  var.limit_reset = ceil(now() + wait_us / 1000000)
  if admitted ~= "1" then return ngx.exit(429) end
  if base == 0 then
    if copy then copies:delete(entry) end
    if sub(uri, 1, #cached_prefix) == cached_prefix then return fetch(entry) end
    return -- a miss, as nginx.conf's variables say: on to proxy_pass
  end
  if base ~= 1 then
    copy = parse(base)
    copies:set(entry, copy)
  end
  return serve(copy, "HIT")
end

return M
