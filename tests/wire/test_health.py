"""/gateway/health and /gateway/health/live."""

from __future__ import annotations

import re

import pytest

from tests.support.ports import RefusingPort
from tests.support.processes import Gateway
from tests.support.raw_client import request
from tests.support.tcp_proxy import TcpProxy
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


@pytest.mark.parametrize("path", ["/gateway/health", "/gateway/health/live"])
def test_health_answers_name_their_request(gateway, path):
    assert len(request(gateway.port, path).header("x-request-id")) == 36
    assert request(gateway.port, path, X_Request_ID="probe-1").header("x-request-id") == "probe-1"
    head = request(gateway.port, path, "HEAD")
    assert (head.status, head.body, head.header("content-type")) == (200, b"", "application/json")


def test_health_asks_no_backend(gateway, seen):
    for _ in range(5):
        assert request(gateway.port, "/gateway/health").status == 200
    assert seen()["seen"] == []


def test_health_returns_with_the_backend(gateways, backend):
    proxy = TcpProxy(backend.port)
    gateway = gateways(proxy.url, ROUTER_HEALTH_CHECK_INTERVAL=200, FASTAPI_CONNECT_TIMEOUT=300)
    until(lambda: request(gateway.port, "/gateway/health").json["status"] == "healthy", 5, "health before")
    proxy.freeze()
    until(lambda: request(gateway.port, "/gateway/health").status == 503, 8, "the loss being noticed")
    proxy.thaw()
    until(lambda: request(gateway.port, "/gateway/health").json["status"] == "healthy", 8, "the return being noticed")
    proxy.close()
