"""A gateway that is asked all the time while something happens to its Redis: requests go on, and all comes back.

Whatever happens: no 5xx, nothing but what is configured, nobody waits for long, and no request is counted twice: the
window in Redis never holds more than were admitted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from time import monotonic
from typing import Any
from urllib.parse import quote

import pytest

from fastgw.store.slots import slot_of
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import Response, request
from tests.support.steady_load import SteadyLoad
from tests.support.valkey import Cluster, SentinelSet, Valkey
from tests.support.wait import until

FRESH = "h=" + quote("cache-control: public, max-age=600")
HIT, MISS, FEW = f"/hit?{FRESH}", f"/new/{{n}}?{FRESH}", "/few"
TARGETS = [HIT, HIT, MISS, FEW]
FEW_LIMIT = 20
SETTINGS = {
    "RATE_LIMIT_ENABLED": "true",
    "RATE_LIMIT_MAX_REQUESTS": 1_000_000,
    "RATE_LIMIT_RULES": f"{FEW}={FEW_LIMIT}/60",
    "CACHE_ENABLED": "true",
}

WALL_MS = 150
"""Longest that a client has waited: Redis is waited for once, for 50 ms at most; the rest is for what a dozen processes
on two cores add. Without them it is 40 ms."""

NOISE = 10
"""Requests of hundreds that a machine with other work may decide without Redis, as a call takes over 35 ms."""

BACK_S = 10.0
NUMBERS = count(1)


@pytest.fixture(scope="module")
def origin() -> Iterator[Uvicorn]:
    with Uvicorn("tests.support.cache_app:app") as server:
        yield server


@pytest.fixture(scope="module")
def fleet(origin: Uvicorn) -> Iterator[Callable[..., Gateway]]:
    """The gateway on a Redis, with more settings; ended with the module, as its backend is."""
    known: dict[str, Gateway] = {}
    with ExitStack() as running:

        def get(url: str, **more: object) -> Gateway:
            key = repr((url, more))
            if key not in known:
                known[key] = running.enter_context(Gateway(origin.url, REDIS_URL=url, **SETTINGS, **more))
            until(lambda: is_healthy(known[key]), BACK_S, "a healthy gateway")
            return known[key]

        yield get


@pytest.fixture
def client() -> str:
    return f"198.18.150.{next(NUMBERS)}"


def health(gateway: Gateway) -> Any:
    return request(gateway.port, "/gateway/health").json


def is_healthy(gateway: Gateway) -> bool:
    told = health(gateway)
    return (told["status"], told["redis"]) == ("healthy", "connected")


def without_redis(gateway: Gateway) -> int:
    """Requests that this process has decided by itself."""
    plugins = request(gateway.port, "/gateway/plugins").json["plugins"]
    return next(int(one["decided_without_redis"]) for one in plugins if one["name"] == "rate-limit")


def ask(gateway: Gateway, client: str, target: str, **fields: str) -> Response:
    return request(gateway.port, target, X_Forwarded_For=client, **fields)


def check(load: SteadyLoad) -> None:
    """What holds whatever has happened."""
    assert {one.status for one in load.seen if one.target != FEW} == {200}
    assert {one.status for one in load.seen if one.target == FEW} <= {200, 429}
    assert {one.cache for one in load.seen if one.status == 200} <= {"HIT", "MISS", "BYPASS"}
    longest = max(load.seen, key=lambda one: one.wall_ms)
    print(len(load.seen), dict(load.statuses()), longest)
    assert longest.wall_ms < WALL_MS


def counts_on(gateway: Gateway, admin: Any, client: str) -> None:
    """Redis counts each request again, once, and nothing is decided without it."""
    before, decided = admin.zcard(f"gateway:ratelimit:{client}"), without_redis(gateway)
    told = [ask(gateway, client, HIT) for _ in range(5)]
    assert {one.status for one in told} == {200}
    assert [int(one.header("x-ratelimit-remaining")) for one in told] == [
        SETTINGS["RATE_LIMIT_MAX_REQUESTS"] - before - number for number in range(1, 6)
    ]
    assert admin.zcard(f"gateway:ratelimit:{client}") == before + 5
    assert without_redis(gateway) == decided


# -- one server ---------------------------------------------------------------------------------------


def script_flush(valkey: Valkey, load: SteadyLoad) -> None:
    for _ in range(5):
        valkey.admin.script_flush()
        load.more(20)


def freeze(valkey: Valkey, load: SteadyLoad) -> None:
    valkey.freeze()
    load.more(150)
    valkey.thaw()


def oom(valkey: Valkey, load: SteadyLoad) -> None:
    valkey.config(maxmemory="1", maxmemory_policy="noeviction")
    load.more(150)
    valkey.config(maxmemory="0")


def stopped(valkey: Valkey, load: SteadyLoad) -> None:
    valkey.stop()
    load.more(150)
    valkey.start()


def restarted(valkey: Valkey, load: SteadyLoad) -> None:
    valkey.restart()


@pytest.mark.parametrize("event", [script_flush, freeze, oom, stopped, restarted])
def test_requests_go_on_and_nothing_is_counted_twice(
    fleet, valkey, client, event: Callable[[Valkey, SteadyLoad], None]
) -> None:
    gateway = fleet(valkey.url)
    before = without_redis(gateway)
    with SteadyLoad(gateway.port, client, TARGETS) as load:
        load.until(lambda one: one.cache == "HIT", "a hit")
        load.more(100)
        event(valkey, load)
        until(lambda: is_healthy(gateway), BACK_S, "health")
        load.until(lambda one: one.cache == "HIT", "hits again")
        load.more(100)
    check(load)
    decided = without_redis(gateway) - before
    counted, few = (valkey.admin.zcard(f"gateway:ratelimit:{client}{rule}") for rule in ("", f":{FEW}"))
    assert few <= FEW_LIMIT
    assert counted <= load.admitted(HIT, MISS)
    if event is script_flush:
        assert decided < NOISE
    if event not in {stopped, restarted}:  # which lose what was counted
        assert counted + decided >= load.admitted(HIT, MISS)
    assert load.admitted(FEW) <= FEW_LIMIT * (1 if event is script_flush else 3)
    counts_on(gateway, valkey.admin, client)


def slow_fetch(gateway: Gateway, client: str, target: str, valkey: Valkey) -> None:
    """Redis hangs while a response is being fetched, so what becomes of it can't be told to Redis."""
    with ThreadPoolExecutor(1) as pool:
        fetch = pool.submit(ask, gateway, client, target)
        until(lambda: valkey.admin.keys("gateway:lease:cache:*"), 2, "the fetch")
        valkey.freeze()
        assert ask(gateway, client, HIT).header("x-gateway-cache") == "BYPASS", "that Redis hangs is known"
        assert fetch.result().status == 200
    valkey.thaw()
    until(lambda: is_healthy(gateway), BACK_S, "health")


@pytest.mark.parametrize("storable", [True, False])
def test_a_fetch_that_redis_was_not_told_the_end_of_holds_nobody_up(fleet, origin, valkey, client, storable) -> None:
    gateway = fleet(valkey.url)
    target = f"/slow?sleep=0.5&{FRESH if storable else 'h=cache-control:no-store'}"
    slow_fetch(gateway, client, target, valkey)
    with Gateway(origin.url, REDIS_URL=valkey.url, **SETTINGS) as other:
        begun = monotonic()
        assert ask(other, client, target).status == 200
        assert monotonic() - begun < 2.0, "one fetch, and no wait for one that is over"


# -- Sentinel -----------------------------------------------------------------------------------------


def planned(sentinels: SentinelSet) -> Valkey:
    return sentinels.failover()


def killed(sentinels: SentinelSet) -> Valkey:
    return sentinels.wait_for_another(sentinels.kill_master())


@pytest.mark.slow
@pytest.mark.parametrize("change", [planned, killed])
def test_a_change_of_master_is_no_outage(origin, sentinels, client, change: Callable[[SentinelSet], Valkey]) -> None:
    with Gateway(origin.url, REDIS_URL=sentinels.url, **SETTINGS) as gateway:
        until(lambda: is_healthy(gateway), BACK_S, "a healthy gateway")
        with SteadyLoad(gateway.port, client, TARGETS) as load:
            load.until(lambda one: one.cache == "HIT", "a hit")
            load.more(100)
            new = change(sentinels)
            until(lambda: is_healthy(gateway), BACK_S, "health")
            load.until(lambda one: one.cache == "HIT", "hits again")
            load.more(100)
        check(load)
        assert 0 < new.admin.zcard(f"gateway:ratelimit:{client}") <= load.admitted(HIT, MISS)
        assert new.admin.zcard(f"gateway:ratelimit:{client}:{FEW}") <= FEW_LIMIT
        counts_on(gateway, new.admin, client)


# -- Cluster ------------------------------------------------------------------------------------------


@pytest.fixture
def clustered(fleet, cluster) -> Gateway:
    return fleet(cluster.url)


def client_on(cluster: Cluster, node: Valkey, rule: str = "") -> str:
    """An address whose window lies there."""
    while True:
        address = f"198.18.{160 + next(NUMBERS) // 250}.{next(NUMBERS) % 250}"
        if cluster.node_of(f"gateway:ratelimit:{address}{rule}") is node:
            return address


def keys(cluster: Cluster, pattern: str) -> list[bytes]:
    return [key for node in cluster.nodes for key in node.admin.keys(pattern)]


def test_slots_that_move_are_no_outage(clustered, cluster, client) -> None:
    before = without_redis(clustered)
    assert [ask(clustered, "198.18.151.1", HIT).header("x-gateway-cache") for _ in range(2)] == ["MISS", "HIT"]
    (entry,) = keys(cluster, "gateway:cache:{*")
    with SteadyLoad(clustered.port, client, [HIT, HIT, MISS]) as load:
        load.more(50)
        for key in (f"gateway:ratelimit:{client}".encode(), entry):
            with cluster.moving_slot(slot_of(key), cluster.other_than(cluster.node_of(key))):
                load.more(100)
            load.more(100)
        load.until(lambda one: one.cache == "HIT", "hits again")
    check(load)
    assert is_healthy(clustered)
    decided = without_redis(clustered) - before
    assert decided < NOISE
    assert len(load.seen) - decided <= cluster.admin.zcard(f"gateway:ratelimit:{client}") <= len(load.seen)
    counts_on(clustered, cluster.admin, client)


def test_a_frozen_node_is_no_outage(clustered, cluster) -> None:
    stuck = cluster.nodes[1]
    client, other = client_on(cluster, stuck), client_on(cluster, cluster.nodes[0])
    with (
        SteadyLoad(clustered.port, client, [HIT, MISS]) as load,
        SteadyLoad(clustered.port, other, [HIT, MISS]) as others,
    ):
        load.more(100)
        stuck.freeze()
        load.more(100)
        stuck.thaw()
        until(lambda: is_healthy(clustered), BACK_S, "health")
        load.more(100)
    check(load)
    check(others)
    assert cluster.admin.zcard(f"gateway:ratelimit:{client}") <= len(load.seen)
    assert len(others.seen) - NOISE < cluster.admin.zcard(f"gateway:ratelimit:{other}") <= len(others.seen)
    counts_on(clustered, cluster.admin, client)


def test_a_client_of_a_frozen_node_is_limited_whatever_others_do(clustered, cluster) -> None:
    stuck = cluster.nodes[2]
    client, other = client_on(cluster, stuck, f":{FEW}"), client_on(cluster, cluster.nodes[0])
    ask(clustered, client, FEW)
    stuck.freeze()
    try:
        told = [(ask(clustered, client, FEW).status, ask(clustered, other, HIT).status) for _ in range(FEW_LIMIT + 5)]
    finally:
        stuck.thaw()
    assert {status for _, status in told} == {200}
    assert [status for status, _ in told] == [200] * FEW_LIMIT + [429] * 5


def test_who_is_refused_holds_nobody_up(clustered, cluster) -> None:
    """In a Cluster the limit and the lookup are two calls, and the second one claims the fetch."""
    client = client_on(cluster, cluster.nodes[0], f":{FEW}")
    assert [ask(clustered, client, f"{FEW}?q={n}").status for n in range(FEW_LIMIT + 1)] == [200] * FEW_LIMIT + [429]
    begun = monotonic()
    assert ask(clustered, "198.18.151.2", f"{FEW}?q={FEW_LIMIT}").status == 200
    assert monotonic() - begun < 2.0, "nobody fetches what the refused one has asked for"


def test_all_of_it_works_through_a_cluster(fleet, cluster, client) -> None:
    key = {"X_API_Key": "k-ops"}
    gateway = fleet(cluster.url, AUTH_ENABLED="true", AUTH_API_KEYS="ops:k-ops", GATEWAY_WORKERS=2)
    assert ask(gateway, client, HIT).status == 401
    told = [ask(gateway, client, HIT, **key) for _ in range(4)]
    assert [one.header("x-gateway-cache") for one in told] == ["MISS", "HIT", "HIT", "HIT"]
    top = SETTINGS["RATE_LIMIT_MAX_REQUESTS"]
    assert [int(one.header("x-ratelimit-remaining")) for one in told] == [top - number for number in (1, 2, 3, 4)]
    assert cluster.admin.zcard(f"gateway:ratelimit:{client}") == 4

    def session() -> Any:
        texts = [cluster.admin.get(name) for name in keys(cluster, "gateway:session:*")]
        return texts and json.loads(texts[0])

    assert until(session, 5, "the session")["identity"] == "key:ops"
    cluster.admin.set("worker:w1:status", json.dumps({"status": "idle", "region": "oceania"}), ex=60)
    cluster.admin.set("worker:w1:heartbeat", str(time.time()), ex=60)

    def workers() -> list[str]:
        listed = ask(gateway, client, "/api/v1/workers", **key).json
        return [one["worker_id"] for one in listed.get("workers", [])]

    until(lambda: workers() == ["w1"], 10, "the worker")
    body = json.dumps({"RATE_LIMIT_MAX_REQUESTS": 500_000}).encode()
    changed = request(gateway.port, "/gateway/config", "PATCH", body, Content_Type="application/json")
    assert changed.status == 200
    until(
        lambda: {ask(gateway, client, HIT, **key).header("x-ratelimit-limit") for _ in range(10)} == {"500000"},
        3,
        "the new limit in every process",
    )
    assert request(gateway.port, "/gateway/cache", "DELETE").json["purged"] >= 1
    assert ask(gateway, client, HIT, **key).header("x-gateway-cache") == "MISS"
