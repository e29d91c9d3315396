"""How many entries there are: the index tells, CACHE_MAX_SIZE bounds, the longest unused go first, purges take all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import quote

import pytest

from fastgw.cache.sweep import SWEEP_S
from fastgw.periodic import JITTER
from tests.support.processes import ROOT, SETTINGS, Gateway, Uvicorn
from tests.support.raw_client import Response, request
from tests.support.valkey import Cluster, Valkey
from tests.support.wait import until

MAX_SIZE = 20
INDEX = "gateway:cache:keys"
FRESH = "h=" + quote("cache-control: public, max-age=600")
BRIEF = "h=" + quote("cache-control: public, max-age=1")

SWEPT_S = SWEEP_S * (1 + JITTER) + 1.5
"""Until a sweep has been and its consequences are there, on a machine with other work."""


@pytest.fixture(scope="module")
def origin() -> Iterator[Uvicorn]:
    with Uvicorn("tests.support.cache_app:app") as server:
        yield server


@pytest.fixture(scope="module")
def own_server() -> Iterator[Valkey]:
    """Of this module alone, as other tests' gateways put the names that they know into an index that they share."""
    with Valkey() as server:
        yield server


@pytest.fixture
def valkey(own_server: Valkey) -> Valkey:
    own_server.reset()
    return own_server


@pytest.fixture(scope="module")
def sized(origin: Uvicorn) -> Iterator[Callable[..., Gateway]]:
    """A gateway on a Redis, with so many entries; of this module alone, as it evicts what others have stored."""
    known: dict[tuple[str, int], Gateway] = {}
    with ExitStack() as running:

        def get(url: str, size: int = MAX_SIZE) -> Gateway:
            if (url, size) not in known:
                gateway = Gateway(origin.url, REDIS_URL=url, CACHE_ENABLED="true", CACHE_MAX_SIZE=size)
                known[url, size] = running.enter_context(gateway)
            return known[url, size]

        yield get


@pytest.fixture
def small(sized: Callable[..., Gateway], valkey: Valkey) -> Gateway:
    return sized(valkey.url)


@pytest.fixture
def large(sized: Callable[..., Gateway], valkey: Valkey) -> Gateway:
    return sized(valkey.url, 1000)


def state(response: Response) -> str | None:
    assert response.status == 200
    return response.header("x-gateway-cache")


def get(gateway: Gateway, path: str, query: str = FRESH) -> str | None:
    return state(request(gateway.port, f"{path}?{query}"))


def get_known(gateway: Gateway, path: str) -> str | None:
    """HIT if it is there; nothing is fetched (RFC 9111 5.2.1.7)."""
    response = request(gateway.port, f"{path}?{FRESH}", **{"Cache-Control": "only-if-cached"})
    assert response.status in {200, 504}
    return response.header("x-gateway-cache")


def fill(gateway: Gateway, *paths: str, query: str = FRESH) -> None:
    """Have these stored."""
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda path: get(gateway, path, query), paths)) == {"MISS"}


def count(servers: Valkey | Cluster) -> int:
    return int(servers.admin.scard(INDEX))


def entries(servers: Valkey | Cluster) -> set[bytes]:
    """The names of the entries that are there, as the index would have them."""
    nodes = servers.nodes if isinstance(servers, Cluster) else [servers]
    return {key.removeprefix(b"gateway:cache:") for node in nodes for key in node.admin.keys("gateway:cache:{*")}


def is_true(servers: Valkey | Cluster) -> bool:
    """Whether the index names what is there, and nothing else."""
    return set(servers.admin.smembers(INDEX)) == entries(servers)


@pytest.fixture(params=["valkey", "cluster"])
def servers(request: pytest.FixtureRequest) -> Valkey | Cluster:
    return request.getfixturevalue(request.param)


# -- size ---------------------------------------------------------------------------------------------


def test_there_are_never_more_than_allowed_for_long(sized, servers):
    gateway = sized(servers.url)
    fill(gateway, *(f"/{number}" for number in range(60)))
    until(lambda: count(servers) <= MAX_SIZE, SWEPT_S, "the eviction")
    until(lambda: is_true(servers), SWEPT_S, "a true index")
    assert MAX_SIZE // 2 <= len(entries(servers)) <= MAX_SIZE, "no more than need be"
    known = [get_known(gateway, f"/{number}") for number in range(60)]
    assert 0 < known.count("HIT") <= MAX_SIZE


def test_what_was_used_again_survives_what_was_not(small, valkey):
    """Redis tells idle times in seconds, so the eviction waits until they differ."""
    paths = [f"/old/{number}" for number in range(MAX_SIZE)]
    used = paths[3:12]
    fill(small, *paths)
    names = {path: name for path in paths for name in entries_of(small, valkey, path)}
    until(lambda: min(idle(valkey, name) for name in names.values()) >= 2, 6, "two seconds without use")
    assert [get(small, path) for path in used] == ["HIT"] * len(used)
    assert max(idle(valkey, names[path]) for path in used) < 2 <= min(idle(valkey, names[p]) for p in paths[12:])
    new = [f"/new/{number}" for number in range(5)]
    fill(small, *new)
    until(lambda: count(valkey) <= MAX_SIZE, SWEPT_S, "the eviction")
    left = entries(valkey)
    assert {names[path] for path in used} <= left
    assert len([path for path in paths if names[path] not in left]) >= len(new)
    assert [get(small, path) for path in (*used, *new)] == ["HIT"] * (len(used) + len(new))


def entries_of(gateway: Gateway, valkey: Valkey, path: str) -> list[bytes]:
    """The name under which a path is stored: the one that is touched when it is asked for."""
    with valkey.monitor() as monitor:
        assert get(gateway, path) == "HIT"
    reads = [call.args[1] for call in monitor.calls if call.name == b"GETRANGE" and call.source == "lua"]
    return [key.removeprefix(b"gateway:cache:") for key in reads[:1]]


def idle(valkey: Valkey, name: bytes) -> int:
    return int(valkey.admin.object("idletime", b"gateway:cache:" + name))


def test_dead_names_in_the_index_cost_no_living_entry(small, valkey):
    fill(small, *(f"/{number}" for number in range(MAX_SIZE - 1)))
    until(lambda: count(valkey) == MAX_SIZE - 1, 2, "the entries")
    valkey.admin.sadd(INDEX, *(f"{{gone{number}}}" for number in range(50)))
    fill(small, "/one-more")
    until(lambda: is_true(valkey), SWEPT_S, "a true index")
    assert count(valkey) == MAX_SIZE


# -- a true index -------------------------------------------------------------------------------------


def test_what_expired_or_was_deleted_by_hand_leaves_the_index(large, valkey):
    fill(large, *(f"/long/{number}" for number in range(10)))
    until(lambda: count(valkey) == len(entries(valkey)) == 10, 2, "the entries")
    long = sorted(entries(valkey))
    fill(large, *(f"/brief/{number}" for number in range(10)), query=BRIEF)
    valkey.admin.delete(*(b"gateway:cache:" + name for name in long[:4]))
    until(lambda: entries(valkey) == set(long[4:]), 4, "the end of the brief ones")
    until(lambda: is_true(valkey), SWEPT_S, "a true index")
    assert count(valkey) == 6


def test_the_index_deleted_alone_is_made_anew_from_what_is_in_use(large, valkey):
    paths = [f"/{number}" for number in range(10)]
    fill(large, *paths)
    until(lambda: count(valkey) == 10, 2, "the entries")
    assert valkey.admin.delete(INDEX) == 1
    assert [get(large, path) for path in paths] == ["HIT"] * 10
    until(lambda: count(valkey) == 10 and is_true(valkey), SWEPT_S, "a true index")


# -- purges -------------------------------------------------------------------------------------------


def test_a_purge_takes_a_path_in_all_its_forms_or_everything(sized, servers):
    gateway = sized(servers.url)
    vary = "h=" + quote("vary: accept-language")
    asked = [
        lambda: request(gateway.port, f"/a?{FRESH}"),
        lambda: request(gateway.port, f"/a?{FRESH}&q=1"),
        lambda: request(gateway.port, f"/a?{FRESH}&{vary}&q=2", Accept_Language="de"),
        lambda: request(gateway.port, f"/a?{FRESH}&{vary}&q=2", Accept_Language="fr"),
        lambda: request(gateway.port, f"/%61?{FRESH}&q=3"),
        lambda: request(gateway.port, f"/b?{FRESH}"),
        lambda: request(gateway.port, f"/ab?{FRESH}"),
    ]

    def states() -> list[str | None]:
        return [state(one()) for one in asked]

    assert states() == ["MISS"] * 7
    until(lambda: states() == ["HIT"] * 7, 2, "all being stored")
    assert purged(gateway, "?path=/a") == 6, "five answers, and the mark that one of them has variants"
    assert states() == ["MISS"] * 5 + ["HIT"] * 2
    until(lambda: states() == ["HIT"] * 7, 2, "all being stored")
    assert purged(gateway, "") == 8
    until(lambda: count(servers) == 0, SWEPT_S, "an empty index")
    assert entries(servers) == set()
    assert states() == ["MISS"] * 7


def purged(gateway: Gateway, query: str) -> int:
    response = request(gateway.port, f"/gateway/cache{query}", "DELETE")
    assert response.status == 200
    return int(response.json["purged"])


def test_the_command_purges_too(sized, servers, tmp_path):
    gateway = sized(servers.url)
    fill(gateway, "/a", "/b", "/c")
    until(lambda: len(entries(servers)) == 3, 2, "the entries")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "fastgw", "cache", "purge", *arguments, "--url", gateway.url]
        env = {**{k: v for k, v in os.environ.items() if k not in SETTINGS}, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert run("/a") == "1 entry purged\n"
    assert [get(gateway, path) for path in ("/b", "/a")] == ["HIT", "MISS"]
    until(lambda: len(entries(servers)) == 3, 2, "the entry")
    assert run() == "3 entries purged\n"
    assert get(gateway, "/b") == "MISS"


def test_what_is_being_fetched_during_a_purge_is_not_stored(large, valkey):
    slow = f"/slow?{FRESH}&sleep=0.5"
    with ThreadPoolExecutor(1) as pool:
        fetch = pool.submit(request, large.port, slow)
        until(lambda: valkey.admin.keys("gateway:lease:cache:*"), 2, "the fetch")
        purged(large, "")
        assert state(fetch.result()) == "MISS"
    time.sleep(0.05)
    assert entries(valkey) == set()
