"""The hot store follows a master that Sentinel names, and the slots of a Cluster; no call runs twice on the way."""

from __future__ import annotations

import asyncio

import pytest

from fastgw.admission.call import NO_LIMIT, NO_LOOKUP, SCRIPT
from fastgw.store.errors import StoreDown, StoreError
from fastgw.store.slots import slot_of
from tests.pure.loop import in_loop, in_loop_for
from tests.store.test_hot import comes_back, goes_down, opened

WINDOW_US = 60_000_000


def admit(store, key):
    return store.run(SCRIPT, (key,), store.not_after(key), 1000, WINDOW_US, *NO_LOOKUP)


async def steadily(store, key, seconds: float = 20.0) -> None:
    """Until calls are admitted again."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if (await admit(store, key))[0] == 1:
                    return
            except StoreError:
                await asyncio.sleep(0.02)


@pytest.mark.slow
@in_loop_for(100)
async def test_a_failover_is_followed(sentinels) -> None:
    async with opened(sentinels.url) as store:
        key = store.keys.ratelimit(b"a")
        assert (await admit(store, key))[:2] == [1, 1]
        old = sentinels.master()
        new = await asyncio.to_thread(sentinels.failover)
        assert new is not old
        await steadily(store, key)
        assert new.admin.zcard(key) >= 1
        (pipeline,) = store.pipelines
        assert pipeline.is_up


@pytest.mark.slow
@in_loop_for(100)
async def test_a_dead_master_is_replaced(sentinels) -> None:
    async with opened(sentinels.url) as store:
        key = store.keys.ratelimit(b"a")
        await admit(store, key)
        old = sentinels.kill_master()
        await goes_down(store)
        new = await asyncio.to_thread(sentinels.wait_for_another, old)
        await steadily(store, key)
        assert new.admin.zcard(key) >= 1


@in_loop
async def test_calls_go_to_the_master_of_their_slot(cluster) -> None:
    async with opened(cluster.url) as store:
        keys = [store.keys.ratelimit(b"client-%d" % number) for number in range(60)]
        replies = await asyncio.gather(*(admit(store, key) for key in keys))
        assert all(reply[:2] == [1, 1] for reply in replies)
        assert {cluster.node_of(key).port for key in keys} == {node.port for node in cluster.nodes}
        for key in keys:
            assert cluster.node_of(key).admin.zcard(key) == 1


@in_loop
async def test_a_slot_that_moves_is_followed_and_nothing_is_counted_twice(cluster) -> None:
    async with opened(cluster.url) as store:
        key = store.keys.ratelimit(b"mover")
        assert (await admit(store, key))[:2] == [1, 1]
        to = cluster.other_than(cluster.node_of(key))
        with cluster.moving_slot(slot_of(key), to):  # ASK
            assert (await admit(store, key))[:2] == [1, 2]
        for expected in (3, 4, 5):  # MOVED, then known
            assert (await admit(store, key))[:2] == [1, expected]
        assert to.admin.zcard(key) == 5


@in_loop
async def test_an_entry_its_variant_and_its_lease_are_one_call(cluster) -> None:
    async with opened(cluster.url) as store:
        keys = store.keys
        where = (keys.cache(b"{ab}"), keys.cache(b"{ab}cd"), keys.cache_lease(b"{ab}"))
        reply = await store.run(
            SCRIPT, where, store.not_after(where[0]), *NO_LIMIT, b"2", b"", b"", b"me", b"1000000", b"0"
        )
        assert reply[3:] == [0, 0, 1]


@in_loop
async def test_a_frozen_node_stops_its_slots_only(cluster) -> None:
    async with opened(cluster.url) as store:
        stuck = cluster.nodes[0]
        keys = [store.keys.ratelimit(b"client-%d" % number) for number in range(60)]
        there = next(key for key in keys if cluster.node_of(key) is stuck)
        elsewhere = next(key for key in keys if cluster.node_of(key) is not stuck)
        stuck.freeze()
        try:
            with pytest.raises(StoreDown):
                await admit(store, there)
            assert (await admit(store, elsewhere))[0] == 1
            assert not store.is_up
        finally:
            stuck.thaw()
        await comes_back(store)
        assert (await admit(store, there))[:2] == [1, 1]
