"""Docker's HEALTHCHECK: does the gateway answer? A backend that is down does not count: no restart would help."""

import http.client
import os
import ssl
import sys

port = int(os.environ.get("GATEWAY_PORT") or 3000)
if os.environ.get("GATEWAY_TLS_CERT"):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it names the gateway, not 127.0.0.1
    connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", port, timeout=3, context=context)
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
try:
    connection.request("GET", "/gateway/health/live")
    sys.exit(0 if connection.getresponse().status == 200 else 1)
except OSError as error:
    sys.exit(f"no answer on port {port}: {error}")
