"""Keeps the index true and the cache within its size; purges. Cold: redis-py, beside the requests.

The index (`gateway:cache:keys`) is a set of names, so SCARD is the number of entries. Entries leave by themselves when
their time is over, and by hand; their names are taken out here, every SWEEP_S, by one process for the whole fleet. When
a store finds more than CACHE_MAX_SIZE, the entries that were not used for longest go, by Redis's own idle time (the
admission script touches what it looks up), with a few more than must, so that the next store does not evict again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError

from fastgw.cache.key import path_pattern
from fastgw.store.admin import delete, scan
from fastgw.store.errors import StoreDown, StoreError
from fastgw.store.leader import Lease
from fastgw.store.topology import explained

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from fastgw.cache.local import LocalCopies
    from fastgw.store.hot import Store
    from fastgw.store.topology import Topology

SWEEP_S: Final = 5.0
"""How long SCARD may count what is gone."""

LEASE_S: Final = 30.0
"""Longest a sweep or an eviction keeps the other processes from theirs."""

BATCH: Final = 200
"""Names asked about in one pipeline: about 0.1 ms of Redis."""

SPARE: Final = 20
"""A twentieth more than must is evicted."""

MAX_ANNOUNCED: Final = 1000
"""Names that a process puts back into the index at a sweep: those it used last."""

log = logging.getLogger("fastgw.cache")


class Sweep:
    """The index, the size, and purges."""

    def __init__(self, store: Store, topology: Topology, local: LocalCopies, holder: bytes) -> None:
        """holder: this process's name in the fleet."""
        self._store = store
        self._topology = topology
        self._local = local
        self._index = store.keys.cache_index
        self._sweeping = Lease(store, b"cache-sweep", holder, LEASE_S)
        self._evicting: asyncio.Task[None] | None = None
        self._eviction = Lease(store, b"cache-evict", holder, LEASE_S)
        self.max_entries = 0
        self.entries: int | None = None
        self.evicted = 0

    async def sweep(self) -> None:
        """One round. Redis away: nothing, until the next one."""
        await self._announce()
        if not await self._sweeping.hold():
            return
        try:
            async with self._topology.client() as client:
                await self._drop_dead(client)
                self.entries = int(await client.scard(self._index))
            if self.entries > self.max_entries:
                self.on_full()
        except (RedisError, OSError, StoreError, TimeoutError) as error:
            log.debug("the cache could not be swept: %s", error)
        finally:
            await self._sweeping.release()

    def on_full(self) -> None:
        """There are more entries than allowed: evict, unless this process does so already."""
        if self._evicting is None or self._evicting.done():
            self._evicting = asyncio.get_running_loop().create_task(self._evict())

    async def purge(self, path: str | None) -> int:
        """Delete all entries, or those of a path with any query; how many there were. Raises StoreError.

        Leases go too, so that what is being fetched is not stored. Looks at every key of the server, in steps.
        """
        keys = self._store.keys
        pattern = b"{*" if path is None else path_pattern(path.encode())
        names: list[bytes] = []
        begins = len(keys.cache(b""))
        async with explained(self._topology.where), self._topology.client() as client:
            for found in (keys.cache(pattern), keys.cache_lease(pattern)):
                is_entry = found.startswith(keys.cache(b""))
                async for page in scan(client, found.decode()):
                    await delete(client, page)
                    if is_entry:
                        names += [key[begins:] for key in page]
            await self._forget(client, names)
        return len(set(names))

    async def close(self) -> None:
        """End an eviction under way."""
        if self._evicting is not None:
            self._evicting.cancel()
            await asyncio.gather(self._evicting, return_exceptions=True)

    # -- inside ---------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        """Put the names of what this process holds back into the index, for whoever deleted the index alone.

        What is dead of them is taken out again by the sweep that follows.
        """
        names = self._local.names()[-MAX_ANNOUNCED:]
        if not names:
            return
        try:
            await self._store.command(self._index, b"SADD", self._index, *names)
        except StoreError:
            return

    async def _names(self, client: Redis | RedisCluster) -> list[list[bytes]]:
        """All names of the index, in batches."""
        names: list[bytes] = []
        async for name in client.sscan_iter(self._index, count=BATCH):
            names.append(name)  # noqa: PERF401 - ruff's rewrite would need mypy to know the iterator's kind
        return [names[start : start + BATCH] for start in range(0, len(names), BATCH)]

    async def _drop_dead(self, client: Redis | RedisCluster) -> None:
        for batch in await self._names(client):
            await self._bury(client, await self._absent(client, batch))

    async def _bury(self, client: Redis | RedisCluster, dead: list[bytes]) -> None:
        """Take names out of the index whose entries were not there a moment ago."""
        if not dead:
            return
        await self._forget(client, dead)
        # stored between the question and its consequence: back
        born = set(dead) - set(await self._absent(client, dead))
        if born:
            await client.sadd(self._index, *born)

    async def _absent(self, client: Redis | RedisCluster, names: list[bytes]) -> list[bytes]:
        there = await _each(client, "EXISTS", [self._store.keys.cache(name) for name in names])
        return [name for name, exists in zip(names, there, strict=True) if exists == 0]

    async def _forget(self, client: Redis | RedisCluster, names: list[bytes]) -> None:
        for start in range(0, len(names), BATCH):
            await client.srem(self._index, *names[start : start + BATCH])

    async def _evict(self) -> None:
        """Bring the number of entries down to a twentieth below what is allowed, and again if more came meanwhile."""
        try:
            async with self._topology.client() as client:
                while await self._eviction.hold():
                    await self._evict_idlest(client)
                    self.entries = int(await client.scard(self._index))
                    if self.entries <= self.max_entries:
                        break
        except (RedisError, OSError, StoreError, TimeoutError) as error:
            log.debug("the cache could not be evicted: %s", error)
        finally:
            await self._eviction.release()

    async def _evict_idlest(self, client: Redis | RedisCluster) -> None:
        """Names of what is gone leave the index first, and cost no living entry."""
        idle: list[tuple[int, bytes]] = []
        for batch in await self._names(client):
            living = await self._idle(client, batch)
            await self._bury(client, list(set(batch).difference(name for _, name in living)))
            idle += living
        allowed = self.max_entries
        if len(idle) > allowed:
            idle.sort(reverse=True)
            gone = [name for _, name in idle[: len(idle) - allowed + allowed // SPARE]]
            await delete(client, [self._store.keys.cache(name) for name in gone])
            await self._forget(client, gone)
            self.evicted += len(gone)

    async def _idle(self, client: Redis | RedisCluster, names: list[bytes]) -> list[tuple[int, bytes]]:
        """Seconds since each entry was used, and its name, of those that are there.

        Under an LFU policy Redis keeps no idle time: 0 then.
        """
        replies = await _each(client, "OBJECT IDLETIME", [self._store.keys.cache(name) for name in names])
        return [
            (reply if isinstance(reply, int) else 0, name)
            for name, reply in zip(names, replies, strict=True)
            if reply is not None
        ]


async def _each(client: Redis | RedisCluster, command: str, keys: list[bytes]) -> list[Any]:
    """The replies to one command for each key, errors among them, in one pipeline (one per node in a Cluster)."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command(*command.split(), key)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    if replies and all(
        isinstance(reply, (RedisError, OSError)) and not isinstance(reply, ResponseError) for reply in replies
    ):
        raise StoreDown(str(replies[0]))
    return replies
