"""Scans and deletions in bounded steps, on one server, under Sentinel and in a Cluster, as the user `fastgw`."""

from __future__ import annotations

import pytest

from fastgw.store.admin import DELETE_BATCH, delete, scan
from fastgw.store.topology import Topology
from tests.pure.loop import in_loop
from tests.support.valkey import Valkey

MANY = 1200
assert MANY > 2 * DELETE_BATCH


@pytest.fixture(params=["valkey", "sentinels", "cluster"])
def servers(request):
    return request.getfixturevalue(request.param)


def fill(servers) -> set[bytes]:
    """Ours and the workers' keys."""
    for number in range(20):
        servers.admin.set(f"worker:{number}:status", "{}")
    names = [b"gateway:cache:{%d}" % number for number in range(MANY)]
    for name in names:
        servers.admin.set(name, "x")
    return set(names)


@in_loop
async def test_a_scan_finds_all_that_fit_and_no_others(servers) -> None:
    ours = fill(servers)
    async with Topology(servers.url).client() as client:
        pages = [page async for page in scan(client, "gateway:cache:*", 100)]
        assert {name for page in pages for name in page} == ours
        assert max(map(len, pages)) < 300, "Redis gives somewhat more than asked for, never all"
        workers = [name async for page in scan(client, "worker:*") for name in page]
        assert len(set(workers)) == 20


@in_loop
async def test_all_are_deleted_and_counted(servers) -> None:
    ours = fill(servers)
    async with Topology(servers.url).client() as client:
        assert await delete(client, [*ours, b"gateway:cache:{none}"]) == MANY
        assert [name async for page in scan(client, "gateway:cache:*") for name in page] == []
        assert len([name async for page in scan(client, "worker:*") for name in page]) == 20
        assert await delete(client, []) == 0


@in_loop
async def test_no_call_is_unbounded(valkey: Valkey) -> None:
    ours = fill(valkey)
    async with Topology(valkey.url).client() as client:
        with valkey.monitor() as seen:
            await delete(client, ours)
    sizes = [len(call.args) - 1 for call in seen.calls if call.name == b"UNLINK"]
    assert sum(sizes) == MANY
    assert max(sizes) == DELETE_BATCH
