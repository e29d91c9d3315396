"""Fixtures only. Gateways and backends are real processes, shared by the tests that need the same settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import request
from tests.support.scripted_backend import ScriptedBackend
from tests.support.valkey_fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    cluster,
    cluster_server,
    sentinel_sets,
    sentinels,
    valkey,
    valkey_server,
)


@pytest.fixture(scope="session")
def backend() -> Iterator[Uvicorn]:
    """A real uvicorn that records what reaches it (tests/support/app.py)."""
    with Uvicorn("tests.support.app:app") as server:
        yield server


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedBackend]:
    """A backend that does what the test says, byte by byte."""
    server = ScriptedBackend()
    yield server
    server.close()


@pytest.fixture(scope="module")
def running() -> Iterator[dict[tuple[object, ...], Gateway]]:
    """The gateways that run, by backend and settings; ended with the file, so that they ask no server of the next."""
    gateways: dict[tuple[object, ...], Gateway] = {}
    yield gateways
    with ThreadPoolExecutor(max_workers=8) as side_by_side:  # each drains for a second
        list(side_by_side.map(Gateway.stop, gateways.values()))


@pytest.fixture
def gateways(running: dict[tuple[object, ...], Gateway]) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway for a backend and settings, or hand out the one that runs already; its log must stay clean."""
    before = {key: len(gateway.log) for key, gateway in running.items()}
    used: set[tuple[object, ...]] = set()

    def get(backend_url: str, **settings: object) -> Gateway:
        key = (backend_url, *sorted((k, str(v)) for k, v in settings.items()))
        used.add(key)
        if key not in running:
            running[key] = Gateway(backend_url, **settings)
        return running[key]

    yield get
    for key in used:
        running[key].check_log(before.get(key, 0))


@pytest.fixture
def gateway(gateways: Callable[..., Gateway], backend: Uvicorn) -> Gateway:
    """The gateway in front of the recording backend, whose records are empty."""
    one = gateways(backend.url)
    request(backend.port, "/_reset")
    return one


@pytest.fixture
def to_scripted(gateways: Callable[..., Gateway], scripted: ScriptedBackend) -> Gateway:
    """The gateway in front of the scripted backend; FASTAPI_TIMEOUT is half a second."""
    return gateways(scripted.url, FASTAPI_TIMEOUT=500, ROUTER_HEALTH_PATH="/_health", FASTAPI_KEEPALIVE=1500)


@pytest.fixture
def seen(backend: Uvicorn) -> Callable[[], dict[str, list[dict[str, object]]]]:
    """What the recording backend has seen and noted so far."""
    return lambda: request(backend.port, "/_seen").json
