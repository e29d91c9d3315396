"""One process reads the workers for the whole fleet; the others take its list, and all keep theirs without Redis."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.topology import Topology
from fastgw.workers import registry as module
from fastgw.workers.parse import MAX_REGION
from fastgw.workers.registry import LEASE_S, Registry
from fastgw.workers.scan import Scan
from fastgw.workers.snapshot import MIN_GOOD_S, Snapshot
from tests.pure.loop import in_loop
from tests.support.valkey import Cluster, SentinelSet, Valkey

KEY = Keys().workers


@asynccontextmanager
async def fleet(url: str, count: int = 1) -> AsyncIterator[list[Registry]]:
    """The registries of some processes."""
    async with AsyncExitStack() as stack:
        members = []
        for number in range(count):
            topology = Topology(url)
            store = Store(Keys(), topology)
            await store.open()
            stack.push_async_callback(store.close)
            member = Registry(store, topology, b"process-%d" % number)
            member._scan = Scan(slice_s=10)  # a pass in one round, however slow the machine
            stack.push_async_callback(member.close)
            members.append(member)
        yield members


def write(admin: Any, name: str, state: str = "busy") -> None:
    admin.set(f"worker:{name}:status", json.dumps({"status": state}))


def shown(member: Registry) -> list[tuple[str, str]] | None:
    return None if member.seen is None else [(worker["worker_id"], worker["status"]) for worker in member.seen]


async def until(holds: Any, member: Registry, rounds: int = 100) -> None:
    """Make rounds until it holds."""
    for _ in range(rounds):
        await member.refresh()
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {rounds} rounds: {member!r}")


@in_loop
async def test_at_first_nothing_is_known(valkey: Valkey):
    async with fleet(valkey.url) as (one,):
        assert (one.current, one.seen, one.has_any, one.is_stale) == (None, None, False, True)
        await one.refresh()
        assert (one.current, one.has_any, one.is_stale) == (Snapshot([], has_any=False), False, False)


@in_loop
async def test_one_reads_and_the_others_take_its_list(valkey: Valkey):
    write(valkey.admin, "a")
    async with fleet(valkey.url, 3) as members:
        first, *others = members
        await first.refresh()
        with valkey.monitor() as seen:
            for other in others:
                await other.refresh()
        assert {call.name for call in seen.calls if call.args[1:2] == (KEY,)} == {b"GETRANGE"}
        assert b"SCAN" not in seen.names()
        assert [shown(member) for member in members] == [[("a", "busy")]] * 3
        assert all(member.has_any and not member.is_stale for member in members)


@in_loop
async def test_a_list_that_has_not_changed_is_not_read_again(valkey: Valkey):
    write(valkey.admin, "a")
    async with fleet(valkey.url, 2) as (reader, other):
        await reader.refresh()
        await other.refresh()
        known = other.current
        valkey.admin.set(KEY, valkey.admin.get(KEY).replace(b'"at":1', b'"at":2'))
        with valkey.monitor() as seen:
            await other.refresh()
        assert [call.args[2:] for call in seen.calls if call.args[:2] == (b"GETRANGE", KEY)] == [(b"0", b"95")]
        assert other.current is known


@in_loop
async def test_a_change_reaches_all(valkey: Valkey):
    write(valkey.admin, "a")
    async with fleet(valkey.url, 2) as (reader, other):
        await reader.refresh()
        await other.refresh()
        write(valkey.admin, "a", "idle")
        write(valkey.admin, "b")
        await until(lambda: shown(reader) == [("a", "idle"), ("b", "busy")], reader)
        await other.refresh()
        assert shown(other) == shown(reader)


@in_loop
async def test_another_takes_over_when_the_reader_leaves(valkey: Valkey):
    async with fleet(valkey.url, 2) as (reader, other):
        await reader.refresh()
        await other.refresh()
        await reader.close()
        write(valkey.admin, "a")
        await other.refresh()
        assert shown(other) == [("a", "busy")]


@in_loop
async def test_another_takes_over_when_the_reader_dies(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LEASE_S", 0.5)
    assert LEASE_S < MIN_GOOD_S
    async with fleet(valkey.url, 2) as (reader, other):
        await reader.refresh()
        write(valkey.admin, "a")
        await until(lambda: shown(other) == [("a", "busy")], other)


@in_loop
async def test_who_takes_over_begins_with_the_predecessors_list(valkey: Valkey):
    """Also one that has seen nothing yet, in a Redis where a pass takes long: nobody's list shrinks meanwhile."""
    for name in ("a", "b", "c"):
        write(valkey.admin, name)
    async with fleet(valkey.url, 3) as (reader, other, late):
        await reader.refresh()
        await other.refresh()
        await reader.close()
        for number, member in enumerate((late, other)):
            member._scan = Scan(slice_s=0)
            write(valkey.admin, "a", f"{number}")
            with valkey.admin.pipeline() as pipeline:
                for key in range(3000):
                    pipeline.set(f"other:{number}:{key}", 1)
                pipeline.execute()
            await member.refresh()
            assert [worker["worker_id"] for worker in member.seen or []] == ["a", "b", "c"]
            assert member._is_leading
            await member.close()


@in_loop
async def test_a_failover_is_followed(sentinels: SentinelSet):
    write(sentinels.admin, "a")
    async with fleet(sentinels.url, 2) as members:
        for member in members:
            await until(lambda member=member: shown(member) == [("a", "busy")], member)
        new = sentinels.failover()
        write(new.admin, "b")
        for member in members:
            await until(lambda member=member: shown(member) == [("a", "busy"), ("b", "busy")], member)


@in_loop
async def test_the_list_in_redis_expires(valkey: Valkey):
    async with fleet(valkey.url) as (reader,):
        await reader.refresh()
        assert 0 < valkey.admin.pttl(KEY) <= 1000 * MIN_GOOD_S


@in_loop
async def test_in_a_cluster(cluster: Cluster):
    for number in range(30):
        write(cluster.admin, f"w{number:02}")
    async with fleet(cluster.url, 2) as (reader, other):
        await reader.refresh()
        await other.refresh()
        assert reader.seen == other.seen
        assert shown(other) == [(f"w{number:02}", "busy") for number in range(30)]


@in_loop
async def test_without_redis_the_last_list_stays(valkey: Valkey, caplog: pytest.LogCaptureFixture):
    write(valkey.admin, "a")
    caplog.set_level(logging.INFO, "fastgw.workers")
    async with fleet(valkey.url, 2) as (reader, other):
        for member in (reader, other):
            await member.refresh()
        valkey.stop()
        for _ in range(3):
            for member in (reader, other):
                await member.refresh()
        assert [shown(member) for member in (reader, other)] == [[("a", "busy")]] * 2
        assert reader.problem
        assert other.problem
        assert [record.levelname for record in caplog.records if record.name == "fastgw.workers"] == ["WARNING"] * 2
        assert "a-password-of-tests" not in caplog.text
        caplog.clear()
        valkey.start()
        write(valkey.admin, "b")
        await until(lambda: shown(reader) == [("b", "busy")], reader)
        await until(lambda: shown(other) == [("b", "busy")], other)
        assert [record.levelname for record in caplog.records if record.name == "fastgw.workers"] == ["INFO"] * 2
        assert reader.problem == other.problem == ""


@in_loop
async def test_a_list_that_nobody_renews_is_stale(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    write(valkey.admin, "a")
    async with fleet(valkey.url, 2) as members:
        for member in members:
            await member.refresh()
        now = module.monotonic()
        for later, is_stale in ((MIN_GOOD_S - 1, False), (MIN_GOOD_S + 1, True)):
            monkeypatch.setattr(module, "monotonic", lambda later=later: now + later)
            assert [member.is_stale for member in members] == [is_stale] * 2
        assert [shown(member) for member in members] == [[("a", "busy")]] * 2


@in_loop
async def test_a_frozen_redis_holds_a_round_up_for_a_bounded_time(valkey: Valkey):
    async with fleet(valkey.url) as (one,):
        await one.refresh()
        valkey.freeze()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await one.refresh()
        assert loop.time() - start < 3
        assert one.problem
        valkey.thaw()
        await until(lambda: not one.problem, one)


HEAD = b'{"v":"0123456789abcdef","at":7,"good_s":10,"any":true,"workers":['


@pytest.mark.parametrize(
    "text",
    [
        b"OK",
        b"{}",
        b'{"workers":[{"worker_id":"evil","status":"busy"}]}',
        HEAD,
        HEAD + b"]",
        HEAD.replace(b"[", b"7") + b"}",
        b"\xff" * 5000,
    ],
)
@in_loop
async def test_what_another_wrote_is_no_list(valkey: Valkey, text: bytes):
    write(valkey.admin, "a")
    async with fleet(valkey.url, 2) as (reader, other):
        await reader.refresh()
        await other.refresh()
        valkey.admin.set(KEY, text)
        await other.refresh()
        assert shown(other) == [("a", "busy")]
        assert other.problem == ""


@in_loop
async def test_a_list_that_another_wrote_is_checked(valkey: Valkey):
    good = {"worker_id": "w", "status": "busy", "region": "r" * (MAX_REGION + 1), "gpu": 7, "token": "hush"}
    async with fleet(valkey.url, 2) as (reader, other):
        await reader.refresh()
        valkey.admin.set(KEY, HEAD + json.dumps(good).encode() + b',7,{"worker_id":7}]}')
        await other.refresh()
        assert other.seen is not None
        (worker,) = other.seen
        assert (worker["worker_id"], worker["region"], worker["gpu"]) == ("w", None, None)
        assert "token" not in worker


@in_loop
async def test_a_key_of_another_type_is_overwritten(valkey: Valkey):
    write(valkey.admin, "a")
    async with fleet(valkey.url, 2) as (reader, other):
        await reader.refresh()
        valkey.admin.delete(KEY)
        valkey.admin.rpush(KEY, "x")
        await other.refresh()
        assert other.seen is None
        assert other.problem
        await until(lambda: valkey.admin.type(KEY) == b"string", reader)
        await other.refresh()
        assert (shown(other), other.problem) == ([("a", "busy")], "")
        await reader.close()
        valkey.admin.delete(KEY)
        valkey.admin.rpush(KEY, "x")
        await until(lambda: valkey.admin.type(KEY) == b"string", other)


@in_loop
async def test_after_a_long_reading_comes_a_longer_pause(valkey: Valkey, monkeypatch: pytest.MonkeyPatch):
    write(valkey.admin, "a")
    async with fleet(valkey.url) as (reader,):
        await reader.refresh()
        real = module.monotonic
        until_s = reader._scan_not_before
        assert until_s - real() < 1
        monkeypatch.setattr(module, "monotonic", lambda: until_s - 0.001)
        with valkey.monitor() as seen:
            await reader.refresh()
        assert b"SCAN" not in seen.names()
        monkeypatch.setattr(module, "monotonic", lambda: until_s + 0.001)
        with valkey.monitor() as seen:
            await reader.refresh()
        assert b"SCAN" in seen.names()


@in_loop
async def test_it_writes_its_own_keys_only(valkey: Valkey):
    write(valkey.admin, "a")
    with valkey.monitor() as seen:
        async with fleet(valkey.url, 2) as members:
            for member in members:
                await member.refresh()
    written = {
        key
        for call in seen.calls
        if call.source != "lua"
        for key, flags in seen.keys(call)
        if flags & {b"RW", b"OW", b"RM"}
    }
    assert written <= {KEY, Keys().lease(b"workers")}
    assert KEY in written
