"""Which paths are the gateway's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastgw.endpoints.health import Health, RedisState
from fastgw.endpoints.table import Pages
from tests.pure.asgi import Client, accepted, exchange
from tests.pure.loop import in_loop

PAGES = Pages(Health([], RedisState(), lambda: False, 0))


@pytest.mark.parametrize("path", ["/", "/gatewayx", "/api/gateway", "/gatewa", "/Gateway/health", "//gateway/health"])
def test_others_are_forwarded(path: str) -> None:
    assert PAGES.find(path) is None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/gateway/health/live", 200),
        ("HEAD", "/gateway/health/live", 200),
        ("POST", "/gateway/health/live", 405),
        ("GET", "/gateway", 404),
        ("GET", "/gateway/", 404),
        ("GET", "/gateway/nothing", 404),
        ("GET", "/gateway/../api", 404),
    ],
)
@in_loop
async def test_ours_are_answered(method: str, path: str, status: int) -> None:
    client = Client()
    page: Any = PAGES.find(path)
    await page(accepted(exchange(method=method, client=client)))
    assert client.status == status
    if status == 405:
        assert client.fields[b"allow"] == b"GET, HEAD"
    if status >= 400:
        assert set(json.loads(client.body)["error"]) == {"code", "message", "requestId"}
