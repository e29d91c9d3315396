"""What /gateway/health/detailed says beside the health page."""

from __future__ import annotations

import json
import os
from time import monotonic
from typing import Any

import pytest

from fastgw.endpoints.detailed import Detailed
from fastgw.endpoints.health import Health, RedisState
from fastgw.endpoints.plugins import Plugins
from fastgw.routing.backend import Backend
from fastgw.routing.ejection import Outcome
from tests.pure.asgi import Client, accepted, exchange
from tests.pure.loop import in_loop

NONE: Any = None


def detailed(redis: RedisState, *backends: Backend) -> Detailed:
    plugins = Plugins([lambda: {"name": "cache", "enabled": True, "state": "active"}])
    health = Health(backends, lambda: redis, lambda: False, monotonic())
    return Detailed(health, lambda: redis, backends, plugins, lambda: {"total": 2, "online": 1})


def backend(healthy: bool | None, latency_ms: float | None = None, problem: str = "") -> Backend:
    return Backend("http://b:8000", b"b:8000", NONE, is_healthy=healthy, latency_ms=latency_ms, problem=problem)


@in_loop
async def test_it_is_the_health_page_with_what_it_rests_on() -> None:
    redis = RedisState(True, 0.12345, "", "standalone", "closed", "redis://h:6379/0")
    status, content = detailed(redis, backend(True, 1.23456), backend(None)).report()
    assert (status, content["status"]) == (200, "healthy")
    assert set(content) == {
        "status", "version", "uptime", "timestamp", "redis", "backends", "plugins", "workers", "resources",
    }  # fmt: skip
    assert content["redis"] == {
        "status": "connected",
        "latency_ms": 0.123,
        "mode": "standalone",
        "breaker": "closed",
        "address": "redis://h:6379/0",
    }
    as_new = {"state": "serving", "in_use": True, "share": 1.0, "ejections": 0, "in_flight": 0, "weight": 1}
    assert content["backends"] == [
        {"url": "http://b:8000", "status": "healthy", "latency_ms": 1.235, **as_new},
        {"url": "http://b:8000", "status": "unknown", "latency_ms": None, **as_new},
    ]
    assert content["plugins"] == [{"name": "cache", "enabled": True, "state": "active"}]
    assert content["workers"] == {"total": 2, "online": 1}
    assert content["resources"]["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("backends", "status", "word"),
    [
        ((backend(True), backend(False, problem="refused")), 200, "degraded"),
        ((backend(False, problem="refused"),), 503, "unhealthy"),
    ],
    ids=["one-of-two", "all"],
)
@in_loop
async def test_status_and_problems_are_the_health_pages(backends: tuple[Backend, ...], status: int, word: str) -> None:
    redis = RedisState(False, None, "no answer", "cluster", "open", "redis+cluster://h")
    client = Client()
    await detailed(redis, *backends).show(accepted(exchange(client=client)))
    content = json.loads(client.body)
    assert (client.status, content["status"]) == (status, word)
    assert content["redis"]["status"] == "disconnected"
    assert content["redis"]["problem"] == "no answer"
    assert content["backends"][-1]["problem"] == "refused"
    assert len(content["errors"]) == 2


@in_loop
async def test_what_requests_have_shown_of_a_backend_is_told() -> None:
    ejected = Backend("http://b:8000", b"b:8000", NONE, region="asia-east", weight=3, is_healthy=True, in_flight=7)
    for _ in range(3):
        ejected.record.note(Outcome.TIMED_OUT, monotonic())
    ejected.record.is_in_use = False
    status, content = detailed(RedisState(True), ejected, backend(True)).report()
    assert (status, content["status"]) == (200, "degraded")
    assert content["errors"] == ["backend http://b:8000: ejected: requests timed out"]
    assert content["backends"][0] == {
        "url": "http://b:8000",
        "status": "healthy",
        "state": "ejected",
        "in_use": False,
        "share": 0.1,
        "ejections": 1,
        "in_flight": 7,
        "region": "asia-east",
        "weight": 3,
        "latency_ms": None,
        "problem": "ejected: requests timed out",
    }
