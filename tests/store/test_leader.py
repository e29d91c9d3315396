"""A lease on a real server: one holder at a time, on Redis's clock, whatever happens to its holder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.leader import LEASE, Lease
from fastgw.store.topology import Topology
from tests.pure.loop import in_loop
from tests.support.ports import RefusingPort
from tests.support.valkey import Valkey

NAME = b"a-job"
KEY = Keys().lease(NAME)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = Store(Keys(), Topology(url))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def turns(condition, what: str, seconds: float = 3.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


@in_loop
async def test_one_of_many_has_it_and_keeps_it(valkey: Valkey) -> None:
    async with opened(valkey.url) as one, opened(valkey.url) as two:
        leases = [Lease(store, NAME, b"process-%d" % number, 10) for number, store in enumerate([one, two] * 10)]
        assert sum(await asyncio.gather(*(lease.hold() for lease in leases))) == 1
        holding = [await lease.hold() for lease in leases]
        assert sum(holding) == 1
        assert [await lease.hold() for lease in leases] == holding
        assert valkey.admin.zcard(KEY) == 1


@in_loop
async def test_it_stands_as_holder_and_expiry_and_the_key_goes_by_itself(valkey: Valkey) -> None:
    async with opened(valkey.url) as store:
        assert await Lease(store, NAME, b"me", 10).hold()
        ((holder, expiry),) = valkey.admin.zrange(KEY, 0, -1, withscores=True)
        seconds, micros = valkey.admin.time()
        assert holder == b"me"
        assert 9e6 < expiry - (seconds * 1_000_000 + micros) <= 10e6
        assert 9_000 < valkey.admin.pttl(KEY) <= 10_000


@in_loop
async def test_holding_again_renews(valkey: Valkey) -> None:
    async with opened(valkey.url) as store:
        lease = Lease(store, NAME, b"me", 10)
        assert await lease.hold()
        before = valkey.admin.zscore(KEY, b"me")
        assert await lease.hold()
        assert valkey.admin.zscore(KEY, b"me") > before


@in_loop
async def test_another_takes_over_when_it_is_given_up(valkey: Valkey) -> None:
    async with opened(valkey.url) as store:
        mine, other = Lease(store, NAME, b"me", 10), Lease(store, NAME, b"other", 10)
        assert await mine.hold()
        assert not await other.hold()
        await other.release()  # of what it does not have: nothing
        assert not await other.hold()
        await mine.release()
        assert valkey.admin.exists(KEY) == 0
        assert await other.hold()
        assert not await mine.hold()


@in_loop
async def test_another_takes_over_when_the_holder_is_silent(valkey: Valkey) -> None:
    async with opened(valkey.url) as store:
        assert await Lease(store, NAME, b"me", 0.1).hold()
        other = Lease(store, NAME, b"other", 10)
        assert not await other.hold()
        await turns(other.hold, "the end of the lease")
        assert valkey.admin.zrange(KEY, 0, -1) == [b"other"]


@in_loop
async def test_jobs_are_apart(valkey: Valkey) -> None:
    async with opened(valkey.url) as store:
        assert await Lease(store, NAME, b"me", 10).hold()
        assert await Lease(store, b"another-job", b"other", 10).hold()


@in_loop
async def test_a_capacity_lets_so_many_in(valkey: Valkey) -> None:
    async with opened(valkey.url) as store:

        async def hold(holder: bytes) -> int:
            return await store.run(LEASE, (KEY,), holder, 10_000_000, 2)

        assert [await hold(name) for name in (b"a", b"b", b"c", b"a", b"b")] == [1, 1, 0, 1, 1]
        valkey.admin.zrem(KEY, b"a")
        assert [await hold(name) for name in (b"c", b"a")] == [1, 0]


@in_loop
async def test_it_holds_across_a_cluster(cluster) -> None:
    async with opened(cluster.url) as one, opened(cluster.url) as two:
        for number in range(20):
            name = b"job-%d" % number
            mine, other = Lease(one, name, b"me", 10), Lease(two, name, b"other", 10)
            assert sorted([await mine.hold(), await other.hold()]) == [False, True]


@in_loop
async def test_without_redis_nobody_has_it() -> None:
    refusing = RefusingPort()
    try:
        async with opened(f"redis://127.0.0.1:{refusing.port}") as store:
            lease = Lease(store, NAME, b"me", 10)
            assert not await lease.hold()
            await lease.release()
    finally:
        refusing.close()


@in_loop
async def test_a_redis_that_hangs_says_no_and_later_yes(valkey: Valkey) -> None:
    async with opened(valkey.url) as store:
        lease = Lease(store, NAME, b"me", 10)
        assert await lease.hold()
        valkey.freeze()
        assert not await lease.hold()
        await lease.release()
        valkey.thaw()
        await turns(lease.hold, "Redis is back")


@in_loop
async def test_a_key_of_another_type_is_a_no(valkey: Valkey) -> None:
    valkey.admin.set(KEY, "not ours")
    async with opened(valkey.url) as store:
        assert not await Lease(store, NAME, b"me", 10).hold()
