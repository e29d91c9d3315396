"""Rare work on many keys, in bounded steps: looking for keys by pattern, deleting them. Cold: redis-py.

Works on what Topology.client() hands out. SCAN gives each key that is there all the time at least once, others perhaps,
some twice (SCAN's guarantees).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import RedisCluster

from fastgw.store.slots import slot_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from redis.asyncio import Redis

SCAN_COUNT: Final = 500
"""Keys that Redis looks at in one SCAN: well under a millisecond of its one thread."""

DELETE_BATCH: Final = 500
"""Keys in one UNLINK, for the same reason."""


async def scan(client: Redis | RedisCluster, match: str, count: int = SCAN_COUNT) -> AsyncIterator[list[bytes]]:
    """Yield the names of keys that fit a pattern, in pages that may be empty; of a Cluster, from all masters.

    match: a glob of Redis (`worker:*`). count: how many keys Redis looks at for a page.
    Raises what redis-py raises: see topology.explained().
    """
    if isinstance(client, RedisCluster):
        await client.initialize()
        targets: list[dict[str, Any]] = [{"target_nodes": node} for node in client.get_primaries()]
    else:
        targets = [{}]
    for target in targets:
        cursor = 0
        while True:
            cursor, page = await client.execute_command("SCAN", cursor, "MATCH", match, "COUNT", count, **target)
            if isinstance(cursor, dict):  # of a Cluster's client: by node
                (cursor,) = cursor.values()
            yield page
            if cursor == 0:
                break


async def delete(client: Redis | RedisCluster, keys: Iterable[bytes]) -> int:
    """UNLINK keys in bounded calls, in a Cluster one for each slot; how many there were.

    Raises what redis-py raises; some keys may be gone then.
    """
    together = _by_slot(keys) if isinstance(client, RedisCluster) else iter([list(keys)])
    deleted = 0
    for group in together:
        for start in range(0, len(group), DELETE_BATCH):
            deleted += int(await client.unlink(*group[start : start + DELETE_BATCH]))
    return deleted


def _by_slot(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    groups: dict[int, list[bytes]] = {}
    for key in keys:
        groups.setdefault(slot_of(key), []).append(key)
    return iter(groups.values())
