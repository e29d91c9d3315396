"""/gateway/health and /gateway/health/live."""

from __future__ import annotations

import re

from tests.support.ports import RefusingPort
from tests.support.processes import Gateway
from tests.support.raw_client import request
from tests.support.wait import until


def test_health_tells_status_version_uptime_time_and_redis(gateway):
    response = until(lambda: (r := request(gateway.port, "/gateway/health")).json["redis"] == "connected" and r, 5)
    assert response.status == 200
    content = response.json
    assert content["status"] == "healthy"
    assert content["version"] == response.header("x-gateway-version")
    assert content["uptime"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", content["timestamp"])
    assert "errors" not in content
    assert response.header("cache-control") == "no-store"


def test_health_is_503_without_a_backend_and_live_is_not(gateways):
    port = RefusingPort()
    gateway = gateways(f"http://127.0.0.1:{port.port}", ROUTER_HEALTH_CHECK_INTERVAL=200)
    response = until(lambda: (r := request(gateway.port, "/gateway/health")).status == 503 and r, 5)
    assert response.json["status"] == "unhealthy"
    assert str(port.port) in response.json["errors"][0]
    assert request(gateway.port, "/gateway/health/live").status == 200
    port.close()


def test_health_is_degraded_without_redis(backend):
    port = RefusingPort()
    with Gateway(backend.url, REDIS_URL=f"redis://:secret-pw@127.0.0.1:{port.port}") as gateway:
        response = until(lambda: (r := request(gateway.port, "/gateway/health")).json["status"] == "degraded" and r, 5)
        assert response.status == 200
        assert response.json["redis"] == "disconnected"
        assert "secret-pw" not in response.body.decode() + gateway.log
        assert request(gateway.port, "/x").status == 200
    port.close()
