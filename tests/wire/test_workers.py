"""GET /api/v1/workers is what the GPU workers wrote to Redis; everything else about workers is the backend's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastgw.workers.parse import read_worker
from tests.support.ports import RefusingPort
from tests.support.processes import Gateway
from tests.support.raw_client import RawClient, Response, request
from tests.support.valkey import Valkey
from tests.support.wait import until

PATH = "/api/v1/workers"
GPU = {"name": "NVIDIA L4", "memory_total_mb": 23034, "memory_used_mb": 512, "utilization_percent": 7.5}
LIST_S = 10.0
"""Until a list is what it is to be: two rounds of a second, on a machine with other work."""


def write(valkey: Valkey, name: str, **parts: Any) -> None:
    """What a GPU worker writes, with the TTL that it gives its keys."""
    for part, value in parts.items():
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        valkey.admin.set(f"worker:{name}:{part}", text, ex=60)


def write_worker(valkey: Valkey, name: str, region: str, state: str) -> Any:
    """A whole worker; how it is to be shown."""
    status = {"status": state, "region": region, "uptime_seconds": 77, "jobs_completed": 3, "version": "1.2"}
    beat = time.time()
    write(valkey, name, status=status, gpu=GPU, heartbeat=beat)
    return read_worker(name.encode(), (json.dumps(status).encode(), json.dumps(GPU).encode(), b"%f" % beat), beat)


def write_fleet(valkey: Valkey) -> list[Any]:
    told = [
        ("a", "asia-east", "busy"),
        ("b", "asia-east", "idle"),
        ("c", "oceania", "online"),
        ("d", "oceania", "offline"),
    ]
    return [write_worker(valkey, name, region, state) for name, region, state in told]


def ask(gateway: Gateway, query: str = "") -> Response:
    return request(gateway.port, PATH + query)


def names(response: Response) -> str:
    content = response.json
    workers = content["workers"] if isinstance(content, dict) and "workers" in content else content
    return "".join(worker["worker_id"] for worker in workers) if isinstance(workers, list) else "(not a list)"


def wait_for(gateway: Gateway, expected: str) -> Response:
    """The list, when it holds these workers."""
    return until(lambda: (r := ask(gateway)).status == 200 and names(r) == expected and r, LIST_S, f"{expected!r}")


def wait_for_fleet(gateway: Gateway, fleet: list[Any]) -> Response:
    """The list, when it holds these very workers, and not those of an earlier test with the same names."""
    return until(lambda: ask(gateway, "?format=list").json == fleet and ask(gateway), LIST_S, "the list")


@pytest.fixture
def from_redis(gateways: Callable[..., Gateway], backend: Any, valkey: Valkey) -> Gateway:
    return gateways(backend.url, REDIS_URL=valkey.url, WORKERS_SOURCE="redis")


@pytest.fixture
def auto(gateways: Callable[..., Gateway], backend: Any, valkey: Valkey) -> Gateway:
    return gateways(backend.url, REDIS_URL=valkey.url)


def is_forwarded(response: Response) -> bool:
    """The recording backend answers with what it was asked."""
    return response.status == 200 and isinstance(response.json, dict) and "raw_path" in response.json


def test_the_list_is_what_the_workers_wrote(from_redis, valkey):
    fleet = write_fleet(valkey)
    response = wait_for_fleet(from_redis, fleet)
    assert response.json == {"workers": fleet, "total": 4, "online": 3, "busy": 1, "idle": 1}
    assert response.header("content-type") == "application/json"
    assert response.header("cache-control") == "no-store"
    assert response.header("x-request-id")
    head = request(from_redis.port, PATH, "HEAD")
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(response.body)))


def test_what_is_asked_for_is_selected(from_redis, valkey):
    fleet = write_fleet(valkey)
    wait_for_fleet(from_redis, fleet)
    assert names(ask(from_redis, "?region=asia-east")) == "ab"
    assert names(ask(from_redis, "?region=oceania&status=online&status=busy")) == "c"
    assert ask(from_redis, "?region=mars").json == {"workers": [], "total": 0, "online": 0, "busy": 0, "idle": 0}
    assert ask(from_redis, "?format=list").json == fleet
    assert names(ask(from_redis, "?format=list&status=busy")) == "a"
    refused = ask(from_redis, "?format=xml")
    assert (refused.status, refused.error) == (400, "BAD_REQUEST")


def test_the_setting_gives_the_array(gateways, backend, valkey):
    gateway = gateways(backend.url, REDIS_URL=valkey.url, WORKERS_FORMAT="list")
    fleet = write_fleet(valkey)
    assert wait_for_fleet(gateway, fleet).json == fleet
    assert ask(gateway, "?format=object").json["total"] == 4


def test_half_written_workers_break_nothing(from_redis, valkey):
    whole = write_worker(valkey, "a", "oceania", "busy")
    write(valkey, "b", status=b'{"status": "bu', gpu=b"\xff\xfe", heartbeat=b"%d" % time.time())
    write(valkey, "c", heartbeat=b"soon")
    valkey.admin.rpush("worker:d:status", "busy")
    write(valkey, "e", status={"status": "idle", "api_key": "hush"}, heartbeat=b"%d" % (time.time() - 300))
    response = until(lambda: names(r := ask(from_redis)) == "abcde" and r.json["workers"][0] == whole and r, LIST_S)
    states = [worker["status"] for worker in response.json["workers"]]
    assert states == ["busy", "online", "unknown", "unknown", "offline"]
    assert b"hush" not in response.body
    assert b"hush" not in valkey.admin.get("gateway:workers")


def test_without_workers_auto_asks_the_backend(auto, valkey):
    assert until(lambda: is_forwarded(ask(auto)), LIST_S, "the backend's answer")
    assert ask(auto, "?format=list&region=x").json["query"] == "format=list&region=x"
    write_fleet(valkey)
    assert wait_for(auto, "abcd").json["total"] == 4
    valkey.admin.delete(*valkey.admin.keys("worker:*"))
    assert until(lambda: is_forwarded(ask(auto)), LIST_S, "the backend's answer")


def test_without_workers_redis_is_an_empty_list(from_redis):
    assert wait_for(from_redis, "").json == {"workers": [], "total": 0, "online": 0, "busy": 0, "idle": 0}


def test_the_backend_alone_may_be_asked(gateways, backend, valkey, from_redis):
    gateway = gateways(backend.url, REDIS_URL=valkey.url, WORKERS_SOURCE="backend")
    wait_for_fleet(from_redis, write_fleet(valkey))
    assert is_forwarded(ask(gateway))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PATH),
        ("PUT", PATH),
        ("DELETE", PATH),
        ("OPTIONS", PATH),
        ("GET", PATH + "/"),
        ("GET", PATH + "/a"),
        ("GET", PATH + "/a/next-job"),
        ("POST", PATH + "/register"),
        ("POST", PATH + "/a/heartbeat"),
    ],
)
def test_everything_else_is_the_backends(from_redis, method, path):
    response = request(from_redis.port, path, method, b"{}" if method in ("POST", "PUT") else None)
    assert is_forwarded(response)
    assert (response.json["method"], response.json["raw_path"]) == (method, path)


def test_who_comes_is_listed_within_two_and_a_half_seconds(from_redis, valkey):
    """The best of some tries: others work on this machine too."""
    took = []
    for number in range(4):
        start = time.monotonic()
        write(valkey, f"{number}", status={"status": "idle"})
        wait_for(from_redis, "0123"[: number + 1])
        took.append(time.monotonic() - start)
    assert min(took) < 2.5


def test_one_process_of_the_fleet_reads_the_workers(gateways, backend, valkey):
    """Two gateways with two processes each; whoever reads says so by SCAN for worker:*."""
    fleet = [
        gateways(backend.url, REDIS_URL=valkey.url, GATEWAY_WORKERS=2, WORKERS_SOURCE="redis"),
        gateways(backend.url, REDIS_URL=valkey.url, GATEWAY_WORKERS=2, FASTAPI_POOL_SIZE=8),
    ]
    workers = write_fleet(valkey)
    for gateway in fleet:
        wait_for_fleet(gateway, workers)
    with valkey.monitor() as seen:

        def scans() -> list[str]:
            return [call.source for call in list(seen.calls) if call.name == b"SCAN" and b"worker:*" in call.args]

        until(lambda: len(scans()) >= 3, 20, "three rounds")
    assert len(set(scans())) == 1
    assert b"KEYS" not in seen.names()
    assert all(key.startswith((b"worker:", b"gateway:")) for call in seen.calls for key, _ in seen.keys(call))
    others = {call.source for call in seen.calls if call.args[:2] == (b"GETRANGE", b"gateway:workers")}
    assert len(others) >= 3


def test_without_redis_the_last_list_stays(gateways, backend, valkey):
    gateway = gateways(backend.url, REDIS_URL=valkey.url, WORKERS_SOURCE="redis", FASTAPI_POOL_SIZE=9)
    fleet = write_fleet(valkey)
    wait_for_fleet(gateway, fleet)
    valkey.stop()
    assert ask(gateway).json["workers"] == fleet
    stale = until(lambda: (r := ask(gateway)).json.get("stale") and r, 20, "the list being marked")
    assert stale.json == {"workers": fleet, "total": 4, "online": 3, "busy": 1, "idle": 1, "stale": True}
    valkey.start()
    write_worker(valkey, "e", "oceania", "busy")
    assert "stale" not in wait_for(gateway, "e").json


def test_without_redis_from_the_start(backend):
    port = RefusingPort()
    url = f"redis://127.0.0.1:{port.port}"
    with Gateway(backend.url, REDIS_URL=url, WORKERS_SOURCE="redis") as gateway:
        response = ask(gateway)
        assert (response.status, response.error) == (503, "SERVICE_UNAVAILABLE")
        assert response.header("retry-after")
    with Gateway(backend.url, REDIS_URL=url) as gateway:
        assert is_forwarded(ask(gateway))
    port.close()


def test_the_list_is_not_for_everybody(gateways, backend, valkey):
    settings = {"AUTH_ENABLED": "true", "AUTH_API_KEYS": "k-1"}
    gateway = gateways(backend.url, REDIS_URL=valkey.url, WORKERS_SOURCE="redis", **settings)
    assert ask(gateway).status == 401
    until(lambda: request(gateway.port, PATH, X_API_Key="k-1").status == 200, LIST_S, "the list")


def test_a_websocket_is_no_question_for_the_list(from_redis, valkey, seen):
    wait_for_fleet(from_redis, write_fleet(valkey))
    with RawClient(from_redis.port) as client:
        client.send(
            b"GET /api/v1/workers HTTP/1.1\r\nHost: gw\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.sock.recv(12) == b"HTTP/1.1 101"
