"""Calls to a real Redis: one write per tick, replies in order, every wait bounded, a way back from each failure."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from fastgw.store.errors import ReplyFailed, StoreDown
from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.link import TICK_S, TIMEOUT_S
from fastgw.store.scripts import Script
from fastgw.store.topology import Topology
from tests.pure.loop import in_loop
from tests.support.ports import RefusingPort

COUNT = b"return redis.call('ZADD', KEYS[1], 'NX', ARGV[1], ARGV[1])"
WAIT_S = 0.050
"""What spec 5 allows a request to wait."""


def script(text: bytes) -> Script:
    from hashlib import sha1

    return Script("test", text, sha1(text, usedforsecurity=False).hexdigest().encode())


@asynccontextmanager
async def opened(url: str):
    store = Store(Keys(), Topology(url))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def comes_back(store: Store, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not store.is_up:
            await asyncio.sleep(0.01)


async def goes_down(store: Store, seconds: float = 5.0) -> None:
    """Until the loss is known: by a call, or by the connection's end."""
    async with asyncio.timeout(seconds):
        while store.is_up:
            await asyncio.sleep(0.005)


class Writes:
    """Counts the writes to a link's transport."""

    def __init__(self, link) -> None:
        self.count = 0
        self._transport = link._transport
        link._transport = self

    def write(self, data: bytes) -> None:
        self.count += 1
        self._transport.write(data)

    def __getattr__(self, name: str):
        return getattr(self._transport, name)


@in_loop
async def test_commands_and_their_replies(valkey) -> None:
    async with opened(valkey.url) as store:
        key = store.keys.session(b"a")
        assert await store.command(key, b"SET", key, b"1", b"PX", 5000) == b"OK"
        assert await store.command(key, b"GET", key) == b"1"
        assert await store.command(key, b"ZRANGE", store.keys.lease(b"x"), 0, -1) == []
        with pytest.raises(ReplyFailed) as failed:
            await store.command(key, b"ZCARD", key)
        assert failed.value.code == "WRONGTYPE"
        with pytest.raises(ReplyFailed) as failed:
            await store.command(key, b"GET", b"other:key")
        assert failed.value.code == "NOPERM"


@in_loop
async def test_all_calls_of_a_tick_are_one_write(valkey) -> None:
    async with opened(valkey.url) as store:
        writes = Writes(store.pipelines[0].link)
        key = store.keys.session(b"a")
        calls = [store.command(key, b"SET", key, number) for number in range(100)]
        calls.append(store.command(key, b"GET", key))
        replies = await asyncio.gather(*calls)
        assert writes.count == 1
        assert replies == [b"OK"] * 100 + [b"99"]


@in_loop
async def test_one_bad_reply_fails_one_caller(valkey) -> None:
    async with opened(valkey.url) as store:
        key = store.keys.session(b"a")
        good, bad, last = (
            store.command(key, b"SET", key, b"1"),
            store.command(key, b"ZCARD", key),
            store.command(key, b"GET", key),
        )
        assert await good == b"OK"
        assert await last == b"1"
        with pytest.raises(ReplyFailed):
            await bad


@in_loop
async def test_a_script_that_was_flushed_is_taught_again_and_runs_once(valkey) -> None:
    async with opened(valkey.url) as store:
        key = store.keys.ratelimit(b"a")
        add = script(COUNT)
        assert await store.run(add, (key,), 1) == 1
        valkey.admin.script_flush()
        assert await asyncio.gather(*(store.run(add, (key,), number) for number in range(1, 6))) == [0, 1, 1, 1, 1]
        assert valkey.admin.zcard(key) == 5


@in_loop
async def test_nobody_waits_longer_than_fifty_ms_for_a_frozen_server(valkey) -> None:
    waits = []
    async with opened(valkey.url) as store:
        key = store.keys.session(b"a")
        for _ in range(3):
            await store.command(key, b"GET", key)
            valkey.freeze()
            try:
                begun = time.perf_counter()
                with pytest.raises(StoreDown, match="no answer within"):
                    await store.command(key, b"GET", key)
                waits.append(time.perf_counter() - begun)
                with pytest.raises(StoreDown):  # the next one does not wait at all
                    store.command(key, b"GET", key)
                assert not store.is_up
            finally:
                valkey.thaw()
            await comes_back(store)
        assert await store.command(key, b"GET", key) is None
    assert min(waits) >= TIMEOUT_S - TICK_S
    assert min(waits) < WAIT_S + TICK_S, "a busy machine only adds: the best of three"


@in_loop
async def test_a_call_that_a_frozen_server_finds_late_does_nothing(valkey) -> None:
    """What the gateway has decided by itself is not counted when the server wakes up."""
    from fastgw.admission.call import NO_LOOKUP, SCRIPT

    async with opened(valkey.url) as store:
        key = store.keys.ratelimit(b"a")

        def call():
            return store.run(SCRIPT, (key,), store.not_after(key), 5, 60_000_000, *NO_LOOKUP)

        assert (await call())[:2] == [1, 1]
        valkey.freeze()
        with pytest.raises(StoreDown):
            await call()
        valkey.thaw()
        await comes_back(store)
        assert (await call())[:2] == [1, 2]
        assert valkey.admin.zcard(key) == 2


@in_loop
async def test_it_follows_a_server_that_is_restarted_empty(valkey) -> None:
    async with opened(valkey.url) as store:
        key, add = store.keys.ratelimit(b"a"), script(COUNT)
        await store.run(add, (key,), 1)
        valkey.kill()
        await goes_down(store)
        valkey.restart()
        await comes_back(store)
        assert await store.run(add, (key,), 3) == 1
        assert valkey.admin.zrange(key, 0, -1) == [b"3"]


@in_loop
async def test_redis_clock_is_known(valkey) -> None:
    async with opened(valkey.url) as store:
        seconds, micros = valkey.admin.time()
        assert abs(store.now_us() - (seconds * 1_000_000 + micros)) < 20_000


@in_loop
async def test_a_start_without_redis_is_bounded() -> None:
    port = RefusingPort()
    begun = time.perf_counter()
    async with opened(f"redis://127.0.0.1:{port.port}") as store:
        assert time.perf_counter() - begun < 2.0
        assert not store.is_up
        with pytest.raises(StoreDown):
            store.command(b"gateway:x", b"GET", b"gateway:x")
        store.fire(b"gateway:x", b"GET", b"gateway:x")
    port.close()


@in_loop
async def test_wrong_credentials_are_told_without_the_password(valkey, caplog) -> None:
    url = valkey.url.replace("fastgw:", "fastgw:wrong-")
    async with opened(url) as store:
        assert "refused the credentials" in store.pipelines[0].problem
        assert "wrong-" not in caplog.text + store.pipelines[0].problem


@in_loop
async def test_what_is_not_redis_is_not_believed(scripted) -> None:
    async with opened(scripted.url.replace("http", "redis")) as store:
        assert not store.is_up
