"""Workers are found and read in a Redis that others fill with anything, step by step and never with KEYS."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import RedisError

from fastgw.store.topology import Topology
from fastgw.workers.parse import read_worker
from fastgw.workers.scan import BATCH, MAX_VALUE_BYTES, Scan
from fastgw.workers.snapshot import Snapshot
from tests.pure.loop import in_loop
from tests.support.valkey import Cluster, SentinelSet, Valkey

NOW = 1_760_000_000.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Any]:
    client = Topology(url).client()
    try:
        yield client
    finally:
        await client.aclose()


def write(admin: Any, name: str, **parts: Any) -> tuple[bytes | None, ...]:
    """Write the keys of a worker; their values, in the order of status, gpu, heartbeat."""
    values = {part: value if isinstance(value, bytes) else json.dumps(value).encode() for part, value in parts.items()}
    for part, value in values.items():
        admin.set(f"worker:{name}:{part}", value)
    return tuple(values.get(part) for part in ("status", "gpu", "heartbeat"))


def write_fleet(admin: Any, count: int) -> list[Any]:
    """Workers of every kind; what is to be shown of them, in the order of their ids."""
    shown = []
    for number in range(count):
        name = f"w{number:05}"
        values = write(
            admin,
            name,
            status={"status": ("busy", "idle", "online")[number % 3], "region": "oceania", "jobs_completed": number},
            gpu={"name": "NVIDIA L4", "memory_total_mb": 23034, "memory_used_mb": number, "utilization_percent": 5},
            heartbeat=NOW - number % 90,
        )
        shown.append(read_worker(name.encode(), (values[0], values[1], values[2]), NOW))
    return shown


async def look(scan: Scan, client: Any) -> Snapshot:
    found = await scan.look(client, NOW)
    assert found is not None
    return found


def names(found: Snapshot) -> list[str]:
    return [worker["worker_id"] for worker in found.workers]


@in_loop
async def test_nobody_is_there(valkey: Valkey):
    valkey.admin.set("workers", "1")
    valkey.admin.set("queue:stats", "{}")
    async with opened(valkey.url) as client:
        assert await look(Scan(slice_s=10), client) == Snapshot([], has_any=False)


@in_loop
async def test_all_are_found_and_read(valkey: Valkey):
    shown = write_fleet(valkey.admin, 3 * BATCH + 7)
    async with opened(valkey.url) as client:
        assert await look(Scan(slice_s=10), client) == Snapshot(shown, has_any=True)


@in_loop
async def test_all_masters_of_a_cluster_are_asked(cluster: Cluster):
    shown = write_fleet(cluster.admin, 2 * BATCH)
    async with opened(cluster.url) as client:
        scan = Scan(slice_s=10)
        for _ in range(3):
            assert await look(scan, client) == Snapshot(shown, has_any=True)


@in_loop
async def test_the_master_behind_sentinels_is_asked(sentinels: SentinelSet):
    shown = write_fleet(sentinels.admin, 5)
    async with opened(sentinels.url) as client:
        assert await look(Scan(slice_s=10), client) == Snapshot(shown, has_any=True)


@in_loop
async def test_one_that_nobody_can_read_breaks_nothing(valkey: Valkey):
    shown = write_fleet(valkey.admin, 3)
    write(valkey.admin, "x-half", status=b'{"status": "bu', heartbeat=b"%d" % NOW)
    write(valkey.admin, "x-text", status=b"\xff\xfe", gpu=b"NVIDIA", heartbeat=b"soon")
    write(valkey.admin, "x-huge", status=b"x" * (MAX_VALUE_BYTES + 1), heartbeat=b"%d" % NOW)
    write(valkey.admin, "x:with:colons", heartbeat=b"%d" % NOW)
    valkey.admin.set(b"worker:\xff\xfe:gpu", b"{}")
    valkey.admin.rpush("worker:x-list:status", "busy")
    valkey.admin.hset("worker:x-list:gpu", "name", "L4")
    valkey.admin.zadd("worker:x-list:heartbeat", {"1": 1})
    valkey.admin.set("worker:x-list", "no part")
    valkey.admin.set("worker:", "no id")
    valkey.admin.set("worker:x-other:jobs", "no such part")
    async with opened(valkey.url) as client:
        found = await look(Scan(slice_s=10), client)
    assert found.workers[:3] == shown
    states = {worker["worker_id"]: worker["status"] for worker in found.workers[3:]}
    assert states == {
        "x-half": "online",
        "x-huge": "online",
        "x-list": "unknown",
        "x-text": "unknown",
        "x:with:colons": "online",
        "\\xff\\xfe": "unknown",
    }


@in_loop
async def test_a_key_that_is_no_workers_counts_as_something(valkey: Valkey):
    valkey.admin.set("worker:settings", "{}")
    async with opened(valkey.url) as client:
        scan = Scan(slice_s=10)
        assert await look(scan, client) == Snapshot([], has_any=True)
        valkey.flush()
        assert await look(scan, client) == Snapshot([], has_any=False)


@in_loop
async def test_who_comes_and_goes_is_seen_at_once(valkey: Valkey):
    write(valkey.admin, "a", status=b"busy")
    async with opened(valkey.url) as client:
        scan = Scan(slice_s=10)
        assert names(await look(scan, client)) == ["a"]
        write(valkey.admin, "b", heartbeat=b"%d" % NOW)
        assert names(await look(scan, client)) == ["a", "b"]
        valkey.admin.delete("worker:a:status")
        write(valkey.admin, "b", status=b"busy")
        found = await look(scan, client)
        assert [(worker["worker_id"], worker["status"]) for worker in found.workers] == [("b", "busy")]


@in_loop
async def test_a_long_pass_goes_on_where_it_stopped(valkey: Valkey):
    """With a slice that is over at once, a round makes one step; the known are read in every round."""
    write(valkey.admin, "known", status=b"idle")
    async with opened(valkey.url) as client:
        scan = Scan(slice_s=10)
        assert names(await look(scan, client)) == ["known"]
        scan._slice_s = 0
        fill(valkey, 5000)
        write(valkey.admin, "new", status=b"idle")
        rounds = 1
        while "new" not in names(await look(scan, client)):
            rounds += 1
            assert rounds < 30
        write(valkey.admin, "known", status=b"busy")
        found = await look(scan, client)
        assert [worker["status"] for worker in found.workers] == ["busy", "idle"]
        valkey.admin.delete("worker:known:status")
        with valkey.monitor() as seen:
            assert names(await look(scan, client)) == ["new"]
        assert [call.name for call in seen.calls].count(b"SCAN") <= 1


def fill(valkey: Valkey, count: int) -> None:
    with valkey.admin.pipeline() as pipeline:
        for number in range(count):
            pipeline.set(f"other:{number}", 1)
        pipeline.execute()


@pytest.mark.parametrize("has_worker", [True, False])
@in_loop
async def test_nothing_is_said_before_a_first_pass_is_through(valkey: Valkey, has_worker: bool):
    fill(valkey, 3000)
    if has_worker:
        write(valkey.admin, "a", status=b"busy")
    async with opened(valkey.url) as client:
        scan = Scan(slice_s=0)
        answers = [await scan.look(client, NOW) for _ in range(30)]
    assert answers[:3] == [None] * 3
    assert answers[-1] is not None
    assert answers[-1].has_any == bool(answers[-1].workers) == has_worker


@in_loop
async def test_what_another_has_found_is_taken_over(valkey: Valkey):
    fill(valkey, 3000)
    write(valkey.admin, "a", status=b"busy")
    async with opened(valkey.url) as client:
        scan = Scan(slice_s=0)
        scan.take_over([b"a", b"gone"], has_any=True)
        assert names(await look(scan, client)) == ["a"]
        write(valkey.admin, "b", status=b"busy")
        rounds = 0
        while names(await look(scan, client)) != ["a", "b"]:
            rounds += 1
            assert rounds < 30


@in_loop
async def test_what_redis_is_asked(valkey: Valkey):
    """SCAN in steps and the beginnings of values; no KEYS, nothing that writes, no key but worker:*."""
    write_fleet(valkey.admin, BATCH + 1)
    async with opened(valkey.url) as client:
        scan = Scan(slice_s=10)
        with valkey.monitor() as seen:
            await look(scan, client)
        assert seen.names() <= {b"SCAN", b"GETRANGE", b"AUTH", b"HELLO", b"CLIENT", b"SELECT"}
        assert all(
            call.args[2:] == (b"MATCH", b"worker:*", b"COUNT", b"500") for call in seen.calls if call.name == b"SCAN"
        )
        keys = [key for call in seen.calls for key, _ in seen.keys(call)]
        assert len(keys) == 3 * (BATCH + 1)
        assert all(key.startswith(b"worker:") for key in keys)


@in_loop
async def test_after_a_failure_the_known_are_still_known(valkey: Valkey):
    shown = write_fleet(valkey.admin, 4)
    scan = Scan(slice_s=10)
    async with opened(valkey.url) as client:
        assert await look(scan, client) == Snapshot(shown, has_any=True)
        scan._slice_s = 0
        valkey.stop()
        with pytest.raises((RedisError, OSError)):
            await scan.look(client, NOW)
    valkey.start()
    write_fleet(valkey.admin, 4)
    async with opened(valkey.url) as client:
        assert await look(scan, client) == Snapshot(shown, has_any=True)


@in_loop
async def test_values_over_the_bound_are_not_transferred(valkey: Valkey):
    for number in range(3):
        write(valkey.admin, f"big{number}", status=b"x" * (20 << 20))
    async with opened(valkey.url) as client:
        before = int(valkey.info("total_net_output_bytes"))
        start = time.monotonic()
        found = await look(Scan(slice_s=10), client)
        assert [worker["status"] for worker in found.workers] == ["unknown"] * 3
        assert int(valkey.info("total_net_output_bytes")) - before < 1 << 20
        assert time.monotonic() - start < 5
