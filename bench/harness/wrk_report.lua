-- Arguments: bytes of a body (above 0: a POST), and the word "distinct": each request has a path and a client address
-- of its own.
init = function(arguments)
  local size = tonumber(arguments[1]) or 0
  if size > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", size)
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
  if arguments[2] == "distinct" then
    local number, base = 0, wrk.path
    request = function()
      number = number + 1
      wrk.headers["X-Forwarded-For"] =
        string.format("10.%d.%d.%d", math.floor(number / 65536) % 256, math.floor(number / 256) % 256, number % 256)
      return wrk.format(nil, base .. "/" .. number)
    end
  end
end

-- wrk's own summary as one line of JSON. latency:percentile and summary.duration are microseconds.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'REPORT {"requests": %d, "microseconds": %d, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
