"""What the health page says, from what the checks found."""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from typing import Any

import pytest

from fastgw import __version__
from fastgw.endpoints.health import Health, RedisState
from fastgw.routing.backend import Backend


def report(*healthy: bool | None, redis: bool | None = True, draining: bool = False) -> tuple[int, dict[str, Any]]:
    none: Any = None
    backends = [
        Backend(f"http://b{n}:8000", b"", none, is_healthy=state, problem="refused" if state is False else "")
        for n, state in enumerate(healthy)
    ]
    state = RedisState(is_up=redis, problem="" if redis else "no answer")
    return Health(backends, lambda: state, lambda: draining, monotonic() - 5).report()


@pytest.mark.parametrize(
    ("healthy", "redis", "draining", "code", "status"),
    [
        ((True,), True, False, 200, "healthy"),
        ((None,), None, False, 200, "healthy"),
        ((True, False), True, False, 200, "degraded"),
        ((True,), False, False, 200, "degraded"),
        ((False,), True, False, 503, "unhealthy"),
        ((False, False), False, False, 503, "unhealthy"),
        ((False, None), True, False, 200, "degraded"),
        ((True,), True, True, 503, "draining"),
        ((False,), False, True, 503, "draining"),
    ],
)
def test_status(healthy: tuple[bool | None, ...], redis: bool | None, draining: bool, code: int, status: str) -> None:
    got, content = report(*healthy, redis=redis, draining=draining)
    assert (got, content["status"]) == (code, status)
    assert ("errors" in content) == (False in healthy or redis is False)


def test_the_facts() -> None:
    _, content = report(True, False, redis=False)
    assert content["version"] == __version__
    assert 5 <= content["uptime"] < 60
    assert datetime.fromisoformat(content["timestamp"]).utcoffset() is not None
    assert content["redis"] == "disconnected"
    assert content["errors"] == ["backend http://b1:8000: refused", "redis: no answer"]


@pytest.mark.parametrize(("redis", "word"), [(True, "connected"), (False, "disconnected"), (None, "unknown")])
def test_redis(redis: bool | None, word: str) -> None:
    assert report(True, redis=redis)[1]["redis"] == word
