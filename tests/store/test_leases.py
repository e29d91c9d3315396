"""Concurrency limits on a real server: never more than the limit in flight, whatever happens to who holds a place."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastgw.errors import RATE_LIMIT_EXCEEDED, SERVICE_UNAVAILABLE, GatewayError
from fastgw.forwarding import leases as module
from fastgw.forwarding.leases import HOLD_S, WAIT_S, Leases
from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.topology import Topology
from tests.pure.asgi import Client, accepted, exchange
from tests.pure.loop import in_loop, in_loop_for
from tests.support.processes import ROOT
from tests.support.wait import until


class Place:
    """What the limit for a backend looks at."""

    def __init__(self, authority: bytes = b"backend:8000") -> None:
        self.authority = authority


HERE = Place()
KEY = Keys().lease(b"backend:" + HERE.authority)


@asynccontextmanager
async def opened(url: str):
    store = Store(Keys(), Topology(url))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def request(identity: str = "key:me") -> Any:
    x = accepted(exchange(client=Client()))
    x.identity = identity
    return x


def limited(store: Store, holder: bytes = b"me", *, identity: int = 0, backend: int = 0) -> Leases:
    return Leases(store, holder, identity, backend)


async def held(valkey, count: int, key: bytes = KEY) -> None:
    async with asyncio.timeout(3):
        while valkey.admin.zcard(key) != count:
            await asyncio.sleep(0.005)


@in_loop
async def test_so_many_and_no_more(valkey) -> None:
    async with opened(valkey.url) as store:
        leases = limited(store, backend=2)
        two = [await leases.for_backend(request(), HERE) for _ in range(2)]
        assert valkey.admin.zcard(KEY) == 2
        begun = time.monotonic()
        with pytest.raises(GatewayError) as full:
            await leases.for_backend(request(), HERE)
        assert full.value.kind is SERVICE_UNAVAILABLE
        assert WAIT_S * 0.98 <= time.monotonic() - begun < WAIT_S + 0.2
        assert full.value.retry_after_s >= 1
        begun = time.monotonic()
        with pytest.raises(GatewayError):
            await leases.for_backend(request(), HERE, may_wait=False)
        assert time.monotonic() - begun < 0.1
        for lease in two:
            leases.release(lease)
        await held(valkey, 0)
        assert await leases.for_backend(request(), HERE) is not None


@in_loop
async def test_identities_and_backends_are_apart(valkey) -> None:
    async with opened(valkey.url) as store:
        leases = limited(store, identity=1, backend=1)
        assert await leases.for_identity(request("key:a")) is not None
        assert await leases.for_identity(request("key:b")) is not None
        with pytest.raises(GatewayError) as full:
            await leases.for_identity(request("key:a"))
        assert full.value.kind is RATE_LIMIT_EXCEEDED
        assert await leases.for_backend(request("key:a"), HERE) is not None
        assert await leases.for_backend(request("key:a"), Place(b"other:1")) is not None
        anonymous = await leases.for_identity(request(""))
        assert anonymous is not None
        names = [*valkey.admin.keys("gateway:lease:identity:*"), *valkey.admin.keys("gateway:lease:backend:*")]
        assert len(names) == 5
        assert not [name for name in names if b"key:a" in name], "what identifies a client does not stand in Redis"


@in_loop
async def test_a_place_is_handed_on_within_the_process_in_order(valkey) -> None:
    async with opened(valkey.url) as store:
        leases = limited(store, backend=1)
        first = await leases.for_backend(request(), HERE)
        order: list[int] = []

        async def waits(number: int) -> None:
            lease = await leases.for_backend(request(), HERE)
            order.append(number)
            leases.release(lease)

        tasks = [asyncio.create_task(waits(number)) for number in range(5)]
        await asyncio.sleep(0.05)
        with valkey.monitor() as monitor:
            leases.release(first)
            await asyncio.gather(*tasks)
            await held(valkey, 0)
        assert order == [0, 1, 2, 3, 4]
        removals = [call for call in monitor.calls if call.args[0].upper() == b"ZREM"]
        assert len(removals) == 1


@in_loop
async def test_a_place_that_another_process_gives_up_is_found(valkey) -> None:
    async with opened(valkey.url) as one, opened(valkey.url) as two:
        mine, other = limited(one, b"a", backend=1), limited(two, b"b", backend=1)
        lease = await mine.for_backend(request(), HERE)
        waiting = asyncio.create_task(other.for_backend(request(), HERE))
        await asyncio.sleep(0.1)
        mine.release(lease)
        async with asyncio.timeout(0.2):
            assert await waiting is not None
        assert valkey.admin.zcard(KEY) == 1


@in_loop_for(30)
async def test_never_more_than_the_limit_among_many_that_want_it(valkey) -> None:
    """Three processes' worth of connections, each with forty that come again and again."""
    limit, most, now, done, full = 5, 0, 0, 0, 0
    async with opened(valkey.url) as one, opened(valkey.url) as two, opened(valkey.url) as three:

        async def client(leases: Leases, number: int) -> None:
            nonlocal most, now, done, full
            for _ in range(5):
                try:
                    lease = await leases.for_backend(request(), HERE)
                except GatewayError:
                    full += 1
                    continue
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.002 * (number % 5))
                now -= 1
                done += 1
                leases.release(lease)

        processes = [limited(store, b"%d" % number, backend=limit) for number, store in enumerate((one, two, three))]
        await asyncio.gather(*(client(leases, number) for leases in processes for number in range(40)))
        await held(valkey, 0)
        assert most <= limit
        assert done > 100
        assert all(not name.held and not name.waiting for leases in processes for name in leases._names.values())


@in_loop
async def test_who_gives_up_waiting_leaves_nothing_behind(valkey) -> None:
    async with opened(valkey.url) as store:
        leases = limited(store, backend=1)
        first = await leases.for_backend(request(), HERE)
        gone, stays = request(), request()
        cancelled = asyncio.create_task(leases.for_backend(request(), HERE))
        left = asyncio.create_task(leases.for_backend(gone, HERE))
        patient = asyncio.create_task(leases.for_backend(stays, HERE))
        await asyncio.sleep(0.05)
        gone.client_gone = True
        cancelled.cancel()
        await asyncio.sleep(0.05)
        leases.release(first)
        got = await patient
        assert got is not None
        with pytest.raises(GatewayError):
            await left
        leases.release(got)
        await held(valkey, 0)


@in_loop
async def test_what_is_in_use_is_renewed_and_the_rest_expires(valkey, monkeypatch) -> None:
    monkeypatch.setattr(module, "HOLD_S", 0.3)
    async with opened(valkey.url) as store:
        leases = limited(store, backend=2)
        kept = await leases.for_backend(request(), HERE)
        for _ in range(6):
            await asyncio.sleep(0.1)
            await leases.renew()
        assert valkey.admin.zrange(KEY, 0, -1) == [kept.holder]
        await asyncio.sleep(0.4)
        assert valkey.admin.exists(KEY) == 0


@in_loop
async def test_what_redis_has_lost_is_held_again(valkey) -> None:
    async with opened(valkey.url) as store:
        leases = limited(store, backend=2)
        for _ in range(2):
            await leases.for_backend(request(), HERE)
        valkey.admin.flushall()
        await leases.renew()
        assert valkey.admin.zcard(KEY) == 2
        assert 0 < valkey.admin.pttl(KEY) <= HOLD_S * 1000


@in_loop
async def test_without_redis_nothing_is_limited_and_it_is_said_once(valkey, caplog) -> None:
    async with opened(valkey.url) as store:
        leases = limited(store, backend=1)
        assert await leases.for_backend(request(), HERE) is not None
        valkey.freeze()
        try:
            begun = time.monotonic()
            assert [await leases.for_backend(request(), HERE) for _ in range(5)] == [None] * 5
            assert time.monotonic() - begun < 0.3
        finally:
            valkey.thaw()
        assert len([r for r in caplog.records if "not limited" in r.message]) == 1
        assert leases.told()["decided_without_redis"] == 5
        async with asyncio.timeout(5):
            while not store.is_up:
                await asyncio.sleep(0.01)
        with pytest.raises(GatewayError):
            await leases.for_backend(request(), HERE)


@in_loop
async def test_it_holds_across_a_cluster(cluster) -> None:
    async with opened(cluster.url) as one, opened(cluster.url) as two:
        for number in range(12):
            place = Place(b"backend-%d:8000" % number)
            mine, other = limited(one, b"a", backend=2), limited(two, b"b", backend=2)
            assert await mine.for_backend(request(), place) is not None
            assert await other.for_backend(request(), place) is not None
            with pytest.raises(GatewayError):
                await mine.for_backend(request(), place, may_wait=False)
            await mine.renew()
            assert (
                cluster.node_of(Keys().lease(b"backend:" + place.authority)).admin.zcard(
                    Keys().lease(b"backend:" + place.authority)
                )
                == 2
            )


HOLDER = """
import asyncio, sys, json
from fastgw.forwarding import leases as module
from tests.store.test_leases import HERE, limited, opened, request
module.HOLD_S = float(sys.argv[2])
async def main():
    async with opened(sys.argv[1]) as store:
        leases = limited(store, sys.argv[3].encode(), backend=3)
        got = [await leases.for_backend(request(), HERE) for _ in range(3)]
        print(json.dumps(len([one for one in got if one])), flush=True)
        while True:
            await asyncio.sleep(module.HOLD_S / 3)
            await leases.renew()
asyncio.run(main())
"""


def test_kill_9_frees_what_a_process_held(valkey) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, valkey.url, "1.0", "victim"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == 3
        time.sleep(1.5)  # longer than a place lasts: it is renewed
        assert valkey.admin.zcard(KEY) == 3
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: valkey.admin.exists(KEY) == 0, 3, "the end of the places")
        assert time.monotonic() - killed < 1.3
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
