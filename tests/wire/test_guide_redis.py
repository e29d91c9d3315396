"""The integration guide's redis-cli lines, run as they stand there beside a gateway under traffic, do what it says.

A `redis-cli` stands first in PATH that adds the port of the test's server, and is Debian's (redis-tools) otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import pytest

from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import RawClient, Response, request
from tests.support.stats_app import SIZE
from tests.support.valkey import Valkey
from tests.support.wait import until

STATS = "/api/v1/queue/stats"
SETTINGS = {"RATE_LIMIT_ENABLED": "true", "CACHE_ENABLED": "true", "CACHE_ROUTES": f"{STATS}=600"}
LIMIT = 100
"""RATE_LIMIT_MAX_REQUESTS by default: a client's window holds no more. Traffic gets a higher one."""

HIGH_LIMIT = 100_000

MEGABYTE = 1_000_000
CLIENTS = RESPONSES = 1_000
WINDOWS = "gateway:ratelimit:198.19.*"
BUSIEST = 100
"""Clients that use all of their limit, in the test of memory."""

Line = Callable[[str], str]


@pytest.fixture(scope="module")
def platform() -> Iterator[Uvicorn]:
    with Uvicorn("tests.support.stats_app:app") as server:
        yield server


@pytest.fixture(scope="module")
def own_server() -> Iterator[Valkey]:
    """Of this module alone: keys and bytes are counted."""
    with Valkey() as server:
        yield server


@pytest.fixture
def valkey(own_server: Valkey) -> Valkey:
    own_server.reset()
    return own_server


@pytest.fixture(scope="module")
def unlimited(platform: Uvicorn, own_server: Valkey) -> Iterator[Gateway]:
    with Gateway(platform.url, REDIS_URL=own_server.url, RATE_LIMIT_MAX_REQUESTS=HIGH_LIMIT, **SETTINGS) as one:
        yield one


@pytest.fixture
def gateway(unlimited: Gateway, valkey: Valkey) -> Gateway:
    return unlimited


@pytest.fixture
def plain(platform: Uvicorn, valkey: Valkey) -> Iterator[Gateway]:
    """With the limit and the cache size that there are by default."""
    with Gateway(platform.url, REDIS_URL=valkey.url, **SETTINGS) as one:
        yield one


@pytest.fixture
def line(valkey: Valkey, tmp_path) -> Line:
    """Run a line of the guide; what it prints, without the last line end."""
    if shutil.which("redis-cli") is None:
        pytest.skip("redis-cli is missing; Debian has it in redis-tools")
    (tmp_path / "redis-cli").write_text(f'#!/bin/sh\nexec {shutil.which("redis-cli")} -p {valkey.port} "$@"\n')
    (tmp_path / "redis-cli").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def run(text: str) -> str:
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, ""), result.stdout
        return result.stdout.strip()

    return run


class Traffic:
    """Four clients that ask for some of the statistics all the time."""

    TARGETS = tuple(f"{STATS}?n={number}" for number in range(10))
    CLIENTS = tuple(f"198.18.100.{number}" for number in range(1, 5))

    def __init__(self, port: int) -> None:
        self.seen: Counter[tuple[int, str | None]] = Counter()
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in self.CLIENTS]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.seen[200, "HIT"] > 50, 10, "traffic")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert {status for status, _ in self.seen} == {200}, self.seen

    def _run(self, client: str) -> None:
        while not self._stop.is_set():
            for target in self.TARGETS:
                response = ask(self._port, client, target)
                self.seen[response.status, response.header("x-gateway-cache")] += 1
                time.sleep(0.002)


def ask(port: int, client: str, target: str = STATS) -> Response:
    return request(port, target, X_Forwarded_For=client)


@pytest.fixture
def traffic(gateway: Gateway) -> Iterator[Traffic]:
    with Traffic(gateway.port) as one:
        yield one


# -- monitoring the key space -------------------------------------------------------------------------


def test_checking_the_gateways_key_count(line, traffic, valkey):
    def here() -> int:
        return len(valkey.admin.keys("gateway:*"))

    before, told, after = here(), int(line('redis-cli KEYS "gateway:*" | wc -l')), here()
    at_least = len(Traffic.TARGETS) + 1 + len(Traffic.CLIENTS)  # entries, their index, windows
    assert at_least <= told <= at_least + 4, "and leases, and the list of workers"
    assert min(before, after) <= told <= max(before, after) + 2


def test_checking_the_cache_size(line, gateway, traffic):
    assert int(line('redis-cli SCARD "gateway:cache:keys"')) == len(Traffic.TARGETS)
    ask(gateway.port, "198.18.101.1", f"{STATS}?n=one-more")
    until(lambda: int(line('redis-cli SCARD "gateway:cache:keys"')) == len(Traffic.TARGETS) + 1, 2, "one more")


def test_checking_worker_heartbeats(line, gateway, traffic, valkey):
    for name in ("w-1", "w-2", "w-3"):
        valkey.admin.set(f"worker:{name}:status", json.dumps({"status": "idle", "region": "oceania"}), ex=60)
        valkey.admin.set(f"worker:{name}:heartbeat", str(time.time()), ex=60)
    told = sorted(line('redis-cli KEYS "worker:*:heartbeat"').split())
    assert told == [f"worker:{name}:heartbeat" for name in ("w-1", "w-2", "w-3")]
    assert len(line('redis-cli KEYS "worker:*"').split()) == 6

    def shown() -> list[str]:
        listed = ask(gateway.port, "198.18.101.2", "/api/v1/workers").json
        return [worker["worker_id"] for worker in listed.get("workers", [])]

    until(lambda: shown() == ["w-1", "w-2", "w-3"], 5, "the gateway's list")
    assert sorted(line('redis-cli KEYS "worker:*:heartbeat"').split()) == told, "the gateway only reads"


@pytest.mark.parametrize("option", ["--bigkeys", "--memkeys"])
def test_memory_usage_for_a_namespace(line, traffic, valkey, option):
    valkey.admin.set("queue:stats", "x" * 100_000)
    told = line(f'redis-cli {option} --pattern "gateway:*"')
    for kind, name in (("set", "gateway:cache:keys"), ("string", r"gateway:cache:\{\w+\}"), ("zset", "gateway:.*")):
        assert re.search(rf"Biggest +{kind} found ['\"]+{name}['\"]+ has", told), told
    assert "queue:" not in told


# -- when something is wrong --------------------------------------------------------------------------


def test_testing_redis_from_the_gateways_host(line, gateway, valkey):
    assert line(f"redis-cli --no-auth-warning -u {valkey.url} PING") == "PONG"
    assert request(gateway.port, "/gateway/health").json["redis"] == "connected"
    told = request(gateway.port, "/gateway/health/detailed").json["redis"]
    assert (told["status"], told["mode"], told["breaker"]) == ("connected", "standalone", "closed")


def test_checking_a_rate_limit_counter(line, gateway, traffic):
    client = "198.18.101.3"
    for number in (1, 2, 3):
        assert ask(gateway.port, client).header("x-ratelimit-remaining") == str(HIGH_LIMIT - number)
        assert line(f'redis-cli ZCARD "gateway:ratelimit:{client}"') == str(number)


def test_raising_a_limit_by_clearing_its_counter(line, gateway, traffic):
    """Not in the guide, but what its readers try next."""
    client = "198.18.101.4"
    ask(gateway.port, client)
    assert line(f'redis-cli DEL "gateway:ratelimit:{client}"') == "1"
    assert ask(gateway.port, client).header("x-ratelimit-remaining") == str(HIGH_LIMIT - 1)


def test_clearing_all_cached_responses(line, gateway, traffic):
    client = "198.18.101.5"

    def states() -> list[str | None]:
        return [ask(gateway.port, client, f"{STATS}?mine").header("x-gateway-cache") for _ in range(2)]

    assert states() == ["MISS", "HIT"]
    for _ in range(3):
        deleted = line('redis-cli KEYS "gateway:cache:*" | xargs redis-cli DEL')
        assert int(deleted) >= 2
        assert states() == ["MISS", "HIT"], "at once, and only once"
    everything = len(Traffic.TARGETS) + 1
    # an entry that came between KEYS and DEL has lost its name, which the next sweep puts back
    until(lambda: line('redis-cli SCARD "gateway:cache:keys"') == str(everything), 8, "the index of what is cached")
    assert len(line('redis-cli KEYS "gateway:cache:{*"').split()) == everything


def test_nothing_is_left_to_clear(line, gateway, valkey):
    assert ask(gateway.port, "198.18.101.6", f"{STATS}?last").header("x-gateway-cache") == "MISS"
    until(lambda: valkey.admin.scard("gateway:cache:keys") == 1, 2, "the entry")
    assert line('redis-cli KEYS "gateway:cache:*" | xargs redis-cli DEL') == "2"
    assert line('redis-cli KEYS "gateway:cache:*"') == ""


# -- memory -------------------------------------------------------------------------------------------


def visit(port: int, numbers: range) -> None:
    """Each client asks for a response of its own, and twice more."""
    with RawClient(port) as connection:
        for number in numbers:
            head = (
                f"GET {STATS}?n={number} HTTP/1.1\r\nHost: gateway.test\r\nX-Forwarded-For: {address(number)}\r\n\r\n"
            )
            for expected in ("MISS", "HIT", "HIT"):
                connection.send(head.encode())
                response = connection.response()
                assert (response.status, response.header("x-gateway-cache")) == (200, expected)
                assert abs(len(response.body) - SIZE) < 150


def use_up(port: int, number: int) -> None:
    """A client that has asked three times uses the rest of its limit, and is refused then."""
    with RawClient(port) as connection:
        connection.send(head("HEAD", number) * (LIMIT - 2))
        told = b""
        while told.count(b"\r\n\r\n") < LIMIT - 2:
            told += connection.sock.recv(65536)
    assert (told.count(b"HTTP/1.1 200 "), told.count(b"HTTP/1.1 429 ")) == (LIMIT - 3, 1)


def address(number: int) -> str:
    return f"198.19.{number // 250}.{number % 250 + 1}"


def head(method: str, number: int) -> bytes:
    fields = f"Host: gateway.test\r\nX-Forwarded-For: {address(number)}\r\n\r\n"
    return f"{method} {STATS}?n={number} HTTP/1.1\r\n{fields}".encode()


def usage(valkey: Valkey, pattern: str) -> int:
    """Bytes by MEMORY USAGE, all elements looked at."""
    names = valkey.admin.keys(pattern)
    pipeline = valkey.admin.pipeline(transaction=False)
    for name in names:
        pipeline.execute_command("MEMORY USAGE", name, "SAMPLES", 0)
    return sum(pipeline.execute())


def used(valkey: Valkey) -> int:
    return int(valkey.info("used_memory"))


def test_a_thousand_clients_and_a_thousand_responses_stay_under_ten_megabytes(plain, valkey, record_property):
    ask(plain.port, "198.18.101.7", "/x")
    before = used(valkey)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: visit(plain.port, range(start, start + 125)), range(0, CLIENTS, 125)))
        until(lambda: valkey.admin.scard("gateway:cache:keys") == RESPONSES, 5, "all entries")
        grown, entries, windows = used(valkey) - before, usage(valkey, "gateway:cache:*"), usage(valkey, WINDOWS)
        list(pool.map(lambda number: use_up(plain.port, number), range(BUSIEST)))
    assert valkey.admin.zcard(f"gateway:ratelimit:{address(0)}") == LIMIT
    full = usage(valkey, WINDOWS) - windows  # of 100 clients from 3 requests to 100
    worst = grown + full * CLIENTS // BUSIEST
    figures = {"used": grown, "everything": usage(valkey, "gateway:*"), "entries": entries, "windows": windows}
    figures |= {"all clients at their limit": worst}
    for name, value in figures.items():
        record_property(name, value)
    print(figures)
    assert max(figures.values()) < 10 * MEGABYTE, figures
