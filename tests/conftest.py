"""Fixtures only. Gateways and backends are real processes, shared by the tests that need the same settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import request
from tests.support.scripted_backend import ScriptedBackend

UNEXPECTED = ("Traceback", " ERROR ", " CRITICAL ", "Exception", "was never awaited", "never retrieved")


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


@pytest.fixture(scope="session")
def gateways() -> Iterator[Callable[..., Gateway]]:
    """Start a gateway for a backend and settings, or hand out the one that runs already."""
    running: dict[tuple[object, ...], Gateway] = {}

    def get(backend_url: str, **settings: object) -> Gateway:
        key = (backend_url, *sorted((k, str(v)) for k, v in settings.items()))
        if key not in running:
            running[key] = Gateway(backend_url, **settings)
        return running[key]

    yield get
    for gateway in running.values():
        children = gateway.children()
        gateway.stop()
        assert not [child for child in children if child.is_running()], "a child process was left behind"


@pytest.fixture
def gateway(gateways: Callable[..., Gateway], backend: Uvicorn) -> Iterator[Gateway]:
    """The gateway in front of the recording backend, whose records are empty; its log must stay clean."""
    one = gateways(backend.url)
    request(backend.port, "/_reset")
    yield from _with_clean_log(one)


@pytest.fixture
def to_scripted(gateways: Callable[..., Gateway], scripted: ScriptedBackend) -> Iterator[Gateway]:
    """The gateway in front of the scripted backend; FASTAPI_TIMEOUT is half a second."""
    one = gateways(scripted.url, FASTAPI_TIMEOUT=500, ROUTER_HEALTH_PATH="/_health", FASTAPI_KEEPALIVE=1500)
    yield from _with_clean_log(one)


def _with_clean_log(gateway: Gateway) -> Iterator[Gateway]:
    before = len(gateway.log)
    yield gateway
    new = gateway.log[before:]
    assert not any(word in new for word in UNEXPECTED), f"unexpected lines in the gateway's log:\n{new}"


@pytest.fixture
def seen(backend: Uvicorn) -> Callable[[], dict[str, list[dict[str, object]]]]:
    """What the recording backend has seen and noted so far."""
    return lambda: request(backend.port, "/_seen").json  # type: ignore[no-any-return]
