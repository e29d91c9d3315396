"""Backends that change while requests go on; backends by IPv6, by name, and over verified TLS."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.certificates import write_pair
from tests.support.load import Load
from tests.support.ports import free_port
from tests.support.processes import Gateway, Running, Uvicorn
from tests.support.raw_client import Response, request
from tests.support.wait import until

WITHIN_S = 1.0
APP = "tests.support.app:app"


class Server(Running):
    """A real uvicorn at any address, with TLS if it is given a certificate and its key."""

    def __init__(self, host: str = "127.0.0.1", *pair: str, name: str = "") -> None:
        """name: how it is called in its URL."""
        self.port = free_port()
        tls = ["--ssl-certfile", pair[0], "--ssl-keyfile", pair[1]] if pair else []
        command = [sys.executable, "-m", "uvicorn", APP, "--host", host, "--port", str(self.port)]
        super().__init__([*command, "--log-level", "warning", "--no-server-header", *tls])
        self.authority = f"{name or (f'[{host}]' if ':' in host else host)}:{self.port}"
        self.url = f"{'https' if pair else 'http'}://{self.authority}"
        until(lambda: self.process.poll() is not None or self._accepts(host), 20, "uvicorn's start")
        assert self.process.poll() is None, self.log

    def _accepts(self, host: str) -> bool:
        try:
            socket.create_connection((host, self.port), 0.2).close()
        except OSError:
            return False
        return True


def patch(gateway: Gateway, **changes: Any) -> Response:
    body = json.dumps(changes).encode()
    return request(gateway.port, "/gateway/config", "PATCH", body, Content_Type="application/json")


def host_of(gateway: Gateway, target: str = "/x") -> str:
    """Which backend answers a request."""
    response = request(gateway.port, target)
    assert response.status == 200, response.body
    return dict(response.json["headers"])["host"]


def states(gateway: Gateway) -> dict[str, str]:
    """Backend -> healthy, unhealthy or unknown."""
    detailed = request(gateway.port, "/gateway/health/detailed").json
    return {one["url"]: one["status"] for one in detailed["backends"]}


@pytest.fixture(scope="module")
def two() -> Any:
    with Server() as first, Server() as second:
        yield first, second


# -- changes at run time ------------------------------------------------------------------------------


def test_backends_change_everywhere_within_a_second_without_a_failed_request(gateways, two, valkey) -> None:
    first, second = two
    settings = {"REDIS_URL": valkey.url, "GATEWAY_WORKERS": 2}
    pair = gateways(first.url, NODE=1, **settings), gateways(first.url, NODE=2, **settings)
    with Load(pair[0].port, clients=6, pause_s=0.002) as one, Load(pair[1].port, clients=6, pause_s=0.002) as other:
        until(lambda: len(one.answers) > 100 and len(other.answers) > 100, 20, "some load")
        for number, wanted in enumerate([second, first, second, first]):
            gateway = pair[number % 2]
            assert patch(gateway, FASTAPI_URL=wanted.url).status == 200
            time.sleep(WITHIN_S)
            marks = len(one.answers), len(other.answers)
            until(lambda m=marks: len(one.answers) > m[0] + 50 and len(other.answers) > m[1] + 50, 20, "more load")
            answers = one.answers[marks[0] + 6 :] + other.answers[marks[1] + 6 :]  # without what was under way
            assert {answer.host for answer in answers} == {wanted.authority}
        assert patch(pair[0], FASTAPI_URL=f"{first.url},{second.url}").status == 200
        time.sleep(WITHIN_S)
        assert list(states(pair[1])) == [first.url, second.url]
        assert patch(pair[0], FASTAPI_URL=None).status == 200
        time.sleep(WITHIN_S)
    assert one.failures == other.failures == []
    assert {answer.host for answer in one.answers} == {first.authority, second.authority}


def test_what_is_under_way_on_a_backend_that_goes_ends_there(gateways, two, valkey) -> None:
    first, second = two
    gateway = gateways(first.url, REDIS_URL=valkey.url, GATEWAY_WORKERS=1, FASTAPI_KEEPALIVE=60_000)
    found: list[Response] = []
    slow = threading.Thread(target=lambda: found.append(request(gateway.port, "/slow?s=2.5")))
    request(first.port, "/_reset")
    slow.start()
    until(lambda: request(first.port, "/_seen").json["seen"], 5, "it being under way")
    patch(gateway, FASTAPI_URL=second.url)
    assert host_of(gateway) == second.authority
    slow.join()
    assert (found[0].status, found[0].body) == (200, b'{"slept":true}')
    worker = gateway.worker()
    gone = lambda: [c for c in worker.net_connections() if c.raddr and c.raddr.port == first.port]  # noqa: E731
    until(lambda: not gone(), 5, "its connections being closed")


def test_the_strategy_changes(gateways, two, valkey) -> None:
    first, second = two
    both = f"{first.url};region=europe-west,{second.url};region=oceania"
    gateway = gateways(both, REDIS_URL=valkey.url)
    headers = {"X_Client_Region": "oceania", "X_Session_ID": "7"}
    hosts = lambda: {dict(request(gateway.port, "/x", **headers).json["headers"])["host"] for _ in range(8)}  # noqa: E731
    assert hosts() == {first.authority, second.authority}
    assert patch(gateway, ROUTER_STRATEGY="region-affinity").status == 200
    assert hosts() == {second.authority}
    assert patch(gateway, FASTAPI_URL=[f"{second.url};region=europe-west", f"{first.url};region=oceania"]).status == 200
    assert hosts() == {first.authority}
    assert patch(gateway, ROUTER_STRATEGY="sticky").status == 200
    assert len(hosts()) == 1
    assert patch(gateway, ROUTER_STRATEGY=None, FASTAPI_URL=None).status == 200
    assert hosts() == {first.authority, second.authority}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("FASTAPI_URL", "none", "names no backend"),
        ("FASTAPI_URL", "http://a/path", "holds a path"),
        ("FASTAPI_URL", "http://a,http://a", "names one backend twice"),
        ("ROUTER_STRATEGY", "fastest", "is none of"),
    ],
)
def test_what_is_no_good_is_refused_and_changes_nothing(gateways, two, valkey, name, value, problem) -> None:
    gateway = gateways(two[0].url, REDIS_URL=valkey.url)
    response = patch(gateway, **{name: value})
    assert response.status == 400
    assert problem in str(response.json)
    assert host_of(gateway) == two[0].authority


# -- addresses ----------------------------------------------------------------------------------------


def test_an_ipv6_address(gateways) -> None:
    with Server("::1") as server:
        gateway = gateways(server.url)
        assert host_of(gateway) == server.authority == f"[::1]:{server.port}"
        until(lambda: states(gateway) == {server.url: "healthy"}, 5, "its check")
        with connect(f"ws://127.0.0.1:{gateway.port}/ws") as websocket:
            websocket.send("hello")
            assert websocket.recv(5) == "hello"


def test_a_name(gateways) -> None:
    with Server(name="localhost") as server:
        assert host_of(gateways(server.url)) == server.authority == f"localhost:{server.port}"


@pytest.mark.parametrize(("host", "name"), [("127.0.0.1", ""), ("::1", ""), ("127.0.0.1", "localhost")])
def test_https_with_an_authority_that_is_known(gateways, tmp_path: Path, host: str, name: str) -> None:
    cert, key = write_pair(tmp_path, name or host)
    with Server(host, cert, key, name=name) as server:
        gateway = gateways(server.url, SSL_CERT_FILE=cert)
        for _ in range(3):
            assert host_of(gateway) == server.authority
        body = b"x" * 300_000
        assert request(gateway.port, "/x", "POST", body).json["size"] == len(body)
        assert len(request(gateway.port, "/sized?size=1000000").body) == 1_000_000
        until(lambda: states(gateway) == {server.url: "healthy"}, 5, "its check")
        with connect(f"ws://127.0.0.1:{gateway.port}/ws") as websocket:
            websocket.send("hello")
            assert websocket.recv(5) == "hello"


@pytest.mark.parametrize("trouble", ["unknown authority", "another name"])
def test_https_is_verified(gateways: Callable[..., Gateway], tmp_path: Path, trouble: str) -> None:
    cert, key = write_pair(tmp_path / "a", "127.0.0.1" if trouble == "unknown authority" else "127.0.0.2")
    other, _ = write_pair(tmp_path / "b", "127.0.0.1")
    with Server("127.0.0.1", cert, key) as server:
        gateway = gateways(server.url, SSL_CERT_FILE=other if trouble == "unknown authority" else cert)
        response = request(gateway.port, "/x")
        assert (response.status, response.error) == (502, "BAD_GATEWAY")
        until(lambda: states(gateway) == {server.url: "unhealthy"}, 5, "its check")
        detailed = request(gateway.port, "/gateway/health/detailed").json
        assert "certificate verify failed" in detailed["backends"][0]["problem"]


def test_from_http_to_https_at_run_time(gateways, backend: Uvicorn, valkey, tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path / "good", "127.0.0.1")
    strange, strange_key = write_pair(tmp_path / "strange", "127.0.0.1")
    with Server("127.0.0.1", cert, key) as server, Server("127.0.0.1", strange, strange_key) as stranger:
        gateway = gateways(backend.url, REDIS_URL=valkey.url, SSL_CERT_FILE=cert)
        assert host_of(gateway) == backend.url[7:]
        assert patch(gateway, FASTAPI_URL=server.url).status == 200
        assert host_of(gateway) == server.authority
        until(lambda: states(gateway) == {server.url: "healthy"}, 5, "its check")
        assert patch(gateway, FASTAPI_URL=stranger.url).status == 200
        assert request(gateway.port, "/x").status == 502
        until(lambda: states(gateway) == {stranger.url: "unhealthy"}, 5, "its check")
