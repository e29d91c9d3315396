"""A WebSocket finds a backend that takes it, and counts as under way on it."""

from __future__ import annotations

import json

from websockets.sync.client import connect

from tests.support.ports import RefusingPort
from tests.support.processes import Uvicorn
from tests.support.raw_client import request


def test_a_refusing_backend_is_passed_over(gateways, backend):
    refusing = RefusingPort()
    gateway = gateways(f"http://127.0.0.1:{refusing.port},{backend.url}", ROUTER_HEALTH_CHECK_INTERVAL=86_400_000)
    for _ in range(4):
        with connect(f"ws://127.0.0.1:{gateway.port}/ws") as websocket:
            websocket.send("hello")
            assert websocket.recv(5) == "hello"
    refusing.close()


def test_an_open_websocket_counts_as_under_way(gateways, backend):
    with Uvicorn("tests.support.app:app") as other:
        gateway = gateways(f"{backend.url},{other.url}", ROUTER_STRATEGY="least-connections")
        with connect(f"ws://127.0.0.1:{gateway.port}/ws/about") as websocket:
            busy = json.loads(websocket.recv(5))["headers"]["host"]
            hosts = {dict(request(gateway.port, "/x").json["headers"])["host"] for _ in range(6)}
    assert hosts == {backend.url[7:], other.url[7:]} - {busy}
