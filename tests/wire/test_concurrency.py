"""Concurrency limits over sockets: counted at the backend, across two worker processes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import RawClient, Response, request
from tests.support.wait import until


@pytest.fixture
def origin():
    with Uvicorn("tests.support.limited_app:app") as server:
        yield server


def all_at_once(gateway: Gateway, count: int, seconds: float, **headers: str) -> list[Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: request(gateway.port, f"/x?{seconds}", **headers), range(count)))


def seen(origin: Uvicorn) -> Any:
    return request(origin.port, "/_seen").json


def test_never_more_at_a_backend_than_its_limit(origin, valkey) -> None:
    with Gateway(origin.url, REDIS_URL=valkey.url, GATEWAY_WORKERS=2, CONCURRENCY_LIMIT_PER_BACKEND=3) as gateway:
        answers = all_at_once(gateway, 24, 0.1)
        assert seen(origin)["most"] == 3
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 503}
        assert 9 <= statuses.count(200) <= 20, "half a second's wait for places that come free ten times a second"
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.error == "SERVICE_UNAVAILABLE"
        assert int(refused.header("retry-after")) >= 1
        assert request(gateway.port, "/x").status == 200
        (key,) = valkey.admin.keys("gateway:lease:backend:*") or [None]
        assert key is None or valkey.admin.zcard(key) == 0


def test_an_identity_has_its_places_and_another_its_own(origin, valkey) -> None:
    with (
        Gateway(
            origin.url,
            REDIS_URL=valkey.url,
            AUTH_ENABLED="true",
            AUTH_API_KEYS="a:key-a,b:key-b",
            CONCURRENCY_LIMIT_PER_IDENTITY=1,
        ) as gateway,
        RawClient(gateway.port) as busy,
    ):
        busy.send(b"GET /x?2 HTTP/1.1\r\nHost: gw\r\nX-API-Key: key-a\r\n\r\n")
        until(lambda: seen(origin)["in_flight"] == 1, 2, "the first request's arrival")
        begun = time.monotonic()
        refused = request(gateway.port, "/x", X_API_Key="key-a")
        assert (refused.status, refused.error) == (429, "RATE_LIMIT_EXCEEDED")
        assert 0.4 < time.monotonic() - begun < 1.5
        assert request(gateway.port, "/x", X_API_Key="key-b").status == 200
        assert busy.response().status == 200
        assert request(gateway.port, "/x", X_API_Key="key-a").status == 200


def test_a_killed_worker_frees_its_places(origin, valkey) -> None:
    with Gateway(origin.url, REDIS_URL=valkey.url, CONCURRENCY_LIMIT_PER_BACKEND=1) as gateway:
        with RawClient(gateway.port) as busy:
            busy.send(b"GET /x?3 HTTP/1.1\r\nHost: gw\r\n\r\n")
            until(lambda: seen(origin)["in_flight"] == 1, 2, "the request's arrival")
            gateway.worker().kill()
        until(lambda: request(gateway.port, "/x").status == 503, 5, "the new worker, and its refusal")
        until(lambda: request(gateway.port, "/x").status == 200, 12, "the end of the killed worker's place")
        assert gateway.stop() == 0  # here, as its log rightly tells of the kill


def test_without_redis_nothing_is_limited_and_health_says_degraded(origin, valkey) -> None:
    with Gateway(origin.url, REDIS_URL=valkey.url, CONCURRENCY_LIMIT_PER_BACKEND=1) as gateway:
        assert request(gateway.port, "/x").status == 200
        valkey.freeze()
        try:
            assert {answer.status for answer in all_at_once(gateway, 8, 0.1)} == {200}
            assert request(gateway.port, "/gateway/health").json["status"] == "degraded"
        finally:
            valkey.thaw()
        until(lambda: request(gateway.port, "/gateway/health").json["redis"] == "connected", 5, "the way back")
        assert gateway.log.count("concurrency is not limited") == 1
