"""The fleet's shared text: compare and set on a real server, by the user that fastgw is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fastgw.store.document import Document
from fastgw.store.errors import ReplyFailed, StoreDown
from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.topology import Topology

KEY = Keys().config


def on(url: str, test: Callable[[Document], Awaitable[None]], key: bytes = KEY) -> None:
    """Run a test on an open store."""

    async def run() -> None:
        store = Store(Keys(), Topology(url))
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(20):
            await store.open()
            try:
                await test(Document(store, key))
            finally:
                begun = now()
                await store.close()
        assert now() - begun < 5, "closing hung"

    asyncio.run(run())  # not uvloop: see tests/pure/loop.py


def test_it_is_replaced_only_if_it_is_what_was_read(valkey):
    async def test(document: Document) -> None:
        assert await document.read() is None
        assert await document.swap(None, b"one")
        assert not await document.swap(None, b"two")
        assert not await document.swap(b"other", b"two")
        assert await document.read() == b"one"
        assert await document.swap(b"one", b"two")
        assert await document.read() == b"two"

    on(valkey.url, test)
    assert valkey.admin.ttl(KEY) == -1


def test_any_bytes_are_kept_as_they_are(valkey):
    text = bytes(range(256)) * 400

    async def test(document: Document) -> None:
        assert await document.swap(None, text)
        assert await document.read() == text
        assert await document.swap(text, b"")
        assert await document.read() == b""
        assert await document.swap(b"", text)

    on(valkey.url, test)


def test_of_many_writers_at_once_one_wins_each_time(valkey):
    """Each adds one to a number; none is lost, though all read the same at first."""

    async def test(document: Document) -> None:
        async def add() -> int:
            tries = 0
            while True:
                tries += 1
                old = await document.read()
                if await document.swap(old, b"%d" % (int(old or 0) + 1)):
                    return tries

        tries = await asyncio.gather(*(add() for _ in range(20)))
        assert await document.read() == b"20"
        assert max(tries) > 1

    on(valkey.url, test)


def test_what_is_no_string_reads_as_empty_and_is_replaced(valkey):
    valkey.admin.sadd(KEY, "a")

    async def test(document: Document) -> None:
        assert await document.read() == b""
        assert await document.swap(b"", b"one")
        assert await document.read() == b"one"

    on(valkey.url, test)


def test_a_forgotten_script_is_taught_again(valkey):
    async def test(document: Document) -> None:
        assert await document.swap(None, b"one")
        valkey.admin.script_flush()
        assert await document.swap(b"one", b"two")

    on(valkey.url, test)


def test_memory_that_is_full_is_a_failed_reply(valkey):
    valkey.config(maxmemory=1, maxmemory_policy="noeviction")

    async def test(document: Document) -> None:
        with pytest.raises(ReplyFailed) as caught:
            await document.swap(None, b"one")
        assert caught.value.code == "OOM"
        assert await document.read() is None

    on(valkey.url, test)


def test_a_key_that_is_not_ours_is_refused_by_the_server(valkey):
    async def test(document: Document) -> None:
        with pytest.raises(ReplyFailed) as caught:
            await document.read()
        assert caught.value.code == "NOPERM"

    on(valkey.url, test, b"foreign:key")


def test_a_frozen_server_is_down_within_the_bound(valkey):
    async def test(document: Document) -> None:
        assert await document.swap(None, b"one")
        valkey.freeze()
        for call in (document.read, lambda: document.swap(b"one", b"two")):
            begun = asyncio.get_running_loop().time()
            with pytest.raises(StoreDown):
                await call()
            assert asyncio.get_running_loop().time() - begun < 0.5
        valkey.thaw()

    on(valkey.url, test)


def test_it_works_in_a_cluster(cluster):
    async def test(document: Document) -> None:
        assert await document.swap(None, b"one")
        assert await document.read() == b"one"

    on(cluster.url, test)


def test_writing_touches_the_one_key_only(valkey):
    async def test(document: Document) -> None:
        await document.swap(None, b"one")
        await document.swap(b"one", b"two")

    on(valkey.url, test)
    keys: Any = valkey.admin.keys("*")
    assert keys == [KEY]
