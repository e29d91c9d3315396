"""Whoever is cancelled while a lookup is on its way, or while it waits for another's fetch, leaves no lease behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.house import test_chain_census as census
from tests.house.test_chain_census import Chain, CountingLoop

FROZEN_S = 0.02
"""Redis does nothing for so long: below the 35 ms after which the gateway would take it for gone."""

FREE_S = 1.5
"""Leases are given back within half a second; else they last ten."""

ROUNDS = 10
"""A waiter looks every 50 ms, so not each pause catches one at it."""


class Holding(census.Answering):
    """A backend that never answers what has `hold` in it."""

    def data_received(self, data: bytes) -> None:
        if b"hold" not in data.partition(b"\r\n")[0]:
            super().data_received(data)


def held(valkey: Any) -> list[bytes]:
    """Who fetches something, by all leases of the cache."""
    names = [key for key in valkey.admin.scan_iter("gateway:lease:cache:*") if valkey.admin.type(key) == b"zset"]
    return [member for name in names for member in valkey.admin.zrange(name, 0, -1) if member not in {b"!", b"#"}]


@contextlib.asynccontextmanager
async def frozen(valkey: Any) -> AsyncIterator[None]:
    """What is sent meanwhile is run afterwards, unless it says that this is too late."""
    valkey.freeze()
    try:
        yield
    finally:
        valkey.thaw()
    await asyncio.sleep(0.02)


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(holds: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def until_free(valkey: Any) -> None:
    await until(lambda: not held(valkey), FREE_S)


def run(valkey: Any, question: Any, processes: int = 1) -> None:
    """Applications as of so many processes, in one loop."""

    async def bounded() -> None:
        chains = [Chain() for _ in range(processes)]
        async with asyncio.timeout(60), contextlib.AsyncExitStack() as at_end:
            for chain in chains:
                await chain.open(valkey.url)
                at_end.push_async_callback(chain.close)
                await chain.get("/hit")  # connections and scripts are there
            await asyncio.sleep(0.5)  # jobs in the background have connections of their own by then
            await question(*chains)

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(bounded())


@pytest.mark.parametrize("is_limited", [True, False], ids=["with_the_limit", "alone"])
def test_in_its_first_lookup(valkey, is_limited: bool) -> None:
    async def question(chain: Chain) -> None:
        if not is_limited:
            admit = chain.admit
            admit.use(None, "local", admit._ask)
        async with frozen(valkey):
            task = asyncio.ensure_future(chain.get("/hit?new"))
            await asyncio.sleep(0.005)  # its call has left
            await cancelled(task)
        await until_free(valkey)
        chain.states.clear()
        await asyncio.wait_for(chain.get("/hit?new"), 2)
        assert chain.states == [b"MISS"]

    run(valkey, question)


def test_while_it_waits_for_another_process(valkey, monkeypatch) -> None:
    """Who fetches has left; the waiter's next look claims the lease, and the waiter is gone before the reply."""
    monkeypatch.setattr(census, "Answering", Holding)

    async def question(one: Chain, other: Chain) -> None:
        for number in range(ROUNDS):
            path = f"/hit?hold={number}"
            await until(lambda: one.store.is_up and other.store.is_up, 5)  # a slow machine takes the pause for an end
            fetching = asyncio.ensure_future(one.get(path))
            await until(lambda: held(valkey), 5)
            waiting = asyncio.ensure_future(other.get(path))
            await asyncio.sleep(0.1 + 0.007 * number)  # another moment between two looks
            async with frozen(valkey):
                await cancelled(fetching)  # its lease is given back: the first thing that Redis does afterwards
                before, end = other.writes.count, time.monotonic() + FROZEN_S
                while other.writes.count == before and time.monotonic() < end:
                    await asyncio.sleep(0.001)
                await cancelled(waiting)
            await until_free(valkey)

    run(valkey, question, processes=2)


def test_leases_of_a_process_that_ends_are_given_back(valkey, monkeypatch) -> None:
    """Others, who go on, need not wait for them to expire."""
    monkeypatch.setattr(census, "Answering", Holding)

    async def question(chain: Chain) -> None:
        async with frozen(valkey):
            task = asyncio.ensure_future(chain.get("/hit?hold"))
            await asyncio.sleep(0.005)
            await cancelled(task)

    run(valkey, question)
    assert held(valkey) == []
